//! `/admin/v1/keys`: the operations of the command line, for clients with the admin token.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use time::OffsetDateTime;
use tracing::info;
use utoipa::IntoParams;
use utoipa::openapi::{ComponentsBuilder, OpenApiBuilder};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::create::CreateKey;
use super::id::is_key_id;
use super::rotate::RotateKey;
use super::update::UpdateKey;
use super::view::{NewKeyView, PageView};
use super::{Failure, Keys, Rotated, refusals};
use crate::defaults::KEYS_AT_ONCE;
use crate::http::body;
use crate::http::error::ApiError;
use crate::http::openapi;
use crate::http::peer::Peer;
use crate::record::{Record, RecordView};
use crate::timestamp::Timestamp;

pub(crate) fn routes() -> OpenApiRouter<Keys> {
    // No handler's signature mentions it.
    let components = ComponentsBuilder::new().schema_from::<RotateKey>().build();
    let document = OpenApiBuilder::new().components(Some(components)).build();
    OpenApiRouter::with_openapi(document)
        .routes(routes!(list, create))
        .routes(routes!(get, update, delete))
        .routes(routes!(revoke))
        .routes(routes!(rotate))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Page {
    /// The cursor of the previous page; none for the first page.
    cursor: Option<String>,
    /// The most keys to return; by default 1000.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<String>,
}

/// The path parameter of one key, for the document.
#[derive(IntoParams)]
#[into_params(parameter_in = Path, names("key_id"))]
#[expect(dead_code, reason = "`checked` reads it, and has a refusal of its own")]
struct Key(
    /// The key's ID, as its creation and the list show it.
    String,
);

type KeyId = Result<Path<String>, PathRejection>;
type Body = Result<Bytes, BytesRejection>;

/// Creates or imports a key. No later answer contains the key itself.
#[utoipa::path(
    post,
    path = "/admin/v1/keys",
    operation_id = "createKey",
    tag = openapi::ADMIN,
    security(("admin_token" = [])),
    request_body(content = CreateKey, example = json!({"account_id": "acct_1", "name": "ci", "endpoints": ["/v1/astro"]})),
    responses(
        (
            status = 201,
            description = "The key was made",
            body = NewKeyView,
            headers(("cache-control" = String, description = "`no-store`")),
        ),
        refusals::Create,
    ),
)]
async fn create(State(keys): State<Keys>, peer: Peer, body: Body) -> Result<Response, ApiError> {
    let new = body::json::<CreateKey>(body)?.check()?;
    let now = OffsetDateTime::now_utc();
    let (key, record) = keys.create(new, now).await?;
    log(peer, "create", "created", &record.key_id, None);
    let view = NewKeyView::of(&key, &record, None);
    Ok((StatusCode::CREATED, Json(view)).into_response())
}

/// Returns a page of keys, oldest first.
#[utoipa::path(
    get,
    path = "/admin/v1/keys",
    operation_id = "listKeys",
    tag = openapi::ADMIN,
    security(("admin_token" = [])),
    params(Page),
    responses(
        (
            status = 200,
            description = "Some of the keys",
            body = PageView,
            headers(("cache-control" = String, description = "`no-store`")),
        ),
        refusals::List,
    ),
)]
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
#[utoipa::path(
    get,
    path = "/admin/v1/keys/{key_id}",
    operation_id = "getKey",
    tag = openapi::ADMIN,
    security(("admin_token" = [])),
    params(Key),
    responses(
        (
            status = 200,
            description = "The record",
            body = RecordView,
            headers(("cache-control" = String, description = "`no-store`")),
            example = json!(RecordView::from(&Record::example())),
        ),
        refusals::Get,
    ),
)]
async fn get(State(keys): State<Keys>, key_id: KeyId) -> Result<Response, ApiError> {
    let record = keys.get(&checked(key_id)?).await?;
    let record = record.ok_or(ApiError::NoKey)?;
    Ok(Json(RecordView::from(&record)).into_response())
}

/// Changes a key's name, expiry or endpoints. Absent fields stay unchanged; null removes a value.
#[utoipa::path(
    patch,
    path = "/admin/v1/keys/{key_id}",
    operation_id = "updateKey",
    tag = openapi::ADMIN,
    security(("admin_token" = [])),
    params(Key),
    request_body(content = UpdateKey, example = json!({"name": null, "expires_at": "2027-01-01T00:00:00Z"})),
    responses(
        (
            status = 200,
            description = "The record as it is now",
            body = RecordView,
            headers(("cache-control" = String, description = "`no-store`")),
        ),
        refusals::Update,
    ),
)]
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
#[utoipa::path(
    post,
    path = "/admin/v1/keys/{key_id}/revoke",
    operation_id = "revokeKey",
    tag = openapi::ADMIN,
    security(("admin_token" = [])),
    params(Key),
    responses(
        (
            status = 200,
            description = "The key is revoked, now or since before",
            body = RecordView,
            headers(("cache-control" = String, description = "`no-store`")),
        ),
        refusals::Revoke,
    ),
)]
async fn revoke(State(keys): State<Keys>, peer: Peer, key_id: KeyId) -> Result<Response, ApiError> {
    let key_id = checked(key_id)?;
    let revoked = keys.revoke(&key_id, now()?).await?;
    let record = revoked.ok_or(ApiError::NoKey)?;
    log(peer, "revoke", "revoked", &key_id, None);
    Ok(Json(RecordView::from(&record)).into_response())
}

/// Deletes a key's record, as if the key had never existed.
#[utoipa::path(
    delete,
    path = "/admin/v1/keys/{key_id}",
    operation_id = "deleteKey",
    tag = openapi::ADMIN,
    security(("admin_token" = [])),
    params(Key),
    responses(
        (
            status = 204,
            description = "The record is gone",
            headers(("cache-control" = String, description = "`no-store`")),
        ),
        refusals::Delete,
    ),
)]
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
/// Deploy the new key, see it work, then revoke the old one or let it expire.
#[utoipa::path(
    post,
    path = "/admin/v1/keys/{key_id}/rotate",
    operation_id = "rotateKey",
    tag = openapi::ADMIN,
    security(("admin_token" = [])),
    params(Key),
    request_body(content = ref("#/components/schemas/RotateKey"), content_type = "application/json", example = json!({"grace": "24h"})),
    responses(
        (
            status = 201,
            description = "The new key was made, and the old one has an end",
            body = NewKeyView,
            headers(("cache-control" = String, description = "`no-store`")),
        ),
        refusals::Rotate,
    ),
)]
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
