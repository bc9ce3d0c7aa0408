//! The refusals of the admin API, for the OpenAPI document.

use super::failure::Failure;
use crate::defaults::KEYS_AT_ONCE;
use crate::http::error::ApiError;
use crate::http::refusals::{admin, refusals};

refusals! {
    Create: admin([
        body("missing field `account_id`"),
        ApiError::KeyExists,
        ApiError::BodyTooLarge,
        failed(),
    ]),
    List: admin([
        ApiError::InvalidQuery,
        ApiError::InvalidLimit(KEYS_AT_ONCE),
        ApiError::InvalidCursor,
    ]),
    Get: admin([ApiError::NoKey]),
    Update: admin([
        body("name: it has 0 characters; it must have from 1 to 256"),
        ApiError::NoKey,
        ApiError::BodyTooLarge,
        failed(),
    ]),
    Revoke: admin([ApiError::NoKey, failed()]),
    Delete: admin([ApiError::NoKey, failed()]),
    Rotate: admin([
        body("unknown field `days`, expected `grace` or `expires_at`"),
        ApiError::NoKey,
        ApiError::KeyRevoked,
        ApiError::BodyTooLarge,
        failed(),
    ]),
}

fn failed() -> ApiError {
    Failure::Clock.into()
}

fn body(problem: &str) -> ApiError {
    ApiError::InvalidBody(problem.to_owned())
}
