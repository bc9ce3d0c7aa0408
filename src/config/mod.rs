//! The plugin configuration: JSON text in, valid [`Settings`] out.
//!
//! Each section has a file with its defaults, its parsing and its checks. A section's `Default` is
//! the only place with its default values: parsing starts from it and replaces the fields that are
//! given. The structs themselves are defined in the modules that use them.
//!
//! Parsing is pure: the same bytes always give the same result. Envoy parses on several threads,
//! and an error on only one worker would leave that worker without the filter.

#![forbid(unsafe_code)]

mod cache;
mod check;
mod credential;
mod environment;
mod error;
mod exempt;
mod feed;
mod hash;
mod identity_headers;
mod introspection;
mod lookup;
mod reader;
mod replies;
mod strip_headers;

pub use error::ConfigError;

use crate::decision::policy::Policy;
use crate::engine::settings::Settings;
use crate::json::{Fields, Object, ReadError};

/// The names of the sections.
const FIELDS: [&str; 11] = [
    "lookup",
    "cache",
    "feed",
    "credential",
    "hash",
    "environment",
    "exempt",
    "introspection",
    "identity_headers",
    "strip_headers",
    "replies",
];

/// Parses the plugin configuration (JSON, UTF-8).
///
/// # Errors
/// The first problem, with its field's path: not JSON, an unknown or repeated field, a wrong type,
/// an impossible value, or no `lookup.cluster`.
pub fn parse(bytes: &[u8]) -> Result<Settings, ConfigError> {
    let json = &mut object(bytes)?;
    let environment = environment::parse(json)?;
    let credential = credential::parse(json)?;
    let lookup = lookup::parse(json, &credential)?.in_environment(environment.as_deref());
    let exempt = exempt::parse(json)?;
    let identity_headers = identity_headers::parse(json, &credential)?;
    let strip_headers = strip_headers::parse(json, &credential, &identity_headers)?;
    let sources = credential.sources.iter().map(|source| &source.header);
    let identities = identity_headers.iter().map(|(name, _)| name);
    let watched = sources.chain(identities).chain(&strip_headers);
    Ok(Settings {
        cache: cache::parse(json)?,
        feed: feed::parse(json, &lookup)?,
        lookup,
        replies: replies::parse(json, &credential.sources)?,
        policy: Policy {
            hasher: hash::parse(json)?,
            environment,
            introspection: introspection::parse(json, &exempt)?,
            exempt,
            watched: watched.map(String::as_str).collect(),
            identity_headers,
            strip_headers,
            credential,
        },
    })
}

/// Reads the JSON object that Envoy hands over. The errors explain the usual mistakes.
#[cold]
#[inline(never)]
fn object(bytes: &[u8]) -> Result<Object<'_>, ConfigError> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(ConfigError::new(
            "lookup.cluster",
            "is required: the configuration is empty; a minimal one is \
             {\"lookup\": {\"cluster\": \"auth\"}}",
        ));
    }
    // A protobuf Struct begins with the byte 0x0A, which is whitespace in JSON, and a brace may
    // follow. It also contains the tag 0x12, a byte that never occurs in JSON.
    if bytes.trim_ascii_start().first() != Some(&b'{') || bytes.contains(&0x12) {
        return Err(ConfigError::new(
            "",
            "must be a JSON object, starting with \"{\". In envoy.yaml, pass it as a string: \
             \"@type\": type.googleapis.com/google.protobuf.StringValue, with the JSON under \
             `value: |`. A google.protobuf.Struct reaches the filter as raw protobuf",
        ));
    }
    Object::read(bytes, Fields::Only(&FIELDS)).map_err(|error| match error {
        ReadError::Field(problem) => problem.into(),
        ReadError::Json(error) => ConfigError::new("", format!("is not JSON: {error}")),
    })
}

#[cfg(test)]
mod tests;
