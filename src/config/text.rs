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
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(not_json(bytes, None));
    }
    Object::read(bytes, Fields::Only(&build::FIELDS)).map_err(|error| match error {
        ReadError::Field(problem) => problem.into(),
        ReadError::Json(error) => not_json(bytes, Some(&error)),
    })
}

/// A protobuf `Struct` begins with the byte 0x0A, which JSON would take for white space.
fn not_json(bytes: &[u8], error: Option<&serde_json::Error>) -> ConfigError {
    if bytes.first() == Some(&b'{') {
        let detail = error.map(ToString::to_string).unwrap_or_default();
        return ConfigError::new("", format!("is not JSON: {detail}"));
    }
    ConfigError::new(
        "",
        "must be a JSON object as text. In envoy.yaml write it as a string: \
         \"@type\": type.googleapis.com/google.protobuf.StringValue, with `value: |` and the JSON \
         below; a google.protobuf.Struct reaches the filter as raw protobuf",
    )
}
