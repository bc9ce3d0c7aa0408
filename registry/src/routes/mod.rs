//! The routes of a listener, and the state that they share.

#[cfg(test)]
mod tests;

use axum::extract::DefaultBodyLimit;
use axum::{Router, middleware};

use crate::database::Database;
use crate::defaults::LARGEST_BODY;
use crate::feed;
use crate::http::auth::{self, Guard, Token};
use crate::http::error::ApiError;
use crate::http::metrics::{self, Metrics};
use crate::http::{health, limits, observe, openapi};
use crate::keys::{Keys, admin};
use crate::lookup::handler::{Answers, MaxAge};
use crate::lookup::{self, Lookups};

/// The state that the routes share.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) database: Database,
    pub(crate) keys: Keys,
    pub(crate) lookups: Lookups,
    /// Without one, the admin API is off.
    pub(crate) admin_token: Option<Token>,
    /// Without one, anyone who reaches the port can look up hashes and read the feed.
    pub(crate) service_token: Option<Token>,
    pub(crate) max_age: MaxAge,
    /// The most requests at once. Requests for health, metrics and the OpenAPI document do not count.
    pub(crate) concurrency: usize,
    pub(crate) metrics: Metrics,
}

/// What a listener offers in addition to `/healthz` and `/readyz`. It refuses everything else as an
/// unknown route.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    /// Lookups and the feed.
    pub(crate) lookups: bool,
    pub(crate) admin: bool,
    pub(crate) metrics: bool,
}

impl Offer {
    /// What a listener offers if it is the only one.
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

/// Returns the routes of a listener. Each listener has its own limit of concurrent requests.
pub(crate) fn router(app: App, offer: Offer) -> Router {
    let mut limited = Router::new();
    // Each API answers wrong methods inside its guard; the last fallback does so for the other routes.
    if offer.lookups {
        let answers = Answers {
            lookups: app.lookups,
            max_age: app.max_age,
        };
        let service = lookup::handler::routes()
            .with_state(answers)
            .merge(feed::handler::routes().with_state(app.database.clone()))
            .method_not_allowed_fallback(async || ApiError::MethodNotAllowed);
        // Without a token there is nothing to check, and each layer would slow down every lookup.
        limited = limited.merge(match app.service_token {
            Some(_) => service.layer(middleware::from_fn_with_state(
                Guard::new("service", app.service_token),
                auth::service,
            )),
            None => service,
        });
    }
    if offer.admin {
        let admin = admin::routes()
            .with_state(app.keys)
            .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
            .layer(middleware::from_fn_with_state(
                Guard::new("admin", app.admin_token),
                auth::admin,
            ));
        limited = limited.merge(admin);
    }
    let mut free = health::routes().with_state(app.database);
    if offer.metrics {
        free = free.merge(metrics::routes().with_state(app.metrics.clone()));
    }
    if offer.lookups || offer.admin {
        free = free.merge(openapi::routes());
    }
    limits::limited(limited, app.concurrency)
        .merge(free)
        .fallback(async || ApiError::UnknownRoute)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(middleware::from_fn_with_state(
            app.metrics,
            observe::observe,
        ))
}
