//! Statistics: their names, and the counter for each event.
//!
//! A counter's name is `keystile.<what>.<kind>.total`, which Prometheus shows as
//! `keystile_<what>_<kind>_total`; `stats_config` in `envoy/envoy.yaml` makes a label of `<kind>`.

#![forbid(unsafe_code)]

use std::borrow::Cow;

use crate::auth::answer::{Source, Verdict};
use crate::auth::feed::page::Changed;
use crate::decision::outcome::Outcome;
use crate::engine::cache::PoolName;

/// The histogram of how long lookups take, in ms.
pub const LOOKUP_DURATION: &str = "keystile.lookup.duration.milliseconds";

macro_rules! counters {
    ($($counter:ident: $name:literal,)*) => {
        /// A counter.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the names say it")]
        pub enum Counter {
            Requests(Outcome),
            $($counter,)*
        }

        /// The places of the other counters, after those of the outcomes.
        #[derive(Clone, Copy)]
        enum Other {
            $($counter,)*
        }

        impl Counter {
            const OTHERS: [Self; [$($name,)*].len()] = [$(Self::$counter,)*];

            /// The counter's full name.
            pub fn name(self) -> Cow<'static, str> {
                match self {
                    Self::Requests(outcome) => {
                        format!("keystile.requests.{}.total", outcome.name()).into()
                    }
                    $(Self::$counter => $name.into(),)*
                }
            }

            /// The counter's place among [`Self::PLACES`].
            pub const fn place(self) -> usize {
                match self {
                    Self::Requests(outcome) => outcome.place(),
                    $(Self::$counter => Outcome::COUNT.saturating_add(Other::$counter as usize),)*
                }
            }
        }
    };
}

counters! {
    VerdictsLookup: "keystile.verdicts.lookup.total",
    VerdictsCache: "keystile.verdicts.cache.total",
    VerdictsStale: "keystile.verdicts.stale.total",
    VerdictsCoalesced: "keystile.verdicts.coalesced.total",
    LookupsActive: "keystile.lookups.active.total",
    LookupsRevoked: "keystile.lookups.revoked.total",
    LookupsNotFound: "keystile.lookups.not_found.total",
    LookupsIndeterminate: "keystile.lookups.indeterminate.total",
    PollsCurrent: "keystile.feed_polls.current.total",
    PollsChanges: "keystile.feed_polls.changes.total",
    PollsReset: "keystile.feed_polls.reset.total",
    PollsFailed: "keystile.feed_polls.failed.total",
    EvictionsAllow: "keystile.cache.allow.evictions.total",
    EvictionsDeny: "keystile.cache.deny.evictions.total",
}

impl Counter {
    /// The number of places. Those of outcomes that are counted as another outcome stay unused.
    pub const PLACES: usize = Outcome::COUNT.saturating_add(Self::OTHERS.len());

    /// Returns all counters, each once.
    pub fn all() -> impl Iterator<Item = Self> {
        let requests = Outcome::all().map(Self::Requests);
        let requests = requests.filter(|counter| match counter {
            Self::Requests(outcome) => Self::of_request(*outcome) == *counter,
            _ => true,
        });
        requests.chain(Self::OTHERS)
    }

    /// Returns the counter of requests with this outcome. Outcomes with the same name share a
    /// counter.
    pub fn of_request(outcome: Outcome) -> Self {
        let Outcome::Refused(_) = outcome else {
            return Self::Requests(outcome);
        };
        let mut named = Outcome::all().filter(|other| other.name() == outcome.name());
        Self::Requests(named.next().unwrap_or(outcome))
    }

    /// Returns the counter of verdicts from this source.
    pub const fn of_source(source: Source) -> Self {
        match source {
            Source::Lookup => Self::VerdictsLookup,
            Source::Cache => Self::VerdictsCache,
            Source::Stale => Self::VerdictsStale,
            Source::Coalesced => Self::VerdictsCoalesced,
        }
    }

    /// Returns the counter of verdicts that were evicted from a pool.
    pub const fn of_evictions(pool: PoolName) -> Self {
        match pool {
            PoolName::Allow => Self::EvictionsAllow,
            PoolName::Deny => Self::EvictionsDeny,
        }
    }

    /// Returns the counter of feed polls with this result.
    pub const fn of_poll(changed: &Result<Changed, String>) -> Self {
        match changed {
            Ok(Changed::Any) => Self::PollsReset,
            Ok(Changed::Keys(hashes)) if hashes.is_empty() => Self::PollsCurrent,
            Ok(Changed::Keys(_)) => Self::PollsChanges,
            Err(_) => Self::PollsFailed,
        }
    }

