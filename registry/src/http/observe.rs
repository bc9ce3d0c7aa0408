//! Counts and logs each request when it is answered.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use tracing::debug;

use super::metrics::Metrics;
use crate::logs;

/// Counts and logs a request. Nothing that a client makes up is recorded: only the route, not the
/// path, and only methods that some route has.
pub(crate) async fn observe(
    State(metrics): State<Metrics>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let (method, route) = (method(&request), route(&request).to_owned());
    let response = next.run(request).await;
    let (status, duration) = (response.status().as_u16(), started.elapsed());
    let duration_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    debug!(target: logs::ACCESS, method, route, status, duration_us, "answered");
    metrics.count(method, route, status, duration);
    response
}

/// Returns the method of a request, or `other` if no route has it.
pub(crate) fn method(request: &Request) -> &'static str {
    match *request.method() {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

/// Returns the route of a request, such as `/v1/key-hashes/{key_hash}`, or `none`.
pub(crate) fn route(request: &Request) -> &str {
    let route = request.extensions().get::<MatchedPath>();
    route.map_or("none", MatchedPath::as_str)
}
