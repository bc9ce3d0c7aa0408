//! Where a request's verdict comes from: the cache, a lookup, or a lookup under way.
//!
//! | the cache has | and | then |
//! |---|---|---|
//! | a fresh verdict | | it counts; an active one near its end is refreshed meanwhile |
//! | an active record in grace | a lookup failed less than a second ago | it counts, as stale |
//! | | another request is finding out whether the outage is over | it counts, as stale |
//! | | a lookup is under way | its answer counts, or the record where it gives none |
//! | | else | a lookup is made; its answer counts, or the record where it gives none |
//! | nothing that counts | a lookup is under way | its answer counts |
//! | | else | a lookup is made, and its answer counts |
//!
//! An indeterminate answer is never kept.
//!
//! A lookup that is not sent because the circuit breaker is full is not an outage: anybody can fill
//! that with made-up keys, and would keep revoked keys alive. For that reason alone, a record in grace
//! counts only for a short time after it was fresh ([`Verdicts::not_sent`]).
//!
//! What is known of a key is forgotten when the [`feed`](crate::auth::feed) says that it has changed. An
//! answer to a lookup that was under way then is of no use either: where requests wait for it, the
//! root context asks again.

#![forbid(unsafe_code)]

use std::time::Duration;

use crate::auth::answer::{Answer, Cause, Source, Unsent, Verdict};
use crate::auth::feed::{Changed, Feed, Page, Polled, Standing};
use crate::auth::lookup::Callout;
use crate::clock::Moment;
use crate::engine::cache::{Cache, Found, PoolName, Seed};
use crate::engine::inflight::{FlightId, Flights, Waiter};
use crate::engine::reach::Reach;
use crate::engine::settings::Settings;
use crate::request::key_hash::KeyHash;

/// How often at most a key is tried again whose lookup failed.
const RETRY: Duration = Duration::from_secs(1);

/// For how long a lookup that failed tells of an outage.
const OUTAGE: Duration = Duration::from_secs(2);

/// For how long a record that is not fresh counts because of a full circuit breaker, without a feed.
const OVERFLOW_GRACE: Duration = Duration::from_secs(60);

/// The verdicts of one worker. `W` is what the host calls a request that waits.
#[derive(Debug)]
pub struct Verdicts<W> {
    cache: Cache,
    flights: Flights<W>,
    feed: Option<Feed>,
    /// Whether polls of the feed go to the cluster of the lookups, and so tell whether it has hosts.
    polls_share_cluster: bool,
    reach: Reach,
    /// For how long a record that is not fresh counts because of a full circuit breaker.
    overflow_grace: Duration,
    /// Only records of this environment are records; `None`: all are.
    environment: Option<String>,
}

/// What is to be done about a request's verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Nothing: here it is.
    Known(Verdict, Source),
    /// Make a callout. When it is under way, [`Verdicts::lead`]; else [`Verdicts::not_sent`].
    Lookup {
        /// Whether it finds out if an outage is over, so that others need not wait for it.
        tests_outage: bool,
    },
    /// [`Verdicts::join`] the lookup that is under way.
    Join,
}

/// What has become of a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Landed<W> {
    /// For all who waited.
    pub verdict: Verdict,
    /// Where the verdict came from, if not from this lookup.
    pub instead: Option<Source>,
    /// Each to be answered now.
    pub waiters: Vec<Waiter<W>>,
    /// How long the lookup took.
    pub took: Duration,
}

impl<W> Landed<W> {
    /// Where a waiter's verdict came from; `None` where there is none.
    pub fn source(&self, waiter: &Waiter<W>) -> Option<Source> {
        let of_lookup = Source::of_lookup(&self.verdict)?;
        let of_this = if waiter.leads {
            of_lookup
        } else {
            Source::Coalesced
        };
        Some(self.instead.unwrap_or(of_this))
    }
}

impl<W: PartialEq> Verdicts<W> {
    /// Knows nothing yet.
    pub fn new(config: &Settings, seed: Seed) -> Self {
        Self {
            cache: Cache::new(config.cache.clone(), seed),
            flights: Flights::new(config.lookup.timeout, seed),
            polls_share_cluster: config
                .feed
                .as_ref()
                .is_some_and(|feed| feed.cluster == config.lookup.cluster),
            reach: Reach::default(),
            overflow_grace: config
                .feed
                .as_ref()
                .map_or(OVERFLOW_GRACE, |feed| feed.allow_ttl_when_stale),
            feed: config.feed.clone().map(Feed::new),
            environment: config.policy.environment.clone(),
        }
    }

