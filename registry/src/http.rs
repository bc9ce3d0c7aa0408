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
mod openapi;
mod peer;
mod refusals;

#[cfg(test)]
mod tests;

use axum::extract::DefaultBodyLimit;
use axum::{Router, middleware};
use keystile::credential::KeyHasher;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::auth::Guard;
pub(crate) use self::auth::{Token, Tokens};
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
    let document = document();
    // Each within its guards, and once more for the other routes.
    let admin = Router::from(admin())
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(middleware::from_fn_with_state(
            Guard::new("admin", app.admin_token),
            auth::admin,
        ));
    let service =
        Router::from(service()).method_not_allowed_fallback(async || ApiError::MethodNotAllowed);
    // Without a token there is nothing to check, and each layer costs every lookup.
    let service = match app.service_token {
        Some(_) => service.layer(middleware::from_fn_with_state(
            Guard::new("service", app.service_token),
            auth::service,
        )),
        None => service,
    };
    let routes = limits::limited(service.merge(admin), app.concurrency)
        .merge(Router::from(server()))
        .fallback(async || ApiError::UnknownRoute)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(middleware::from_fn_with_state(
            app.metrics.clone(),
            observe::observe,
        ))
        .with_state(app);
    openapi::serving(&document, routes)
}

/// What the routes answer, as OpenAPI.
fn document() -> OpenApi {
    let mut document = openapi::document();
    for routes in [service(), admin(), server()] {
        document.merge(routes.into_openapi());
    }
    document
}

fn service() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(lookup::lookup))
        .routes(routes!(feed::changes))
}

fn admin() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(admin::list, admin::create))
        .routes(routes!(admin::get, admin::update, admin::delete))
        .routes(routes!(admin::revoke))
        .routes(routes!(admin::rotate))
}

/// What is answered whatever the server is at.
fn server() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(metrics::metrics))
        .routes(routes!(openapi::openapi))
}
