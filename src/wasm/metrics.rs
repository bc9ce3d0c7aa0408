//! The statistics as the proxy-wasm host's metrics.

#![forbid(unsafe_code)]

use proxy_wasm::hostcalls;
use proxy_wasm::types::{LogLevel, MetricType};

use crate::engine::stats::{self, Counter, Gauge};

/// The defined metrics; `None` if the host refused to define one.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    counters: Vec<(Counter, Option<u32>)>,
    gauges: Vec<(Gauge, Option<u32>)>,
    pub(super) lookup_duration: Option<u32>,
}

/// A statistic that cannot be kept must not affect requests, so the host's errors are ignored.
impl Metrics {
    /// Defines all of them.
    pub(super) fn define() -> Self {
        let define = |kind, name: &str| {
            hostcalls::define_metric(kind, name)
                .inspect_err(|status| {
                    warn(&format!("cannot define the statistic {name}: {status:?}"))
                })
                .ok()
        };
        Self {
            counters: Counter::all()
                .map(|counter| (counter, define(MetricType::Counter, &counter.name())))
                .collect(),
            gauges: Gauge::ALL
                .map(|gauge| (gauge, define(MetricType::Gauge, gauge.name())))
                .to_vec(),
            lookup_duration: define(MetricType::Histogram, stats::LOOKUP_DURATION),
        }
    }

    /// Adds `events` to a counter.
    pub(super) fn add(&self, counter: Counter, events: u64) {
        let events = i64::try_from(events).unwrap_or(i64::MAX);
        let counter = self.counters.iter().find(|(other, _)| *other == counter);
        increment(counter.map(|(_, metric)| metric), events);
    }

    /// Changes a gauge.
    pub(super) fn change(&self, gauge: Gauge, change: i64) {
        let gauge = self.gauges.iter().find(|(other, _)| *other == gauge);
        increment(gauge.map(|(_, metric)| metric), change);
    }
}

fn increment(metric: Option<&Option<u32>>, change: i64) {
    // An increment by zero would be an error.
    if let Some(id) = metric.copied().flatten().filter(|_| change != 0) {
        let _ = hostcalls::increment_metric(id, change);
    }
}

fn warn(line: &str) {
    let _ = hostcalls::log(LogLevel::Warn, &format!("keystile: {line}"));
}
