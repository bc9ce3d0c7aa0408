//! What the server answers, a module for each resource.

mod admin;
mod auth;
mod body;
mod error;
mod feed;
mod lookup;

#[cfg(test)]
mod tests;

use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use keystile::credential::KeyHasher;
use serde_json::{Value, json};

pub(crate) use self::auth::Token;
use self::error::ApiError;
use crate::defaults::LARGEST_BODY;
use crate::store::Store;

/// What the routes work with.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) store: Store,
    /// Hashes new keys.
    pub(crate) hasher: KeyHasher,
    /// Without one, the admin API is off.
    pub(crate) admin_token: Option<Token>,
}

/// The routes.
pub(crate) fn router(app: App) -> Router {
    let admin = Router::new()
        .route("/admin/v1/keys", get(admin::list).post(admin::create))
        .route(
            "/admin/v1/keys/{key_id}",
            get(admin::get).patch(admin::update).delete(admin::delete),
        )
        .route("/admin/v1/keys/{key_id}/revoke", post(admin::revoke))
        .route("/admin/v1/keys/{key_id}/rotate", post(admin::rotate))
        // Within the guard, unlike that of the other routes.
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(middleware::from_fn_with_state(app.admin_token, auth::admin));
    Router::new()
        .route("/v1/key-hashes/{key_hash}", get(lookup::lookup))
        .route("/v1/changes", get(feed::changes))
        .route("/healthz", get(health))
        .merge(admin)
        .fallback(async || ApiError::UnknownRoute)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(app)
}

async fn health() -> Json<Value> {
    Json(json!({"status": "ok"}))
}
