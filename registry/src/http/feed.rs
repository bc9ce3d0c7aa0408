//! `GET /v1/changes`.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::App;
use super::error::ApiError;
use crate::defaults::CHANGES_AT_ONCE;
use crate::feed::{Change, Cursor, News};

#[derive(Deserialize)]
pub(super) struct Parameters {
    after: Option<String>,
    limit: Option<String>,
}

#[derive(Serialize)]
struct Answer {
    cursor: Cursor,
    changes: Vec<Change>,
    reset: bool,
}

/// What has changed behind the cursor `after`. 204: nothing.
pub(super) async fn changes(
    State(app): State<App>,
    parameters: Result<Query<Parameters>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(parameters) = parameters.map_err(|_| ApiError::InvalidQuery)?;
    let limit = ApiError::limit(parameters.limit.as_deref(), CHANGES_AT_ONCE)?;
    // What is no cursor at all is as foreign as another feed's.
    let after = parameters.after.and_then(|after| after.parse().ok());
    let (cursor, changes, reset) = match app.store.changes(after.as_ref(), limit).await? {
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