    /// What is to be done about the verdict on a hash.
    pub fn ask(&mut self, hash: &KeyHash, now: Moment) -> Asked {
        match self.find(hash, now) {
            Some(Found::Fresh {
                verdict,
                ends_soon,
                failed,
            }) => {
                if ends_soon && !within(failed, RETRY) {
                    self.flights.refresh(*hash, within(failed, OUTAGE), now);
                }
                Asked::Known(verdict, Source::Cache)
            }
            Some(Found::Grace {
                verdict, failed, ..
            }) if within(failed, RETRY)
                || self
                    .flights
                    .get(hash)
                    .is_some_and(|flight| flight.tests_outage) =>
            {
                Asked::Known(verdict, Source::Stale)
            }
            _ if self.flights.get(hash).is_some() => Asked::Join,
            Some(Found::Grace { failed, .. }) => Asked::Lookup {
                tests_outage: within(failed, OUTAGE),
            },
            None => Asked::Lookup {
                tests_outage: false,
            },
        }
    }

    /// A request has made its callout, as [`Self::ask`] said.
    pub fn lead(
        &mut self,
        hash: KeyHash,
        request: W,
        callout: Callout,
        tests_outage: bool,
        now: Moment,
    ) -> FlightId {
        self.flights.lead(hash, request, callout, tests_outage, now)
    }

    /// A request's callout could not be made. Gives the verdict to settle it with, and its source
    /// where there is one.
    pub fn not_sent(
        &mut self,
        hash: &KeyHash,
        reason: Unsent,
        now: Moment,
    ) -> (Verdict, Option<Source>) {
        self.failed(hash, Cause::NotSent(reason), now)
    }

    /// A request waits for the lookup of its hash.
    ///
    /// # Errors
    /// When too many wait already. That is no outage, so a record in grace does not count.
    pub fn join(&mut self, hash: &KeyHash, request: W, now: Moment) -> Result<FlightId, Cause> {
        self.flights
            .join(hash, request, now)
            .map_err(|_| Cause::TooManyWait)
    }

    /// A request that led or joined is gone. Gives whether the answer to a callout was lost with
    /// it.
    pub fn leave(&mut self, hash: &KeyHash, id: FlightId, request: &W) -> bool {
        self.flights.leave(hash, id, request)
    }

    /// A lookup's answer is here. `None` when it is not under way any more, or when its key has
    /// changed meanwhile and the root context is to ask again.
    pub fn land(
        &mut self,
        hash: &KeyHash,
        id: FlightId,
        mut answer: Answer,
        now: Moment,
    ) -> Option<Landed<W>> {
        self.keep_apart(&mut answer.verdict);
        self.note_reach(&answer.verdict, now);
        let is_verdict = !matches!(answer.verdict, Verdict::Indeterminate(_));
        if is_verdict && self.flights.ask_again(hash, id, now) {
            return None;
        }
        let flight = self.flights.land(hash, id)?;
        let (verdict, instead) = match answer.verdict {
            Verdict::Indeterminate(cause) => self.failed(hash, cause, now),
            verdict => {
                if !flight.outdated {
                    self.cache
                        .keep(*hash, &verdict, answer.max_age, flight.since);
                }
                (verdict, None)
            }
        };
        Some(Landed {
            verdict,
            instead,
            waiters: flight.waiters,
            took: now.steady.saturating_sub(flight.since.steady),
        })
    }

    /// A lookup beside these came to a verdict, which becomes what it is here. Where another is
    /// known, that is forgotten.
    pub fn learn(&mut self, hash: &KeyHash, verdict: &mut Verdict, now: Moment) {
        self.keep_apart(verdict);
        self.note_reach(verdict, now);
        let is_verdict = !matches!(verdict, Verdict::Indeterminate(_));
        if is_verdict && self.cache.contradicts(hash, verdict) {
            self.forget(hash);
        }
    }

    /// The callout that polls the feed, when it is time for it. What comes of it goes to
    /// [`Self::polled`].
    pub fn poll(&mut self, now: Moment) -> Option<Callout> {
        self.feed.as_mut()?.poll(now)
    }

    /// The feed was polled; `random` is any number. `None` without a feed.
    pub fn polled(
        &mut self,
        page: Result<Page, String>,
        now: Moment,
        random: u64,
    ) -> Option<Polled> {
        let polled = self.feed.as_mut()?.polled(page, now, random);
        if self.polls_share_cluster && polled.changed.is_ok() {
            self.reach.answers(now);
        }
        match &polled.changed {
            Ok(Changed::Any) => {
                self.cache.clear();
                self.flights.outdate_all();
            }
            Ok(Changed::Keys(hashes)) => hashes.iter().for_each(|hash| self.forget(hash)),
            Err(_) => {}
        }
        Some(polled)
    }

