//! What statistics must say, counted independently of the engine.

use std::collections::BTreeMap;

use keystile::engine::fake_host::FakeHost;
use keystile::engine::stats::Counter;

use super::answers::Kind;
use super::ends::Seen;

/// Part of the names of counters for evictions, which depend on what the cache remembers.
const EVICTIONS: &str = ".evictions.";

/// Parts of the names of counters that depend on when exactly an entry of the cache ends.
const UNKNOWN: [&str; 2] = [".insertions.", ".held_back."];

/// The statistics of one worker.
#[derive(Default)]
pub(super) struct Counts {
    counters: BTreeMap<String, u64>,
    /// The durations of lookups, in ms.
    durations: Vec<u64>,
}

impl Counts {
    /// Counts the end of a request.
    pub(super) fn request(&mut self, seen: &Seen) {
        self.count("requests", &seen.outcome);
        if let Some(source) = seen.source {
            self.count("verdicts", source.name());
        }
    }

    /// Counts the answer to a lookup.
    pub(super) fn lookup(&mut self, kind: Kind) {
        let kind = match kind {
            kind if kind.is_active() => "active",
            kind if kind.is_revoked() => "revoked",
            kind if kind.is_not_found() => "not_found",
            _ => "indeterminate",
        };
        self.count("lookups", kind);
    }

    /// Counts a lookup that could not be sent.
    pub(super) fn unsent_lookup(&mut self) {
        self.count("lookups", "indeterminate");
    }

    /// Records the duration of a lookup, in ms.
    pub(super) fn duration(&mut self, ms: u64) {
        self.durations.push(ms);
    }

    /// Counts a poll that was answered, or failed.
    pub(super) fn poll(&mut self, kind: &str) {
        self.count("feed_polls", kind);
    }

    /// Counts for how many ms the feed was stale.
    pub(super) fn stale_feed(&mut self, ms: u64) {
        let name = "keystile.feed.stale.milliseconds.total".to_owned();
        *self.counters.entry(name).or_default() += ms;
    }

    /// Checks that the proxy knows all of this, as it must after each tick.
    pub(super) fn assert_reported(&self, host: &FakeHost, may_evict: bool) {
        for counter in Counter::all() {
            let name = counter.name();
            let is_unknown = UNKNOWN.iter().any(|part| name.contains(part));
            if is_unknown || (may_evict && name.contains(EVICTIONS)) {
                continue;
            }
            let counted = self.counters.get(&*name).copied().unwrap_or_default();
            assert_eq!(host.counted(counter), counted, "{name}");
        }
        assert_eq!(host.observed, self.durations, "the durations of lookups");
    }

    fn count(&mut self, what: &str, kind: &str) {
        let name = format!("keystile.{what}.{kind}.total");
        *self.counters.entry(name).or_default() += 1;
    }
}
