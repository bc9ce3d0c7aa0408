//! The statistics as the proxy-wasm host's metrics.

#![forbid(unsafe_code)]

use proxy_wasm::hostcalls;
use proxy_wasm::types::{LogLevel, MetricType};

use crate::engine::stats::{self, Counter};

/// The defined metrics; `None` if the host refused to define one.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    counters: Vec<(Counter, Option<u32>)>,
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
            lookup_duration: define(MetricType::Histogram, stats::LOOKUP_DURATION),
        }
    }

    /// Adds `events` to a counter.
    pub(super) fn add(&self, counter: Counter, events: u64) {
        let events = i64::try_from(events).unwrap_or(i64::MAX);
        let mut counters = self.counters.iter();
        let counter = counters.find(|(other, _)| *other == counter);
        // An increment by zero would be an error.
        if let Some((_, Some(id))) = counter.filter(|_| events != 0) {
            let _ = hostcalls::increment_metric(*id, events);
        }
    }
}

fn warn(line: &str) {
    let _ = hostcalls::log(LogLevel::Warn, &format!("keystile: {line}"));
}
