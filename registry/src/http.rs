//! What the server answers, a module for each resource.

mod error;
mod feed;
mod lookup;

#[cfg(test)]
mod tests;

use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::store::Store;
use error::ApiError;

/// The routes.
pub(crate) fn router(store: Store) -> Router {
    Router::new()
        .route("/v1/key-hashes/{key_hash}", get(lookup::lookup))
        .route("/v1/changes", get(feed::changes))
        .route("/healthz", get(health))
        .fallback(async || ApiError::UnknownRoute)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .with_state(store)
}

async fn health() -> Json<Value> {
    Json(json!({"status": "ok"}))
}
