//! `GET /v1/changes`.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::change::{Change, News};
use super::cursor::Cursor;
use super::sql;
use crate::database::Database;
use crate::defaults::CHANGES_AT_ONCE;
use crate::http::error::ApiError;

pub(crate) fn routes() -> Router<Database> {
    Router::new().route("/v1/changes", get(changes))
}

#[derive(Deserialize)]
struct Parameters {
    /// The cursor of the previous answer. Without one, the answer is a reset.
    after: Option<String>,
    /// The most changes to return; by default 1000.
    limit: Option<String>,
}

#[derive(Serialize)]
struct Answer {
    /// The cursor for the next request.
    cursor: Cursor,
    /// The changes, oldest first.
    changes: Vec<Change>,
    /// Whether the reader must forget what it knows, because it is unknown what it has missed.
    reset: bool,
}

/// Returns the changes to keys since a cursor.
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
