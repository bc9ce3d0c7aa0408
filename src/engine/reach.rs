//! Whether the auth cluster can be reached, as far as one worker knows: an outage must be told from
//! a circuit breaker that is full.
//!
//! Envoy mostly reports both in the same way, and at once: the callout is not sent. While other lookups
//! come to verdicts, or are in flight and none has failed, there are hosts, so it is the circuit
//! breaker. Where nothing speaks for that, it is an outage.

#![forbid(unsafe_code)]

use std::time::Duration;

/// For how long an answer shows that there are hosts.
const RECENTLY: Duration = Duration::from_secs(5);

/// What callouts have shown.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    /// When the last answer came, on the monotonic clock.
    answered: Option<Duration>,
    /// Whether a callout that was sent has failed since.
    failing: bool,
}

impl Reach {
    /// A callout was answered as it should be.
    pub(crate) fn answers(&mut self, now: Duration) {
        self.answered = Some(now);
        self.failing = false;
    }

    /// A callout that was sent came to nothing.
    pub(crate) fn fails(&mut self) {
        self.failing = true;
    }

    /// Whether a callout that was not sent just now found the circuit breaker full, rather than no
    /// host. `any_in_flight` says whether other callouts are.
    pub(crate) fn is_breaker_full(&self, any_in_flight: bool, now: Duration) -> bool {
        let recently = self
            .answered
            .is_some_and(|answered| now.saturating_sub(answered) < RECENTLY);
        recently || (!self.failing && any_in_flight)
    }
}
