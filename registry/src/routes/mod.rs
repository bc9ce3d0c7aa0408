//! Which routes a listener has, and what they work with.

#[cfg(test)]
mod tests;

use axum::extract::DefaultBodyLimit;
use axum::{Router, middleware};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::database::Database;
use crate::defaults::LARGEST_BODY;
use crate::feed;
use crate::http::auth::{self, Guard, Token};
use crate::http::error::ApiError;
use crate::http::metrics::{self, Metrics};
use crate::http::{health, limits, observe, openapi};
use crate::keys::{Keys, admin};
use crate::lookup::handler::MaxAge;
use crate::lookup::{self, Lookups};

/// What the routes work with.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) database: Database,
    pub(crate) keys: Keys,
    pub(crate) lookups: Lookups,
    /// Without one, the admin API is off.
    pub(crate) admin_token: Option<Token>,
    /// Without one, whoever reaches the port may look up and read the feed.
    pub(crate) service_token: Option<Token>,
    pub(crate) max_age: MaxAge,
    /// The most requests at once, but for those about the server's own state.
    pub(crate) concurrency: usize,
    pub(crate) metrics: Metrics,
}

/// What a listener offers, beside `/healthz` and `/readyz`. What it does not offer is an unknown
/// route there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    /// Lookups and the feed.
    pub(crate) lookups: bool,
    pub(crate) admin: bool,
    pub(crate) metrics: bool,
}

impl Offer {
    /// What the only listener offers.
    pub(crate) const ALL: Self = Self {
        lookups: true,
        admin: true,
        metrics: true,
    };

    pub(crate) const ADMIN: Self = Self {
        lookups: false,
        admin: true,
        metrics: false,
    };

    pub(crate) const METRICS: Self = Self {
        lookups: false,
        admin: false,
        metrics: true,
    };
}

/// The routes of a listener. Requests beyond the limit are counted for each listener by itself.
pub(crate) fn router(app: App, offer: Offer) -> Router {
    let mut limited = Router::new();
    // Each within its guards, and once more for the other routes.
    if offer.lookups {
        let service = Router::from(service())
            .method_not_allowed_fallback(async || ApiError::MethodNotAllowed);
        // Without a token there is nothing to check, and each layer costs every lookup.
        limited = limited.merge(match app.service_token {
            Some(_) => service.layer(middleware::from_fn_with_state(
                Guard::new("service", app.service_token),
                auth::service,
            )),
            None => service,
        });
    }
    if offer.admin {
        let admin = Router::from(admin())
            .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
            .layer(middleware::from_fn_with_state(
                Guard::new("admin", app.admin_token),
                auth::admin,
            ));
        limited = limited.merge(admin);
    }
    let mut free = Router::from(health());
    if offer.metrics {
        free = free.merge(Router::from(metrics()));
    }
    let describes = offer.lookups || offer.admin;
    if describes {
        free = free.merge(Router::from(description()));
    }
    let routes = limits::limited(limited, app.concurrency)
        .merge(free)
        .fallback(async || ApiError::UnknownRoute)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(middleware::from_fn_with_state(
            app.metrics.clone(),
            observe::observe,
        ))
        .with_state(app);
    match describes {
        true => openapi::serving(&document(), routes),
        false => routes,
    }
}

/// What the routes answer, as OpenAPI.
fn document() -> OpenApi {
    let mut document = openapi::document();
    for routes in [service(), admin(), health(), metrics(), description()] {
        document.merge(routes.into_openapi());
    }
    document
}

fn service() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(lookup::handler::lookup))
        .routes(routes!(feed::handler::changes))
}

fn admin() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(admin::list, admin::create))
        .routes(routes!(admin::get, admin::update, admin::delete))
        .routes(routes!(admin::revoke))
        .routes(routes!(admin::rotate))
}

/// Answered by each listener, and however busy the server is.
fn health() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
}

fn metrics() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(metrics::metrics))
}

fn description() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(openapi::openapi))
}
