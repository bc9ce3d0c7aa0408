//! What the server answers, a module for each resource.

mod admin;
mod auth;
mod body;
mod error;
mod feed;
mod health;
mod limits;
mod lookup;
mod metrics;
mod observe;

#[cfg(test)]
mod tests;

use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use axum::{Router, middleware};
use keystile::credential::KeyHasher;

pub(crate) use self::auth::Token;
use self::error::ApiError;
pub(crate) use self::lookup::MaxAge;
pub(crate) use self::metrics::Metrics;
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
    /// Without one, whoever reaches the port may look up and read the feed.
    pub(crate) service_token: Option<Token>,
    pub(crate) max_age: MaxAge,
    /// The most requests at once, but for those about the server's own state.
    pub(crate) concurrency: usize,
    pub(crate) metrics: Metrics,
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
        // Within the guards, and once more for the other routes.
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(middleware::from_fn_with_state(app.admin_token, auth::admin));
    let service = Router::new()
        .route("/v1/key-hashes/{key_hash}", get(lookup::lookup))
        .route("/v1/changes", get(feed::changes))
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(middleware::from_fn_with_state(
            app.service_token,
            auth::service,
        ));
    limits::limited(service.merge(admin), app.concurrency)
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::metrics))
        .fallback(async || ApiError::UnknownRoute)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(middleware::from_fn_with_state(
            app.metrics.clone(),
            observe::observe,
        ))
        .with_state(app)
}
