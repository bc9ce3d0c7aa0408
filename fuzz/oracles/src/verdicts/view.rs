//! What the naive model makes of one key at one moment.

use std::time::Duration;

use super::answers::Given;
use super::rules::Rules;
use super::{At, RETRY};

/// What is known of a key.
#[derive(Clone, Copy, Default)]
pub(super) struct Known {
    /// The answer that was kept last, by its number.
    pub(super) kept: Option<usize>,
    /// When a lookup last failed since then: surely, and perhaps.
    pub(super) failed: (Option<u64>, Option<u64>),
    /// When the key was last said to have changed.
    pub(super) changed: Option<At>,
}

/// A key at one moment. Where there is jitter, the model does not know a verdict's time exactly, but
/// at least and at most.
#[derive(Clone, Copy)]
pub(super) struct View {
    pub(super) rules: &'static Rules,
    pub(super) key: usize,
    pub(super) known: Known,
    /// Until when all changes are known.
    pub(super) complete_until: Option<u64>,
    pub(super) now: u64,
    /// Since the Unix epoch.
    pub(super) wall: Duration,
}

impl View {
    /// For how long the answer is fresh: at least, and at most.
    pub(super) fn life(&self, given: &Given) -> (u64, u64) {
        let ttl = self.rules.ttl(given.kind);
        let limit = self.rules.feed.as_ref().map(|feed| feed.allow_when_stale);
        let limit = limit.filter(|_| self.rules.allows(given.kind) && self.is_feed_stale());
        let limit = limit.unwrap_or(u64::MAX);
        (self.rules.shortest(ttl).min(limit), ttl.min(limit))
    }

    /// Whether the answer counts in an outage: surely, and perhaps.
    pub(super) fn grace(&self, given: &Given) -> (bool, bool) {
        let ends = given.ends.is_some_and(|end| end <= self.wall);
        let until = |ttl: u64| {
            let end = given.made.ms + ttl;
            let known = self
                .complete_until
                .map_or(given.made.ms, |known| known.min(end));
            known.max(given.made.ms) + self.rules.stale_if_error
        };
        let ttl = self.rules.ttl(given.kind);
        let lasts = |ttl| self.rules.allows(given.kind) && !ends && self.now < until(ttl);
        (lasts(self.rules.shortest(ttl)), lasts(ttl))
    }

    /// For how long the answer has not been fresh: at least, and at most.
    pub(super) fn stale_for(&self, given: &Given) -> (u64, u64) {
        let ttl = self.rules.ttl(given.kind);
        let (shortest, longest) = self.life(given);
        let since = |ttl: u64, life: u64| {
            let known = self.complete_until.unwrap_or(0).min(given.made.ms + ttl);
            self.now.saturating_sub(known.max(given.made.ms + life))
        };
        (
            since(ttl, longest),
            since(self.rules.shortest(ttl), shortest),
        )
    }

    /// Whether the answer is looked up again while it is fresh: surely, and perhaps.
    pub(super) fn nears_its_end(&self, given: &Given) -> (bool, bool) {
        let age = self.now - given.made.ms;
        let after = |life: u64| age >= life * self.rules.refresh_ahead / 1_000_000;
        let failed = |failed: Option<u64>| failed.is_some_and(|failed| self.now - failed < RETRY);
        let (shortest, longest) = self.life(given);
        let (surely, perhaps) = self.known.failed;
        let allows = self.rules.allows(given.kind);
        (
            allows && after(longest) && !failed(perhaps),
            allows && after(shortest) && !failed(surely),
        )
    }

    /// For how long a record counts because of a full circuit breaker.
    pub(super) fn overflow_grace(&self) -> u64 {
        let feed = self.rules.feed.as_ref();
        feed.map_or(60_000, |feed| feed.allow_when_stale)
    }

    pub(super) fn is_feed_stale(&self) -> bool {
        self.rules.feed.as_ref().is_some_and(|feed| {
            self.complete_until
                .is_none_or(|known| self.now - known >= feed.stale_after)
        })
    }
}
