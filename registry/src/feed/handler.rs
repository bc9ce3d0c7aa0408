//! `GET /v1/changes`.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::change::{Change, News};
use super::cursor::Cursor;
use super::sql;
use crate::database::Database;
use crate::defaults::CHANGES_AT_ONCE;
use crate::http::error::ApiError;
use crate::http::openapi;
use crate::http::refusals::{refusals, service};

pub(crate) fn routes() -> OpenApiRouter<Database> {
    OpenApiRouter::new().routes(routes!(changes))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Parameters {
    /// The cursor of the previous answer. Without one, the answer is a reset.
    after: Option<String>,
    /// The most changes to return; by default 1000.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = News)]
struct Answer {
    /// The cursor for the next request.
    #[schema(
        value_type = String,
        min_length = 36,
        max_length = 512,
        pattern = "^.+-(0|[1-9][0-9]{0,18})-[0-9a-f]{32}$"
    )]
    cursor: Cursor,
    /// The changes, oldest first.
    changes: Vec<Change>,
    /// Whether the reader must forget what it knows, because it is unknown what it has missed.
    reset: bool,
}

/// Returns the changes to keys since a cursor.
#[utoipa::path(
    get,
    path = "/v1/changes",
    operation_id = "changes",
    tag = openapi::PROXIES,
    security((), ("service_token" = [])),
    params(Parameters),
    responses(
        (
            status = 200,
            description = "Changes, or a reset",
            body = Answer,
            example = json!({
                "cursor": "9f86d081884c7d659a2feaa0c55ad015-42-3f2b8c0d9e7a46518c2d4e6f80a1b3c5",
                "changes": [{
                    "key_hash": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                    "kind": "revoked",
                }],
                "reset": false,
            }),
        ),
        (status = 204, description = "No news: keep the cursor"),
        Changes,
    ),
)]
async fn changes(
    State(database): State<Database>,
    parameters: Result<Query<Parameters>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(parameters) = parameters.map_err(|_| ApiError::InvalidQuery)?;
    let limit = ApiError::limit(parameters.limit.as_deref(), CHANGES_AT_ONCE)?;
    // Text that is not a cursor is treated like the cursor of another feed.
    let after = parameters.after.and_then(|after| after.parse().ok());
    let (cursor, changes, reset) = match sql::read(&database, after.as_ref(), limit).await? {
        News::Nothing => return Ok(StatusCode::NO_CONTENT.into_response()),
        News::Changes(cursor, changes) => (cursor, changes, false),
        News::Reset(cursor) => (cursor, Vec::new(), true),
    };
    let answer = Answer {
        cursor,
        changes,
        reset,
    };
    Ok(Json(answer).into_response())
}

refusals! {
    Changes: service([ApiError::InvalidQuery, ApiError::InvalidLimit(CHANGES_AT_ONCE)]),
}
