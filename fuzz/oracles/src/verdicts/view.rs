//! What the naive model knows of one key at one moment.

use std::time::Duration;

use super::answers::Given;
use super::rules::Rules;
use super::{At, RETRY};

/// What is known of a key.
#[derive(Clone, Copy, Default)]
pub(super) struct Known {
    /// The number of the answer that was kept last.
    pub(super) kept: Option<usize>,
    /// When a lookup last failed since then: certainly, and possibly.
    pub(super) failed: (Option<u64>, Option<u64>),
    /// When the key last changed, as far as is known.
    pub(super) changed: Option<At>,
    /// When any key may have changed.
    pub(super) reset: Option<At>,
    /// For how many ms the kept answer was fresh when any key may have changed.
    pub(super) fresh_until_reset: Option<u64>,
}

/// A key at one moment. With jitter, the model knows only the minimum and maximum of a verdict's
/// time.
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
    /// Returns how long the answer is fresh: minimum and maximum.
    pub(super) fn life(&self, given: &Given) -> (u64, u64) {
        let ttl = self.rules.ttl(given.kind);
        let limit = self.rules.feed.as_ref().map(|feed| feed.allow_when_stale);
        let limit = limit.filter(|_| self.rules.allows(given.kind) && self.is_feed_stale());
        let limit = limit.unwrap_or(u64::MAX);
        let limit = limit.min(self.known.fresh_until_reset.unwrap_or(u64::MAX));
        (self.rules.shortest(ttl).min(limit), ttl.min(limit))
    }

    /// Returns for how long the answer can be confirmed by the feed: minimum and maximum.
    fn confirmable(&self, given: &Given) -> (u64, u64) {
        let ttl = self.rules.ttl(given.kind);
        let limit = self.known.fresh_until_reset.unwrap_or(u64::MAX);
        (self.rules.shortest(ttl).min(limit), ttl.min(limit))
    }

    /// Returns whether the answer may be used in an outage: certainly, and possibly.
    pub(super) fn grace(&self, given: &Given) -> (bool, bool) {
        let ends = given.ends.is_some_and(|end| end <= self.wall);
        let until = |ttl: u64| {
            let end = given.made.ms + ttl;
            let known = self
                .complete_until
                .map_or(given.made.ms, |known| known.min(end));
            known.max(given.made.ms) + self.rules.stale_if_error
        };
        let (shortest, longest) = self.confirmable(given);
        let lasts = |ttl| self.rules.allows(given.kind) && !ends && self.now < until(ttl);
        (lasts(shortest), lasts(longest))
    }

    /// Returns how long the answer has been stale: minimum and maximum.
    pub(super) fn stale_for(&self, given: &Given) -> (u64, u64) {
        let (least, most) = self.confirmable(given);
        let (shortest, longest) = self.life(given);
        let since = |ttl: u64, life: u64| {
            let known = self.complete_until.unwrap_or(0).min(given.made.ms + ttl);
            self.now.saturating_sub(known.max(given.made.ms + life))
        };
        (since(most, longest), since(least, shortest))
    }

    /// Returns whether the fresh answer must be looked up again: certainly, and possibly.
    pub(super) fn is_refresh_due(&self, given: &Given) -> (bool, bool) {
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

    /// Returns true if a lookup certainly failed so recently that no other is sent.
    pub(super) fn surely_failed_recently(&self) -> bool {
        let failed = self.known.failed.0;
        failed.is_some_and(|failed| self.now - failed < RETRY)
    }

    /// Returns how long a stale record is used because of a full circuit breaker.
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
