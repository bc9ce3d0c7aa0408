//! What statistics must say, counted beside the engine.

use std::collections::BTreeMap;

use keystile::engine::fake_host::FakeHost;
use keystile::engine::stats::Counter;

use super::answers::Kind;
use super::ends::Seen;

/// The names of counters that say how many verdicts gave way to others, which depends on the
/// cache's memory.
const EVICTIONS: &str = ".evictions.";

/// The statistics of one worker.
#[derive(Default)]
pub(super) struct Counts {
    counters: BTreeMap<String, u64>,
    /// How long lookups took, in ms.
    durations: Vec<u64>,
}

impl Counts {
    /// A request came to an end.
    pub(super) fn request(&mut self, seen: &Seen) {
        self.count("requests", &seen.outcome);
        if let Some(source) = seen.source {
            self.count("verdicts", source.name());
        }
    }

    /// A lookup was answered.
    pub(super) fn lookup(&mut self, kind: Kind) {
        let kind = match kind {
            kind if kind.is_active() => "active",
            kind if kind.is_revoked() => "revoked",
            kind if kind.is_not_found() => "not_found",
            _ => "indeterminate",
        };
        self.count("lookups", kind);
    }

    /// A lookup could not be sent.
    pub(super) fn unsent_lookup(&mut self) {
        self.count("lookups", "indeterminate");
    }

    /// A lookup took so long, in ms.
    pub(super) fn duration(&mut self, ms: u64) {
        self.durations.push(ms);
    }

    /// A poll was answered, or failed.
    pub(super) fn poll(&mut self, kind: &str) {
        self.count("feed_polls", kind);
    }

    /// Whether the proxy knows all of this, as it must after each tick.
    pub(super) fn agree(&self, host: &FakeHost, may_evict: bool) {
        for counter in Counter::all() {
            let name = counter.name();
            if may_evict && name.contains(EVICTIONS) {
                continue;
            }
            let counted = self.counters.get(&*name).copied().unwrap_or_default();
            assert_eq!(host.counted(counter), counted, "{name}");
        }
        assert_eq!(host.observed, self.durations, "how long lookups took");
    }

    fn count(&mut self, what: &str, kind: &str) {
        let name = format!("keystile.{what}.{kind}.total");
        *self.counters.entry(name).or_default() += 1;
    }
}
