//! Refusals: each has a code to branch on, and says what would be right. What failed inside is in
//! the log alone.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tracing::error;

/// Why there is nothing else to give.
#[derive(Debug)]
pub(super) enum ApiError {
    InvalidKeyHash,
    InvalidQuery,
    InvalidLimit(u32),
    MethodNotAllowed,
    /// No record of a hash: to the filter, a verdict.
    NoRecord,
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

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, error, message) = match self {
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
                "this path answers GET".to_owned(),
            ),
            Self::NoRecord => return bare(StatusCode::NOT_FOUND, "not_found"),
            Self::Unavailable(cause) => {
                error!(%cause, "the database failed");
                return bare(StatusCode::SERVICE_UNAVAILABLE, "unavailable");
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
