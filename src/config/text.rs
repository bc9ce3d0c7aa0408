//! The configuration's text: JSON, and what it is instead where operators were misled.

use super::{ConfigError, build};
use crate::json::{Fields, Object, ReadError};

/// Reads the bytes that Envoy hands over.
pub(super) fn parse(bytes: &[u8]) -> Result<Object<'_>, ConfigError> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(ConfigError::new(
            "lookup.cluster",
            "is required: the configuration is empty, and the smallest is \
             {\"lookup\": {\"cluster\": \"auth\"}}",
        ));
    }
    // A protobuf Struct begins with the byte 0x0A, which JSON would take for white space, and may
    // go on with a brace. Its fields' tag 0x12 is a byte that no JSON has.
    if bytes.trim_ascii_start().first() != Some(&b'{') || bytes.contains(&0x12) {
        return Err(ConfigError::new(
            "",
            "must be a JSON object as text, beginning with \"{\". In envoy.yaml write it as a string: \
             \"@type\": type.googleapis.com/google.protobuf.StringValue, with `value: |` and the \
             JSON below; a google.protobuf.Struct reaches the filter as raw protobuf",
        ));
    }
    Object::read(bytes, Fields::Only(&build::FIELDS)).map_err(|error| match error {
        ReadError::Field(problem) => problem.into(),
        ReadError::Json(error) => ConfigError::new("", format!("is not JSON: {error}")),
    })
}