    /// Whether there is a feed, and it is stale.
    pub fn is_feed_stale(&self, now: Moment) -> bool {
        self.feed.as_ref().is_some_and(|feed| feed.is_stale(now))
    }

    /// Whether the root context has a lookup to make, soon.
    pub fn needs_root(&self) -> bool {
        self.flights.has_unmade()
    }

    /// The next lookup for the root context to make, and its callout where there was one before.
    /// What comes of it goes to [`Self::land`].
    pub fn next_of_root(&mut self, now: Moment) -> Option<(KeyHash, FlightId, Option<Callout>)> {
        self.flights.next_unmade(now)
    }

    /// The requests that have waited too long, each with the verdict to settle it with.
    pub fn overdue(&mut self, now: Moment) -> Vec<(Waiter<W>, Verdict, Option<Source>)> {
        let overdue = self.flights.overdue(now);
        overdue
            .into_iter()
            .map(|(hash, waiter)| {
                let (verdict, source) = self.without_answer(&hash, Cause::Waited, now);
                (waiter, verdict, source)
            })
            .collect()
    }

    /// When [`Self::overdue`] or [`Self::poll`] must be asked next, on the steady clock, but for
    /// the regular times.
    pub fn next_deadline(&self) -> Option<Duration> {
        let poll = self.feed.as_ref().map(Feed::next_deadline);
        self.flights.next_deadline().into_iter().chain(poll).min()
    }

    /// How many verdicts a pool of the cache holds.
    pub fn entries(&self, pool: PoolName) -> usize {
        self.cache.entries(pool)
    }

    /// How many verdicts a pool gave up for others since this was last asked.
    pub fn take_evictions(&mut self, pool: PoolName) -> u64 {
        self.cache.take_evictions(pool)
    }

    /// What counts where a lookup came to nothing, or was not sent.
    fn failed(&mut self, hash: &KeyHash, cause: Cause, now: Moment) -> (Verdict, Option<Source>) {
        if self.is_overflow(&cause, now)
            && let Some(Found::Grace { stale_for, .. }) = self.find(hash, now)
        {
            // Deliberately not noted as a failure: the next request may find a place.
            if stale_for >= self.overflow_grace {
                return (Verdict::Indeterminate(cause), None);
            }
        } else {
            self.cache.note_failure(hash, now);
        }
        self.without_answer(hash, cause, now)
    }

    /// Whether a lookup was not sent because the circuit breaker is full.
    fn is_overflow(&self, cause: &Cause, now: Moment) -> bool {
        let under_way = || self.flights.any_under_way();
        match cause {
            Cause::NotSent(Unsent::Overflow) => true,
            Cause::NotSent(Unsent::NotAccepted) => self.reach.is_breaker_full(under_way, now),
            _ => false,
        }
    }

    /// What an answer says of the way to the auth cluster.
    fn note_reach(&mut self, verdict: &Verdict, now: Moment) {
        match verdict {
            Verdict::Indeterminate(Cause::NotSent(_)) => {}
            Verdict::Indeterminate(_) => self.reach.fails(),
            Verdict::Active(_) | Verdict::Revoked(_) | Verdict::NotFound => self.reach.answers(now),
        }
    }

    /// What counts where no answer is to be had.
    fn without_answer(
        &mut self,
        hash: &KeyHash,
        cause: Cause,
        now: Moment,
    ) -> (Verdict, Option<Source>) {
        match self.find(hash, now) {
            Some(Found::Fresh { verdict, .. }) => (verdict, Some(Source::Cache)),
            Some(Found::Grace { verdict, .. }) => (verdict, Some(Source::Stale)),
            None => (Verdict::Indeterminate(cause), None),
        }
    }

    /// A record of another environment is none, from here on: whatever would be done with it
    /// otherwise, such as not to keep a large one, could be told from outside.
    fn keep_apart(&self, verdict: &mut Verdict) {
        if let Verdict::Active(record) | Verdict::Revoked(record) = verdict
            && !record.is_of(self.environment.as_deref())
        {
            *verdict = Verdict::NotFound;
        }
    }

    fn find(&mut self, hash: &KeyHash, now: Moment) -> Option<Found> {
        let feed = self.feed.as_ref();
        let standing = feed.map_or_else(Standing::default, |feed| feed.standing(now));
        self.cache.find(hash, standing, now)
    }

    /// What is known of a key, or about to be, is of the past.
    fn forget(&mut self, hash: &KeyHash) {
        self.cache.remove(hash);
        self.flights.outdate(hash);
    }
}

fn within(ago: Option<Duration>, limit: Duration) -> bool {
    ago.is_some_and(|ago| ago < limit)
}

#[cfg(test)]
mod tests;
