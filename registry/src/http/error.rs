//! Refusals. Each has a code to branch on and a message that says what would be valid. Internal
//! causes appear only in the log.

use std::error::Error;

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::{HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tracing::error;

use crate::defaults::{LARGEST_BODY, RETRY_AFTER_SECONDS};

/// Why a request is refused.
#[derive(Debug)]
pub(crate) enum ApiError {
    /// There is no admin token.
    AdminOff,
    BodyTooLarge,
    Failed(Box<dyn Error + Send + Sync>),
    /// The text describes the problem, and is safe to return.
    InvalidBody(String),
    InvalidCursor,
    InvalidKeyHash,
    InvalidQuery,
    InvalidLimit(u32),
    /// The imported key is already registered.
    KeyExists,
    KeyRevoked,
    MethodNotAllowed,
    /// No key has this ID.
    NoKey,
    NoMetrics,
    /// The hash has no record. To the filter, this is a verdict.
    NoRecord,
    /// The limit of concurrent requests is reached.
    Overloaded,
    /// The request took longer than allowed.
    TooSlow,
    Unauthorized,
    Unavailable(sqlx::Error),
    UnknownRoute,
}

impl ApiError {
    /// Parses a limit from 1 to `most`. Returns `most` if there is none.
    pub(crate) fn limit(text: Option<&str>, most: u32) -> Result<u32, Self> {
        let Some(text) = text else { return Ok(most) };
        text.parse()
            .ok()
            .filter(|limit| (1..=most).contains(limit))
            .ok_or(Self::InvalidLimit(most))
    }
}

impl From<sqlx::Error> for ApiError {
    fn from(cause: sqlx::Error) -> Self {
        Self::Unavailable(cause)
    }
}

impl ApiError {
    /// Returns the status, the code, and a message if the client can do something about the error.
    fn parts(&self) -> (StatusCode, &'static str, Option<String>) {
        let (status, error, message) = match self {
            Self::Failed(_) | Self::NoMetrics => {
                return (StatusCode::INTERNAL_SERVER_ERROR, "internal_error", None);
            }
            Self::NoRecord => return (StatusCode::NOT_FOUND, "not_found", None),
            Self::Overloaded => return (StatusCode::SERVICE_UNAVAILABLE, "overloaded", None),
            Self::TooSlow => return (StatusCode::SERVICE_UNAVAILABLE, "timeout", None),
            Self::Unavailable(_) => {
                return (StatusCode::SERVICE_UNAVAILABLE, "unavailable", None);
            }
            Self::InvalidBody(problem) => {
                let problem = Some(problem.clone());
                return (StatusCode::BAD_REQUEST, "invalid_body", problem);
            }
            Self::BodyTooLarge => {
                let message = format!("the body may have at most {LARGEST_BODY} bytes");
                return (
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "body_too_large",
                    Some(message),
                );
            }
            Self::InvalidLimit(most) => {
                let message = format!("the limit must be a number from 1 to {most}");
                return (StatusCode::BAD_REQUEST, "invalid_limit", Some(message));
            }
            Self::AdminOff => (
                StatusCode::NOT_FOUND,
                "admin_api_off",
                "the admin API is off; set KEYSTILE_ADMIN_TOKEN on the server to turn it on",
            ),
            Self::InvalidCursor => (
                StatusCode::BAD_REQUEST,
                "invalid_cursor",
                "use the `cursor` of the previous page; omit it for the first page",
            ),
            Self::InvalidKeyHash => (
                StatusCode::BAD_REQUEST,
                "invalid_key_hash",
                "a key hash is 64 lowercase hexadecimal digits",
            ),
            Self::InvalidQuery => (
                StatusCode::BAD_REQUEST,
                "invalid_query",
                "the query string is invalid; give each parameter at most once",
            ),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "this path does not support this method; see the `allow` header",
            ),
            Self::KeyExists => (
                StatusCode::CONFLICT,
                "key_exists",
                "this key is registered already",
            ),
            Self::KeyRevoked => (
                StatusCode::CONFLICT,
                "key_revoked",
                "a revoked key cannot be rotated; create a new one",
            ),
            Self::NoKey => (
                StatusCode::NOT_FOUND,
                "key_not_found",
                "there is no key with this ID; a key ID starts with `key_`, and listing the keys shows \
                 all of them",
            ),
            Self::Unauthorized => (
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "send the header `authorization: Bearer TOKEN`, once, with the server's token",
            ),
            // Deliberately not 404. To the filter, 404 is the verdict "no record of this hash", so
            // a wrong lookup path in its configuration would look like a denial of every key.
            Self::UnknownRoute => (
                StatusCode::BAD_REQUEST,
                "unknown_route",
                "lookups are at /v1/key-hashes/{key_hash}; /openapi.json has all paths",
            ),
        };
        (status, error, Some(message.to_owned()))
    }

    /// Returns the header that goes with the error.
    fn header(&self) -> Option<(HeaderName, &'static str)> {
        match self {
            Self::Overloaded | Self::TooSlow | Self::Unavailable(_) => {
                Some((RETRY_AFTER, RETRY_AFTER_SECONDS))
            }
            Self::Unauthorized => Some((WWW_AUTHENTICATE, "Bearer realm=\"registry\"")),
            _ => None,
        }
    }
}

/// The body of a refusal.
#[derive(Serialize)]
struct Refusal {
    /// A code to branch on.
    error: &'static str,
    /// What would be valid, for people. Absent from `not_found`, and from errors that they cannot
    /// do anything about.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        match &self {
            Self::Failed(cause) => error!(%cause, "a request failed"),
            Self::NoMetrics => error!("the metrics could not be written"),
            Self::Unavailable(cause) => error!(%cause, "the database failed"),
            _ => {}
        }
        let (status, error, message) = self.parts();
        let mut response = (status, Json(Refusal { error, message })).into_response();
        if let Some((name, value)) = self.header() {
            let value = HeaderValue::from_static(value);
            response.headers_mut().insert(name, value);
        }
        response
    }
}
