//! Whether the auth cluster can be reached, as far as one worker knows. This tells an outage from a
//! full circuit breaker.
//!
//! Envoy usually reports both in the same way, and at once: the callout is not sent. If other lookups
//! return verdicts, or are in flight and none has failed, the cluster has hosts, so the circuit
//! breaker is full. Without such evidence, it is an outage.

#![forbid(unsafe_code)]

use std::time::Duration;

/// How long an answer proves that the cluster has hosts.
const RECENTLY: Duration = Duration::from_secs(5);

/// What callouts have shown so far.
#[derive(Debug, Default)]
pub(crate) struct Reachability {
    /// When the last answer came, on the monotonic clock.
    answered: Option<Duration>,
    /// Whether a callout that was sent has failed since.
    failing: bool,
}

impl Reachability {
    /// Records that a callout was answered as expected.
    pub(crate) fn answers(&mut self, now: Duration) {
        self.answered = Some(now);
        self.failing = false;
    }

    /// Records that a callout was sent but failed.
    pub(crate) fn fails(&mut self) {
        self.failing = true;
    }

    /// Returns true if a callout that could not be sent just now found the circuit breaker full,
    /// rather than no host. `any_in_flight` says whether other callouts are in flight.
    pub(crate) fn is_breaker_full(&self, any_in_flight: bool, now: Duration) -> bool {
        let recently = self
            .answered
            .is_some_and(|answered| now.saturating_sub(answered) < RECENTLY);
        recently || (!self.failing && any_in_flight)
    }
}