    /// Returns the counter of lookups with this verdict.
    pub const fn of_lookup(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Active(_) => Self::LookupsActive,
            Verdict::Revoked(_) => Self::LookupsRevoked,
            Verdict::NotFound => Self::LookupsNotFound,
            Verdict::Indeterminate(_) => Self::LookupsIndeterminate,
        }
    }
}

/// A gauge, summed over all workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gauge {
    /// The number of verdicts in a pool.
    Entries(PoolName),
    /// The number of workers whose feed is stale.
    FeedStale,
}

impl Gauge {
    /// All gauges, each once.
    pub const ALL: [Self; 3] = [
        Self::Entries(PoolName::Allow),
        Self::Entries(PoolName::Deny),
        Self::FeedStale,
    ];

    /// The gauge's full name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Entries(PoolName::Allow) => "keystile.cache.allow.entries",
            Self::Entries(PoolName::Deny) => "keystile.cache.deny.entries",
            Self::FeedStale => "keystile.feed.stale",
        }
    }
}

/// Counts that are not yet reported to the host: a report costs more than counting.
#[derive(Debug)]
pub struct Stats {
    /// By [`Counter::place`].
    counts: [u64; Counter::PLACES],
    /// The value of each gauge as last reported to the host.
    gauges: [i64; Gauge::ALL.len()],
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            counts: [0; Counter::PLACES],
            gauges: [0; Gauge::ALL.len()],
        }
    }
}

impl Stats {
    /// Adds `events` to a counter.
    pub fn add(&mut self, counter: Counter, events: u64) {
        if let Some(count) = self.counts.get_mut(counter.place()) {
            *count = count.saturating_add(events);
        }
    }

    /// Returns the counts since the last call, without zeros. Outcomes with the same name are added
    /// up only here, because finding their counter takes longer than counting.
    pub fn take_counts(&mut self) -> impl Iterator<Item = (Counter, u64)> {
        for outcome in Outcome::all() {
            let (counted, counter) = (Counter::Requests(outcome), Counter::of_request(outcome));
            if counted != counter {
                let events = self.counts.get_mut(counted.place()).map(std::mem::take);
                self.add(counter, events.unwrap_or_default());
            }
        }
        let counts = std::mem::replace(&mut self.counts, [0; Counter::PLACES]);
        Counter::all()
            .map(move |counter| (counter, counts.get(counter.place()).copied().unwrap_or(0)))
            .filter(|(_, count)| *count > 0)
    }

