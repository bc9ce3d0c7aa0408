//! The plugin configuration: JSON in, valid [`Settings`] out.
//!
//! Reading it is pure, as Envoy runs it on several threads and a refusal on one worker alone
//! would leave that worker without the filter: the same bytes always give the same answer.

#![forbid(unsafe_code)]

mod build;
mod check;
mod text;

use std::fmt;

use crate::decision::denial::Messages;
use crate::decision::reply::Replies;
use crate::engine::settings::Settings;
use crate::json::FieldError;

/// As much of a field's path as a message shows, in characters.
const LONGEST_PATH: usize = 200;

/// Why a configuration was refused: the field's path, what is wrong and what would be right.
/// Never the value of a field that may hold a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(FieldError);

impl ConfigError {
    fn new(path: impl AsRef<str>, problem: impl AsRef<str>) -> Self {
        Self(FieldError::new(path, problem))
    }
}

impl From<FieldError> for ConfigError {
    fn from(error: FieldError) -> Self {
        Self(error)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FieldError { path, problem } = &self.0;
        let path = if path.is_empty() || path.bytes().any(|byte| byte < b' ') {
            "configuration"
        } else {
            path
        };
        // The names in it are an operator's, and the message is a line of Envoy's log.
        write!(f, "{path:.LONGEST_PATH$}: {problem}")
    }
}

impl std::error::Error for ConfigError {}

/// Reads the plugin configuration (JSON, UTF-8).
///
/// # Errors
/// The first problem, with its field's path: not JSON, an unknown or repeated field, a wrong
/// type, an impossible value, or no `lookup.cluster`.
pub fn parse(bytes: &[u8]) -> Result<Settings, ConfigError> {
    build::settings(&mut text::parse(bytes)?)
}

/// The replies of a filter that has no configuration to take them from.
impl Default for Replies {
    fn default() -> Self {
        Self::new(
            Messages::for_service(build::SERVICE_NAME),
            build::DOC_BASE_URL,
            build::REALM,
            build::RETRY_AFTER_SECONDS,
        )
    }
}

#[cfg(test)]
mod tests;
