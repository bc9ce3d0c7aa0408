//! `/admin/v1/keys`: the operations of the command line, for clients with the admin token.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router, routing};
use serde::Deserialize;
use time::OffsetDateTime;
use tracing::info;

use super::create::CreateKey;
use super::id::is_key_id;
use super::rotate::RotateKey;
use super::update::UpdateKey;
use super::view::{NewKeyView, PageView};
use super::{Failure, Keys, Rotated};
use crate::defaults::KEYS_AT_ONCE;
use crate::http::body;
use crate::http::error::ApiError;
use crate::http::peer::Peer;
use crate::record::RecordView;
use crate::timestamp::Timestamp;

pub(crate) fn routes() -> Router<Keys> {
    Router::new()
        .route("/admin/v1/keys", routing::get(list).post(create))
        .route(
            "/admin/v1/keys/{key_id}",
            routing::get(get).patch(update).delete(delete),
        )
        .route("/admin/v1/keys/{key_id}/revoke", routing::post(revoke))
        .route("/admin/v1/keys/{key_id}/rotate", routing::post(rotate))
}

#[derive(Deserialize)]
struct Page {
    /// The cursor of the previous page; none for the first page.
    cursor: Option<String>,
    /// The most keys to return; by default 1000.
    limit: Option<String>,
}

type KeyId = Result<Path<String>, PathRejection>;
type Body = Result<Bytes, BytesRejection>;

/// Creates or imports a key. No later answer contains the key itself.
async fn create(State(keys): State<Keys>, peer: Peer, body: Body) -> Result<Response, ApiError> {
    let new = body::json::<CreateKey>(body)?.check()?;
    let now = OffsetDateTime::now_utc();
    let (key, record) = keys.create(new, now).await?;
    log(peer, "create", "created", &record.key_id, None);
    let view = NewKeyView::of(&key, &record, None);
    Ok((StatusCode::CREATED, Json(view)).into_response())
}

/// Returns a page of keys, oldest first.
async fn list(
    State(keys): State<Keys>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(page) = page.map_err(|_| ApiError::InvalidQuery)?;
    let limit = ApiError::limit(page.limit.as_deref(), KEYS_AT_ONCE)?;
    let after = page.cursor.as_deref();
    if !after.is_none_or(is_key_id) {
        return Err(ApiError::InvalidCursor);
    }
    // One more than requested, to know whether there is another page.
    let mut records = keys.page(after, limit.saturating_add(1)).await?;
    let asked = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = records.len() > asked;
    records.truncate(asked);
    let last = records.last().filter(|_| more);
    let cursor = last.map(|record| record.key_id.as_str());
    let page = PageView {
        keys: records.iter().map(RecordView::from).collect(),
        cursor,
    };
    Ok(Json(page).into_response())
}

/// Returns one key's record.
async fn get(State(keys): State<Keys>, key_id: KeyId) -> Result<Response, ApiError> {
    let record = keys.get(&checked(key_id)?).await?;
    let record = record.ok_or(ApiError::NoKey)?;
    Ok(Json(RecordView::from(&record)).into_response())
}

/// Changes a key's name, expiry or endpoints. Absent fields stay unchanged; null removes a value.
async fn update(
    State(keys): State<Keys>,
    peer: Peer,
    key_id: KeyId,
    body: Body,
) -> Result<Response, ApiError> {
    let key_id = checked(key_id)?;
    let patch = body::json::<UpdateKey>(body)?.check()?;
    let updated = keys.update(&key_id, patch, now()?).await?;
    let record = updated.ok_or(ApiError::NoKey)?;
    log(peer, "update", "updated", &key_id, None);
    Ok(Json(RecordView::from(&record)).into_response())
}

/// Revokes a key, but keeps its record.
async fn revoke(State(keys): State<Keys>, peer: Peer, key_id: KeyId) -> Result<Response, ApiError> {
    let key_id = checked(key_id)?;
    let revoked = keys.revoke(&key_id, now()?).await?;
    let record = revoked.ok_or(ApiError::NoKey)?;
    log(peer, "revoke", "revoked", &key_id, None);
    Ok(Json(RecordView::from(&record)).into_response())
}

/// Deletes a key's record, as if the key had never existed.
async fn delete(
    State(keys): State<Keys>,
    peer: Peer,
    key_id: KeyId,
) -> Result<StatusCode, ApiError> {
    let key_id = checked(key_id)?;
    if !keys.delete(&key_id, now()?).await? {
        return Err(ApiError::NoKey);
    }
    log(peer, "delete", "deleted", &key_id, None);
    Ok(StatusCode::NO_CONTENT)
}

/// Replaces a key with a new one. The old key keeps working for a while.
///
/// Deploy the new key, check that it works, then revoke the old one or let it expire.
async fn rotate(
    State(keys): State<Keys>,
    peer: Peer,
    key_id: KeyId,
    body: Body,
) -> Result<Response, ApiError> {
    let key_id = checked(key_id)?;
    let rotation = match &body {
        Ok(body) if body.is_empty() => RotateKey::default(),
        _ => body::json(body)?,
    };
    let (rotation, now) = (rotation.check()?, OffsetDateTime::now_utc());
    match keys.rotate(&key_id, rotation, now).await? {
        Rotated::Done { key, new, old } => {
            log(peer, "rotate", "rotated", &key_id, Some(&new.key_id));
            let view = NewKeyView::of(&key, &new, Some(&old));
            Ok((StatusCode::CREATED, Json(view)).into_response())
        }
        Rotated::Revoked => Err(ApiError::KeyRevoked),
        Rotated::Unknown => Err(ApiError::NoKey),
    }
}

/// Logs what was done to a key, and from which address. The actor is `admin`, whoever has the
/// token. Commands log the same fields.
fn log(
    peer: Peer,
    action: &'static str,
    done: &'static str,
    key_id: &str,
    new_key_id: Option<&str>,
) {
    let (actor, peer) = ("admin", peer.shown());
    info!(key_id, new_key_id, action, actor, peer, "a key was {done}");
}

fn now() -> Result<Timestamp, ApiError> {
    Timestamp::new(OffsetDateTime::now_utc()).ok_or(ApiError::from(Failure::Clock))
}

/// Returns the ID in a path, if it is a key ID.
fn checked(key_id: KeyId) -> Result<String, ApiError> {
    match key_id {
        Ok(Path(key_id)) if is_key_id(&key_id) => Ok(key_id),
        _ => Err(ApiError::NoKey),
    }
}
