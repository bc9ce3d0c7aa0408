//! Failures of operations on keys.

use std::error::Error;
use std::fmt;

use crate::database::is_refused_value;
use crate::http::error::ApiError;

/// Why an operation on a key failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The system has no random bytes.
    Random(getrandom::Error),
    /// The time is outside the years that RFC 3339 can represent.
    Clock,
    /// The imported key is already registered.
    Exists,
    /// The name has a character that the database's encoding lacks.
    Name,
    Store(sqlx::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Random(cause) => write!(f, "the system has no random bytes: {cause}"),
            Self::Clock => f.write_str("the time is past the year 9999 or before the year 0"),
            Self::Exists => f.write_str("this key is registered already"),
            // The name is the only text in a record that may contain more than ASCII.
            Self::Name => f.write_str(
                "name: the database's encoding, which is not UTF-8, lacks one of its characters; \
                 ASCII always works",
            ),
            Self::Store(cause) => write!(f, "the database failed: {cause}"),
        }
    }
}

impl Error for Failure {}

impl From<getrandom::Error> for Failure {
    fn from(cause: getrandom::Error) -> Self {
        Self::Random(cause)
    }
}

impl From<sqlx::Error> for Failure {
    fn from(cause: sqlx::Error) -> Self {
        if is_refused_value(&cause) {
            Self::Name
        } else {
            Self::Store(cause)
        }
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Store(cause) => Self::Unavailable(cause),
            Failure::Exists => Self::KeyExists,
            Failure::Name => Self::InvalidBody(failure.to_string()),
            other => Self::Failed(other.into()),
        }
    }
}
