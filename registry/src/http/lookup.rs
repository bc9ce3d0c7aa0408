//! `GET /v1/key-hashes/{key_hash}`, as the filter calls it.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use serde::Serialize;

use super::App;
use super::error::ApiError;
use crate::record::{Record, Status};
use crate::timestamp::Timestamp;

/// A record as the filter reads it: these fields and no others.
#[derive(Serialize)]
pub(super) struct Answer {
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

/// The record of a hash.
pub(super) async fn lookup(
    State(app): State<App>,
    key_hash: Result<Path<String>, PathRejection>,
) -> Result<Json<Answer>, ApiError> {
    let Path(key_hash) = key_hash.map_err(|_| ApiError::InvalidKeyHash)?;
    let hash = parse_hash(&key_hash).ok_or(ApiError::InvalidKeyHash)?;
    let record = app.store.find(&hash).await?.ok_or(ApiError::NoRecord)?;
    Ok(Json(record.into()))
}

/// The hash's bytes. Uppercase is refused: the contract has one spelling of each hash.
fn parse_hash(hex: &str) -> Option<[u8; 32]> {
    let digits = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if hex.len() != 64 || !hex.bytes().all(digits) {
        return None;
    }
    const_hex::decode_to_array(hex).ok()
}