    /// Returns by how much each gauge must change, without zeros; `values` returns its value on this
    /// worker. Workers share the gauges, so none may set one.
    pub fn take_changes(
        &mut self,
        values: impl Fn(Gauge) -> usize,
    ) -> impl Iterator<Item = (Gauge, i64)> {
        let values = Gauge::ALL.map(|gauge| i64::try_from(values(gauge)).unwrap_or(i64::MAX));
        let known = std::mem::replace(&mut self.gauges, values);
        Gauge::ALL
            .into_iter()
            .zip(values.into_iter().zip(known))
            .map(|(gauge, (value, known))| (gauge, value.saturating_sub(known)))
            .filter(|(_, change)| *change != 0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::rc::Rc;

    use super::*;
    use crate::auth::answer::Cause;
    use crate::auth::record::{Fields, Record};
    use crate::decision::denial::Denial;
    use crate::request::key_hash::KeyHasher;

    #[test]
    fn each_outcome_has_a_counter_of_its_name() {
        for outcome in Outcome::all() {
            let name = format!("keystile.requests.{}.total", outcome.name());
            assert_eq!(Counter::of_request(outcome).name(), name);
        }
    }

    #[test]
    fn an_expired_key_is_counted_as_a_revoked_one() {
        let counter = |denial| Counter::of_request(Outcome::Refused(denial));
        assert_eq!(counter(Denial::Expired), counter(Denial::Revoked));
        assert_ne!(counter(Denial::Revoked), counter(Denial::NotFound));
        let mut stats = Stats::default();
        for (denial, events) in [(Denial::Expired, 2), (Denial::Revoked, 3)] {
            stats.add(Counter::Requests(Outcome::Refused(denial)), events);
        }
        let counts: Vec<_> = stats.take_counts().collect();
        assert_eq!(counts, [(counter(Denial::Revoked), 5)]);
        assert_eq!(stats.take_counts().count(), 0);
    }

    #[test]
    fn each_verdict_has_a_counter() {
        let record = Record::new(Fields::new("key_1"));
        let record = Rc::new(record.unwrap());
        let cases = [
            (Verdict::Active(record.clone()), "active"),
            (Verdict::Revoked(record), "revoked"),
            (Verdict::NotFound, "not_found"),
            (Verdict::Indeterminate(Cause::NoAnswer), "indeterminate"),
        ];
        for (verdict, kind) in cases {
            let name = format!("keystile.lookups.{kind}.total");
            assert_eq!(Counter::of_lookup(&verdict).name(), name);
        }
    }

    #[test]
    fn each_source_has_a_counter() {
        for source in [
            Source::Lookup,
            Source::Cache,
            Source::Stale,
            Source::Coalesced,
        ] {
            let name = format!("keystile.verdicts.{}.total", source.name());
            assert_eq!(Counter::of_source(source).name(), name);
        }
    }

    #[test]
    fn each_pool_has_a_counter_and_a_gauge() {
        for (pool, name) in [(PoolName::Allow, "allow"), (PoolName::Deny, "deny")] {
            let evictions = format!("keystile.cache.{name}.evictions.total");
            assert_eq!(Counter::of_evictions(pool).name(), evictions);
            let entries = format!("keystile.cache.{name}.entries");
            assert_eq!(Gauge::Entries(pool).name(), entries);
        }
    }

    #[test]
    fn counts_are_taken_once() {
        let mut stats = Stats::default();
        stats.add(Counter::Requests(Outcome::Allowed), 2);
        stats.add(Counter::EvictionsDeny, 5);
        stats.add(Counter::Requests(Outcome::Allowed), 1);
        let counts: Vec<_> = stats.take_counts().collect();
        assert_eq!(
            counts,
            [
                (Counter::Requests(Outcome::Allowed), 3),
                (Counter::EvictionsDeny, 5)
            ]
        );
        assert_eq!(stats.take_counts().count(), 0);
    }

    #[test]
    fn gauges_change_by_what_was_added_and_lost() {
        let mut stats = Stats::default();
        let [allow, deny, stale] = Gauge::ALL;
        for (values, changes) in [
            ([7, 3, 0], vec![(allow, 7), (deny, 3)]),
            ([7, 3, 1], vec![(stale, 1)]),
            ([7, 3, 1], vec![]),
            ([2, 4, 0], vec![(allow, -5), (deny, 1), (stale, -1)]),
            ([0, 0, 0], vec![(allow, -2), (deny, -4)]),
        ] {
            let of = |gauge| values[Gauge::ALL.iter().position(|g| *g == gauge).unwrap()];
            let taken: Vec<_> = stats.take_changes(of).collect();
            assert_eq!(taken, changes, "{values:?}");
        }
    }

    #[test]
    fn each_poll_has_a_counter() {
        let cases = [
            (Ok(Changed::Keys(Vec::new())), "current"),
            (
                Ok(Changed::Keys(vec![KeyHasher::default().hash(b"key")])),
                "changes",
            ),
            (Ok(Changed::Any), "reset"),
            (Err("no answer".to_owned()), "failed"),
        ];
        for (changed, kind) in cases {
            let name = format!("keystile.feed_polls.{kind}.total");
            assert_eq!(Counter::of_poll(&changed).name(), name);
        }
    }

    #[test]
    fn each_counter_has_a_name_and_a_place_of_its_own() {
        let names: BTreeSet<_> = Counter::all().map(Counter::name).collect();
        let places: BTreeSet<_> = Counter::all().map(Counter::place).collect();
        assert_eq!(names.len(), Counter::all().count());
        assert_eq!(places.len(), Counter::all().count());
        assert!(places.iter().all(|place| *place < Counter::PLACES));
    }

    /// Either by the full name, or by the part that differs from the one before: `…_stale_total`.
    #[test]
    fn each_statistic_is_documented() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/observability.md");
        let page = std::fs::read_to_string(page).unwrap();
        let gauges = Gauge::ALL.map(|gauge| gauge.name().into());
        let others = gauges.into_iter().chain([LOOKUP_DURATION.into()]);
        for name in Counter::all().map(Counter::name).chain(others) {
            let kind = name.split('.').nth(2).unwrap();
            let names = [
                format!("`{}`", name.replace('.', "_")),
                format!("`…_{kind}_total`"),
            ];
            assert!(names.iter().any(|name| page.contains(name)), "{name}");
        }
    }
}
