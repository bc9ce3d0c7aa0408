//! Refusals: each has a code to branch on, and says what would be right. What failed inside is in
//! the log alone.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tracing::error;

use crate::defaults::{LARGEST_BODY, RETRY_AFTER_SECONDS};
use crate::keys::Failure;

/// Why there is nothing else to give.
#[derive(Debug)]
pub(super) enum ApiError {
    /// There is no admin token.
    AdminOff,
    BodyTooLarge,
    Failed(Failure),
    /// What is wrong with it, as its sender may know.
    InvalidBody(String),
    InvalidCursor,
    InvalidKeyHash,
    InvalidQuery,
    InvalidLimit(u32),
    KeyRevoked,
    MethodNotAllowed,
    /// No key of this ID.
    NoKey,
    NoMetrics,
    /// No record of a hash: to the filter, a verdict.
    NoRecord,
    /// As many requests as may be are being answered.
    Overloaded,
    /// Not answered within the time that a request may take.
    TooSlow,
    Unauthorized,
    Unavailable(sqlx::Error),
    UnknownRoute,
}

impl ApiError {
    /// The number of things asked for, from 1 to `most`; `most` where nothing is said.
    pub(super) fn limit(text: Option<&str>, most: u32) -> Result<u32, Self> {
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

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Store(cause) => Self::Unavailable(cause),
            other => Self::Failed(other),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, error, message) = match self {
            Self::AdminOff => (
                StatusCode::NOT_FOUND,
                "admin_api_off",
                "the admin API is off; it is on where the server has KEYSTILE_ADMIN_TOKEN"
                    .to_owned(),
            ),
            Self::BodyTooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                format!("a body has at most {LARGEST_BODY} bytes"),
            ),
            Self::Failed(cause) => {
                error!(%cause, "a request failed");
                return bare(StatusCode::INTERNAL_SERVER_ERROR, "internal_error");
            }
            Self::InvalidBody(problem) => (StatusCode::BAD_REQUEST, "invalid_body", problem),
            Self::InvalidCursor => (
                StatusCode::BAD_REQUEST,
                "invalid_cursor",
                "the cursor is that of the page before; the first page has none".to_owned(),
            ),
            Self::InvalidKeyHash => (
                StatusCode::BAD_REQUEST,
                "invalid_key_hash",
                "a key hash is 64 lowercase hexadecimal digits".to_owned(),
            ),
            Self::InvalidQuery => (
                StatusCode::BAD_REQUEST,
                "invalid_query",
                "the query is not readable; give each parameter once".to_owned(),
            ),
            Self::InvalidLimit(most) => (
                StatusCode::BAD_REQUEST,
                "invalid_limit",
                format!("the limit is a number from 1 to {most}"),
            ),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "this path answers other methods; the header `allow` has them".to_owned(),
            ),
            Self::KeyRevoked => (
                StatusCode::CONFLICT,
                "key_revoked",
                "a revoked key is not rotated; create a new one".to_owned(),
            ),
            Self::NoKey => (
                StatusCode::NOT_FOUND,
                "key_not_found",
                "there is no key with this ID, which starts with `key_`; list the keys".to_owned(),
            ),
            Self::Unauthorized => (
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "send the header `authorization: Bearer TOKEN`, once, with the server's token"
                    .to_owned(),
            ),
            Self::NoMetrics => {
                error!("the metrics could not be written");
                return bare(StatusCode::INTERNAL_SERVER_ERROR, "internal_error");
            }
            Self::Overloaded => return later("overloaded"),
            Self::TooSlow => return later("timeout"),
            Self::NoRecord => return bare(StatusCode::NOT_FOUND, "not_found"),
            Self::Unavailable(cause) => {
                error!(%cause, "the database failed");
                return later("unavailable");
            }
            // Deliberately not 404. To the filter, 404 is the verdict "no record of this hash";
            // with it, a lookup path that is configured wrongly would look like a denial of every
            // key there is.
            Self::UnknownRoute => (
                StatusCode::BAD_REQUEST,
                "unknown_route",
                "lookups are at /v1/key-hashes/{key_hash}".to_owned(),
            ),
        };
        (status, Json(json!({"error": error, "message": message}))).into_response()
    }
}

fn bare(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({"error": error}))).into_response()
}

/// What is so for the moment.
fn later(error: &str) -> Response {
    let retry = [(RETRY_AFTER, RETRY_AFTER_SECONDS)];
    (retry, bare(StatusCode::SERVICE_UNAVAILABLE, error)).into_response()
}
