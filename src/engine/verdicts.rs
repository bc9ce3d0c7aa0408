//! What a worker knows of keys without a lookup: cached verdicts, changes from the feed, and whether
//! the auth cluster can be reached.
//!
//! A verdict is forgotten when the [`feed`](crate::auth::feed) says that its key has changed. If it
//! says that any key may have changed, all keys are looked up again, but records stay in grace.
//!
//! A full circuit breaker is not an outage: anybody can fill it with made-up keys, and could keep
//! revoked keys alive that way. If a lookup is not sent for that reason alone, a record in grace is
//! used only for a short time after it was fresh.

#![forbid(unsafe_code)]

use std::time::Duration;

use crate::auth::answer::{Answer, Source, Verdict};
use crate::auth::cause::{Cause, Unsent};
use crate::auth::feed::page::{Changed, Page};
use crate::auth::feed::{Feed, Freshness, Polled};
use crate::auth::lookup::Callout;
use crate::engine::cache::{Cache, Found, PoolName, Seed};
use crate::engine::reachability::Reachability;
use crate::engine::settings::Settings;
use crate::request::key_hash::KeyHash;

/// How long a stale record is used because of a full circuit breaker, without a feed.
const OVERFLOW_GRACE: Duration = Duration::from_secs(60);

/// The verdicts of one worker. Times are of the monotonic clock, except `wall`, the time since the
/// Unix epoch, which is read only for a record in grace that expires.
#[derive(Debug)]
pub(crate) struct Verdicts {
    cache: Cache,
    feed: Option<Feed>,
    /// Whether the feed is polled on the cluster of the lookups, so that polls show if it has hosts.
    polls_share_cluster: bool,
    reachability: Reachability,
    /// How long a stale record is used because of a full circuit breaker.
    overflow_grace: Duration,
    /// Records of other environments count as not found; `None`: records of all environments are
    /// valid.
    environment: Option<String>,
}

impl Verdicts {
    /// Starts without any verdicts.
    pub(crate) fn new(settings: &Settings, seed: Seed) -> Self {
        let feed = settings.feed.as_ref();
        Self {
            cache: Cache::new(settings.cache.clone(), seed),
            polls_share_cluster: feed.is_some_and(|feed| feed.cluster == settings.lookup.cluster),
            reachability: Reachability::default(),
            overflow_grace: feed.map_or(OVERFLOW_GRACE, |feed| feed.allow_ttl_when_stale),
            feed: settings.feed.clone().map(Feed::new),
            environment: settings.policy.environment.clone(),
        }
    }

    /// Returns what may be used for a hash now.
    pub(crate) fn find(
        &mut self,
        hash: &KeyHash,
        now: Duration,
        wall: impl FnOnce() -> Duration,
    ) -> Option<Found> {
        let feed = self.feed.as_ref();
        let freshness = feed.map_or_else(Freshness::default, |feed| feed.freshness(now));
        let found = self.cache.find(hash, freshness, now)?;
        let is_over = match &found {
            Found::Grace { record, .. } => record.has_expired(wall),
            Found::Fresh { .. } => false,
        };
        (!is_over).then_some(found)
    }

    /// Keeps the verdict of a lookup that was sent at `since`. Its key must not have changed since.
    pub(crate) fn keep(&mut self, hash: KeyHash, answer: &Answer, since: Duration) {
        self.cache
            .keep(hash, &answer.verdict, answer.max_age, since);
    }

    /// Returns true if the verdict of an uncached lookup contradicts the cached one.
    pub(crate) fn contradicts(&self, hash: &KeyHash, verdict: &Verdict) -> bool {
        !matches!(verdict, Verdict::Indeterminate(_)) && self.cache.contradicts(hash, verdict)
    }

    /// Forgets the verdict on a key.
    pub(crate) fn forget(&mut self, hash: &KeyHash) {
        self.cache.remove(hash);
    }

