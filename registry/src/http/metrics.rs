//! `GET /metrics`: requests and how long they took, for Prometheus.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::error::ApiError;
use crate::server::{Counters, SharedBody};

pub(crate) fn routes() -> Router<Metrics> {
    Router::new().route("/metrics", get(metrics))
}

/// Upper bounds of the buckets, in seconds: from a cached page to a database in trouble.
const BUCKETS: [f64; 12] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0,
];

/// How long the same text is returned to everyone. However often it is requested, it is generated
/// at most ten times a second, and unread responses hold no more than a few texts in memory.
pub(crate) const FRESH: Duration = Duration::from_millis(100);

/// The metrics. Nothing that a client makes up becomes a label. Clones share their counts.
#[derive(Clone, Debug)]
pub(crate) struct Metrics(Arc<All>);

#[derive(Debug)]
struct All {
    requests: Family<Answered, Counter>,
    durations: Family<Route, Histogram, fn() -> Histogram>,
    connections: Counters,
    /// The last text, and when it was generated.
    text: Mutex<Option<(Instant, Bytes)>>,
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
        Self(Arc::new(All {
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            connections: Counters::default(),
            text: Mutex::default(),
        }))
    }

    /// Returns the counters of connections.
    pub(crate) fn connections(&self) -> &Counters {
        &self.0.connections
    }

    /// Counts an answered request.
    pub(crate) fn count(
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
        self.0.requests.get_or_create(&answered).inc();
        let durations = self.0.durations.get_or_create(&Route { route });
        durations.observe(duration.as_secs_f64());
    }

    /// Returns the text, which is at most [`FRESH`] old. All copies share its memory.
    fn text(&self) -> Result<Bytes, std::fmt::Error> {
        let mut last = self.0.text.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((made, text)) if made.elapsed() < FRESH => Ok(text.clone()),
            _ => {
                let text = Bytes::from(self.write()?);
                *last = Some((Instant::now(), text.clone()));
                Ok(text)
            }
        }
    }

    fn write(&self) -> Result<String, std::fmt::Error> {
        let mut registry = Registry::with_prefix("keystile_registry");
        registry.register(
            "requests",
            "Requests, by route and status",
            self.0.requests.clone(),
        );
        registry.register(
            "request_duration_seconds",
            "How long requests took to answer",
            self.0.durations.clone(),
        );
        self.0.connections.register(&mut registry);
        let mut text = String::new();
        text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

/// Returns everything counted since the server started, for Prometheus.
async fn metrics(State(metrics): State<Metrics>) -> Result<Response, ApiError> {
    let text = metrics.text().map_err(|_| ApiError::NoMetrics)?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(CONTENT_TYPE, kind)], Extension(SharedBody), text).into_response())
}
