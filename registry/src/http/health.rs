//! Whether the server runs, and whether it can answer.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::App;
use super::error::ApiError;

/// How long the database may take to say anything.
const PATIENCE: Duration = Duration::from_secs(2);

/// The process runs. Deliberately blind to the database: to restart the server would not mend that.
pub(super) async fn live() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// The database can be reached.
pub(super) async fn ready(State(app): State<App>) -> Result<Json<Value>, ApiError> {
    match timeout(PATIENCE, app.store.ping()).await {
        Ok(result) => result?,
        Err(_) => return Err(ApiError::Unavailable(sqlx::Error::PoolTimedOut)),
    }
    Ok(Json(json!({"status": "ready"})))
}
