//! `GET /metrics`: requests and how long they took, for Prometheus.

use std::time::Duration;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::error::ApiError;
use super::{App, openapi, refusals};

/// Upper borders of the buckets, in seconds: from a cached page to a database in trouble.
const BUCKETS: [f64; 12] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0,
];

/// What is counted. Nothing that a client makes up becomes a label.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    requests: Family<Answered, Counter>,
    durations: Family<Route, Histogram, fn() -> Histogram>,
}

#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
struct Answered {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
struct Route {
    route: String,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
        }
    }

    /// Counts a request that was answered.
    pub(super) fn count(
        &self,
        method: &'static str,
        route: String,
        status: u16,
        duration: Duration,
    ) {
        let answered = Answered {
            method,
            route: route.clone(),
            status,
        };
        self.requests.get_or_create(&answered).inc();
        let durations = self.durations.get_or_create(&Route { route });
        durations.observe(duration.as_secs_f64());
    }

    fn text(&self) -> Result<String, std::fmt::Error> {
        let mut registry = Registry::with_prefix("keystile_registry");
        registry.register(
            "requests",
            "Requests, by route and status",
            self.requests.clone(),
        );
        registry.register(
            "request_duration_seconds",
            "How long requests took to answer",
            self.durations.clone(),
        );
        let mut text = String::new();
        text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

/// All that was counted since the server started, for Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "metrics",
    tag = openapi::SERVER,
    responses(
        (
            status = 200,
            description = "Counters and histograms",
            body = String,
            content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
        refusals::Metrics,
    ),
)]
pub(super) async fn metrics(State(app): State<App>) -> Result<Response, ApiError> {
    let text = app.metrics.text().map_err(|_| ApiError::NoMetrics)?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(CONTENT_TYPE, kind)], text).into_response())
}
