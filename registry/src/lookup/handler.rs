//! `GET /v1/key-hashes/{key_hash}`, as the filter calls it.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, VARY};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};

use super::Lookups;
use crate::duration::Seconds;
use crate::http::error::ApiError;
use crate::record::{LookupView, Status};

pub(crate) fn routes() -> Router<Answers> {
    Router::new().route("/v1/key-hashes/{key_hash}", get(lookup))
}

/// The state of the handler.
#[derive(Clone, Debug)]
pub(crate) struct Answers {
    pub(crate) lookups: Lookups,
    pub(crate) max_age: MaxAge,
}

/// How long proxies may cache an answer; `None` leaves it to them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MaxAge {
    pub(crate) active: Option<Seconds>,
    pub(crate) revoked: Option<Seconds>,
    pub(crate) not_found: Option<Seconds>,
}

/// The header that names the only environment whose records may be found. Caches must vary on it.
const ENVIRONMENT: &str = "x-keystile-environment";

/// A name that no environment can have, because no header can carry it.
const NO_ENVIRONMENT: &str = "\u{7f}";

/// The header that names the hash of an answer, so that it is not mistaken for the answer to
/// another lookup.
const KEY_HASH: &str = "x-keystile-key-hash";

/// Returns the record of a key hash.
///
/// To the filter, 404 is the verdict that there is no such key.
async fn lookup(
    State(answers): State<Answers>,
    key_hash: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Path(key_hash) = key_hash.map_err(|_| ApiError::InvalidKeyHash)?;
    let hash = parse_hash(&key_hash).ok_or(ApiError::InvalidKeyHash)?;
    let environment = headers.get(ENVIRONMENT).filter(|value| !value.is_empty());
    // Environment names are ASCII, and not every database accepts other characters.
    let environment = environment.map(|value| value.to_str().unwrap_or(NO_ENVIRONMENT));
    let (max_age, answer) = match answers.lookups.find(&hash, environment).await? {
        None => (
            answers.max_age.not_found,
            ApiError::NoRecord.into_response(),
        ),
        Some(record) => {
            let max_age = match record.status() {
                Status::Active => answers.max_age.active,
                Status::Revoked => answers.max_age.revoked,
            };
            (max_age, Json(LookupView::from(record)).into_response())
        }
    };
    let about = [(KEY_HASH, &*key_hash), (VARY.as_str(), ENVIRONMENT)];
    let max_age = max_age.map(|it| [(CACHE_CONTROL, format!("max-age={}", it.get()))]);
    Ok((about, max_age, answer).into_response())
}

/// Returns the bytes of a hash. Uppercase is refused: the contract allows only one spelling.
fn parse_hash(hex: &str) -> Option<[u8; 32]> {
    let digits = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if hex.len() != 64 || !hex.bytes().all(digits) {
        return None;
    }
    const_hex::decode_to_array(hex).ok()
}
