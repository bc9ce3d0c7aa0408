//! Statistics: their names, and the counter for each event.
//!
//! A counter's name is `keystile.<what>.<kind>.total`, which Prometheus shows as
//! `keystile_<what>_<kind>_total`; `stats_config` in `envoy/envoy.yaml` makes a label of `<kind>`.
//!
//! Deliberately, there are no gauges: what a VM has added to one stays after its death.

#![forbid(unsafe_code)]

pub mod unreported;

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
    LookupsHeldBack: "keystile.lookups.held_back.total",
    LookupsOverLimit: "keystile.lookups.over_limit.total",
    PollsCurrent: "keystile.feed_polls.current.total",
    PollsChanges: "keystile.feed_polls.changes.total",
    PollsReset: "keystile.feed_polls.reset.total",
    PollsFailed: "keystile.feed_polls.failed.total",
    FeedStale: "keystile.feed.stale.milliseconds.total",
    InsertionsAllow: "keystile.cache.allow.insertions.total",
    InsertionsDeny: "keystile.cache.deny.insertions.total",
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

    /// Returns the counter of verdicts that were added to a pool.
    pub const fn of_insertions(pool: PoolName) -> Self {
        match pool {
            PoolName::Allow => Self::InsertionsAllow,
            PoolName::Deny => Self::InsertionsDeny,
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

#[cfg(test)]
mod tests;
