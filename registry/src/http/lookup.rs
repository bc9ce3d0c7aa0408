//! `GET /v1/key-hashes/{key_hash}`, as the filter calls it.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::App;
use super::error::ApiError;
use crate::record::{Record, Status};
use crate::span::Span;
use crate::timestamp::Timestamp;

/// A record as the filter reads it: these fields and no others.
#[derive(Serialize)]
struct Answer {
    key_id: String,
    status: Status,
    account_id: String,
    environment: Option<String>,
    expires_at: Option<Timestamp>,
    endpoints: Option<Vec<String>>,
}

impl From<Record> for Answer {
    fn from(record: Record) -> Self {
        Self {
            status: record.status(),
            key_id: record.key_id,
            account_id: record.account_id,
            environment: record.environment,
            expires_at: record.expires_at,
            endpoints: record.endpoints,
        }
    }
}

/// How long those who ask may keep an answer; `None` leaves it to them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MaxAge {
    pub(crate) active: Option<Span>,
    pub(crate) revoked: Option<Span>,
    pub(crate) not_found: Option<Span>,
}

/// The record of a hash.
pub(super) async fn lookup(
    State(app): State<App>,
    key_hash: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let Path(key_hash) = key_hash.map_err(|_| ApiError::InvalidKeyHash)?;
    let hash = parse_hash(&key_hash).ok_or(ApiError::InvalidKeyHash)?;
    let (max_age, answer) = match app.store.find(&hash).await? {
        None => (app.max_age.not_found, ApiError::NoRecord.into_response()),
        Some(record) => {
            let max_age = match record.status() {
                Status::Active => app.max_age.active,
                Status::Revoked => app.max_age.revoked,
            };
            (max_age, Json(Answer::from(record)).into_response())
        }
    };
    let Some(max_age) = max_age else {
        return Ok(answer);
    };
    let header = [(CACHE_CONTROL, format!("max-age={}", max_age.seconds()))];
    Ok((header, answer).into_response())
}

/// The hash's bytes. Uppercase is refused: the contract has one spelling of each hash.
fn parse_hash(hex: &str) -> Option<[u8; 32]> {
    let digits = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if hex.len() != 64 || !hex.bytes().all(digits) {
        return None;
    }
    const_hex::decode_to_array(hex).ok()
}