    /// Records what an answer says about whether the auth cluster can be reached. Replaces a record
    /// of another environment by "not found" right away: any other treatment, such as not caching a
    /// large record, could be noticed from outside.
    pub(crate) fn answered(&mut self, answer: &mut Answer, now: Duration) {
        match &answer.verdict {
            Verdict::Active(record) | Verdict::Revoked(record)
                if !record.matches_environment(self.environment.as_deref()) =>
            {
                answer.verdict = Verdict::NotFound;
            }
            _ => {}
        }
        match &answer.verdict {
            Verdict::Indeterminate(Cause::NotSent(_)) => {}
            Verdict::Indeterminate(_) => self.reachability.fails(),
            Verdict::Active(_) | Verdict::Revoked(_) | Verdict::NotFound => {
                self.reachability.answers(now)
            }
        }
    }

    /// Returns the verdict to use if a lookup failed or was not sent. `any_in_flight` says whether
    /// other lookups are in flight.
    pub(crate) fn failed(
        &mut self,
        hash: &KeyHash,
        cause: Cause,
        any_in_flight: bool,
        now: Duration,
        mut wall: impl FnMut() -> Duration,
    ) -> (Verdict, Option<Source>) {
        if self.is_overflow(&cause, any_in_flight, now)
            && let Some(Found::Grace { stale_for, .. }) = self.find(hash, now, &mut wall)
        {
            // Deliberately not noted as a failure: the next request may find room.
            if stale_for >= self.overflow_grace {
                return (Verdict::Indeterminate(cause), None);
            }
        } else {
            self.cache.note_failure(hash, now);
        }
        self.without_answer(hash, cause, now, wall)
    }

    /// Returns the verdict to use if there is no answer.
    pub(crate) fn without_answer(
        &mut self,
        hash: &KeyHash,
        cause: Cause,
        now: Duration,
        wall: impl FnOnce() -> Duration,
    ) -> (Verdict, Option<Source>) {
        match self.find(hash, now, wall) {
            Some(Found::Fresh { verdict, .. }) => (verdict, Some(Source::Cache)),
            Some(Found::Grace { record, .. }) => (Verdict::Active(record), Some(Source::Stale)),
            None => (Verdict::Indeterminate(cause), None),
        }
    }

    /// Returns the callout that polls the feed, if it is time for it. Its result goes to
    /// [`Self::polled`].
    pub(crate) fn poll(&mut self, now: Duration) -> Option<Callout> {
        self.feed.as_mut()?.poll(now)
    }

    /// Handles the result of a poll; `random` is any number. Returns `None` without a feed.
    pub(crate) fn polled(
        &mut self,
        page: Result<Page, String>,
        now: Duration,
        random: u64,
    ) -> Option<Polled> {
        let feed = self.feed.as_mut()?;
        let complete_until = feed.freshness(now).complete_until;
        let polled = feed.polled(page, now, random);
        if self.polls_share_cluster && polled.changes.is_ok() {
            self.reachability.answers(now);
        }
        match &polled.changes {
            // Until they are looked up again, records are used as stale if need be.
            Ok(Changed::Any) => self.cache.expire(complete_until),
            Ok(Changed::Keys(hashes)) => hashes.iter().for_each(|hash| self.forget(hash)),
            Err(_) => {}
        }
        Some(polled)
    }

    /// Returns true if there is a feed and it is stale.
    pub(crate) fn is_feed_stale(&self, now: Duration) -> bool {
        self.feed.as_ref().is_some_and(|feed| feed.is_stale(now))
    }

    /// Returns when [`Self::poll`] must be called next.
    pub(crate) fn next_poll(&self) -> Option<Duration> {
        self.feed.as_ref().map(Feed::next_deadline)
    }

    /// Returns how many verdicts were added to a pool of the cache since the last call, and how many
    /// were evicted from it.
    pub(crate) fn take_counts(&mut self, pool: PoolName) -> (u64, u64) {
        self.cache.take_counts(pool)
    }

    /// Returns true if a lookup was not sent because the circuit breaker is full, or too many are in
    /// flight.
    pub(crate) fn is_overflow(&self, cause: &Cause, any_in_flight: bool, now: Duration) -> bool {
        match cause {
            Cause::NotSent(Unsent::Overflow | Unsent::TooManyInFlight) => true,
            Cause::NotSent(Unsent::NotAccepted) => {
                self.reachability.is_breaker_full(any_in_flight, now)
            }
            _ => false,
        }
    }
}
