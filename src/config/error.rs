//! The error for a rejected configuration.

use std::fmt;

use crate::json::FieldError;

/// How much of a field's path a message shows, in characters.
const LONGEST_PATH: usize = 200;

/// The reason why a configuration is rejected: the path of the field, what is wrong, and what would
/// be right. It never contains the value of a field that may hold a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(FieldError);

impl ConfigError {
    pub(super) fn new(path: impl AsRef<str>, problem: impl AsRef<str>) -> Self {
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
        // The path may contain long names of the operator's choice, but must fit on a line of
        // Envoy's log.
        write!(f, "{path:.LONGEST_PATH$}: {problem}")
    }
}

impl std::error::Error for ConfigError {}
