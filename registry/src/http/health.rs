//! Liveness and readiness. Each listener answers these requests, however busy the server is.

use std::time::Duration;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tokio::time::timeout;

use super::error::ApiError;
use crate::database::Database;

/// How long the database may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) fn routes() -> Router<Database> {
    Router::new()
        .route("/healthz", get(live))
        .route("/readyz", get(ready))
}

/// The server is healthy.
#[derive(Serialize)]
struct Health {
    status: &'static str,
}

/// Returns 200 while the process runs.
// Deliberately does not check the database: restarting the server would not repair it.
async fn live() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Returns 200 if the database can be reached.
async fn ready(State(database): State<Database>) -> Result<Json<Health>, ApiError> {
    match timeout(PATIENCE, database.ping()).await {
        Ok(result) => result?,
        Err(_) => return Err(ApiError::Unavailable(sqlx::Error::PoolTimedOut)),
    }
    Ok(Json(Health { status: "ready" }))
}
