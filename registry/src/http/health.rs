//! Liveness and readiness. Each listener answers these requests, however busy the server is.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::ApiError;
use super::{openapi, refusals};
use crate::database::Database;

/// How long the database may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) fn routes() -> OpenApiRouter<Database> {
    OpenApiRouter::new()
        .routes(routes!(live))
        .routes(routes!(ready))
}

/// The server is healthy.
#[derive(Serialize, ToSchema)]
struct Health {
    #[schema(example = "ok")]
    status: &'static str,
}

/// Returns 200 while the process runs.
// Deliberately does not check the database: restarting the server would not repair it.
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "live",
    tag = openapi::SERVER,
    responses((status = 200, description = "It runs", body = Health)),
)]
async fn live() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Returns 200 if the database can be reached.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "ready",
    tag = openapi::SERVER,
    responses((status = 200, description = "It can", body = Health), refusals::Ready),
)]
async fn ready(State(database): State<Database>) -> Result<Json<Health>, ApiError> {
    match timeout(PATIENCE, database.ping()).await {
        Ok(result) => result?,
        Err(_) => return Err(ApiError::Unavailable(sqlx::Error::PoolTimedOut)),
    }
    Ok(Json(Health { status: "ready" }))
}
