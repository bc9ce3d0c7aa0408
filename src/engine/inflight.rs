//! In-flight lookups, and the requests waiting for each.
//!
//! Every lookup belongs to the worker: its answer arrives and is used even if the requests waiting
//! for it are gone. For each hash there is at most one lookup at a time, except for uncached ones.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use crate::auth::lookup::Callout;
use crate::engine::cache::Seed;
use crate::engine::host::Token;
use crate::request::key_hash::KeyHash;

/// The most requests on one worker that may wait for lookups started by others.
pub(crate) const MAX_WAITING: usize = 8192;

/// The most requests that may wait for one lookup, so that one key leaves room for the others.
pub(crate) const MAX_WAITING_FOR_ONE: usize = 2048;

/// The most refreshes in flight at a time.
const MAX_REFRESHES: usize = 64;

/// How long after its timeout a lookup is given up. Usually the proxy reports the timeout itself,
/// unless it has forgotten the lookup.
const TIMEOUT_MARGIN: Duration = Duration::from_secs(2);

/// Why a lookup was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// For a request.
    Request,
    /// To renew a verdict before it becomes stale.
    Refresh,
}

/// A lookup that has been sent.
#[derive(Debug)]
pub(crate) struct Lookup<S> {
    pub(crate) purpose: Purpose,
    /// Kept so that the lookup can be sent again.
    pub(crate) callout: Callout,
    /// When it was sent, on the monotonic clock.
    pub(crate) since: Duration,
    /// Whether it tests if an outage is over, so that other requests need not wait for it.
    pub(crate) tests_outage: bool,
    /// Whether its key has changed since it was sent.
    pub(crate) outdated: bool,
    /// Whether it has been sent again for that reason.
    pub(crate) sent_again: bool,
    /// The requests waiting for its answer, in order of arrival.
    pub(crate) waiting: Vec<S>,
}

impl<S> Lookup<S> {
    /// Creates a lookup that is sent now, for the first time.
    pub(crate) fn new(
        purpose: Purpose,
        callout: Callout,
        tests_outage: bool,
        waiting: Vec<S>,
        now: Duration,
    ) -> Self {
        Self {
            purpose,
            callout,
            since: now,
            tests_outage,
            outdated: false,
            sent_again: false,
            waiting,
        }
    }
}

/// A lookup for one request, whose answer is not cached.
#[derive(Debug)]
pub(crate) struct Uncached<S> {
    pub(crate) hash: KeyHash,
    /// When it was sent, on the monotonic clock.
    pub(crate) since: Duration,
    pub(crate) stream: S,
}

/// The lookup that an answer belongs to.
#[derive(Debug)]
pub(crate) enum Answered<S> {
    /// The shared lookup of this hash.
    Lookup(KeyHash, Lookup<S>),
    /// The uncached lookup of one request.
    Uncached(Uncached<S>),
}

/// The in-flight lookups of one worker.
#[derive(Debug)]
pub(crate) struct InFlight<S> {
    lookups: HashMap<KeyHash, Lookup<S>, Seed>,
    uncached: HashMap<Token, Uncached<S>, Seed>,
    /// The hash of each of the `lookups`.
    tokens: HashMap<Token, KeyHash, Seed>,
    timeout: Duration,
    /// The most lookups in flight at a time, with refreshes.
    max_concurrent: usize,
    refreshes: usize,
}

impl<S: Copy + Eq + Hash> InFlight<S> {
    /// Creates an empty set of lookups, each with this timeout. At most `max_concurrent` are in
    /// flight at a time.
    pub(crate) fn new(timeout: Duration, max_concurrent: usize, seed: Seed) -> Self {
        Self {
            lookups: HashMap::with_hasher(seed),
            uncached: HashMap::with_hasher(seed),
            tokens: HashMap::with_hasher(seed),
            timeout,
            max_concurrent,
            refreshes: 0,
        }
    }

    /// Returns the longest time until a lookup is given up.
    pub(crate) fn longest(&self) -> Duration {
        self.timeout.saturating_add(TIMEOUT_MARGIN)
    }

    /// Returns the shared lookup of a hash.
    pub(crate) fn get(&self, hash: &KeyHash) -> Option<&Lookup<S>> {
        self.lookups.get(hash)
    }

    /// Returns true if any shared lookup is in flight.
    pub(crate) fn any(&self) -> bool {
        !self.lookups.is_empty()
    }

    /// Returns true if another lookup may be sent for this purpose. Those for requests take at most
    /// three quarters of the room, because anybody can cause them, with made-up keys.
    pub(crate) fn has_room(&self, purpose: Purpose) -> bool {
        let all = self.lookups.len().saturating_add(self.uncached.len());
        let (others, limit) = match purpose {
            Purpose::Request => {
                let quarter = self.max_concurrent.div_ceil(4);
                let limit = self.max_concurrent.saturating_sub(quarter).max(1);
                (all.saturating_sub(self.refreshes), limit)
            }
            Purpose::Refresh => (self.refreshes, MAX_REFRESHES),
        };
        others < limit && all < self.max_concurrent
    }

    /// Adds a lookup that was sent. No other lookup of its hash may be in flight.
    pub(crate) fn sent(&mut self, token: Token, hash: KeyHash, lookup: Lookup<S>) {
        if lookup.purpose == Purpose::Refresh {
            self.refreshes = self.refreshes.saturating_add(1);
        }
        self.tokens.insert(token, hash);
        self.lookups.insert(hash, lookup);
    }

    /// Adds an uncached lookup that was sent.
    pub(crate) fn sent_uncached(&mut self, token: Token, lookup: Uncached<S>) {
        self.uncached.insert(token, lookup);
    }

    /// Lets a request wait for the lookup of its hash. Returns `false` if there is no lookup, or if
    /// too many requests wait for it.
    pub(crate) fn wait(&mut self, hash: &KeyHash, stream: S) -> bool {
        let lookup = self.lookups.get_mut(hash);
        let Some(lookup) = lookup.filter(|lookup| lookup.waiting.len() < MAX_WAITING_FOR_ONE)
        else {
            return false;
        };
        lookup.waiting.push(stream);
        true
    }

    /// Removes a request from those waiting for the lookup of its hash.
    pub(crate) fn leave(&mut self, hash: &KeyHash, stream: S) {
        if let Some(lookup) = self.lookups.get_mut(hash) {
            lookup.waiting.retain(|other| *other != stream);
        }
    }

    /// Marks the lookup of a changed key: its answer may predate the change.
    pub(crate) fn outdate(&mut self, hash: &KeyHash) {
        if let Some(lookup) = self.lookups.get_mut(hash) {
            lookup.outdated = true;
        }
    }

    /// Marks all lookups, because any key may have changed.
    pub(crate) fn outdate_all(&mut self) {
        for lookup in self.lookups.values_mut() {
            lookup.outdated = true;
        }
    }

    /// Takes out the lookup with this token; `None` if there is none, or no longer.
    pub(crate) fn answered(&mut self, token: Token) -> Option<Answered<S>> {
        if let Some(uncached) = self.uncached.remove(&token) {
            return Some(Answered::Uncached(uncached));
        }
        let hash = self.tokens.remove(&token)?;
        let lookup = self.lookups.remove(&hash)?;
        self.ended(&lookup);
        Some(Answered::Lookup(hash, lookup))
    }

    /// Takes out the lookups that the proxy has forgotten.
    pub(crate) fn take_forgotten(&mut self, now: Duration) -> Vec<Answered<S>> {
        let longest = self.longest();
        let is_forgotten = |since: Duration| since.saturating_add(longest) <= now;
        let uncached = self.uncached.iter();
        let uncached = uncached.filter(|(_, lookup)| is_forgotten(lookup.since));
        let lookups = self.tokens.iter().filter(|(_, hash)| {
            let lookup = self.lookups.get(hash);
            lookup.is_some_and(|lookup| is_forgotten(lookup.since))
        });
        let tokens = uncached.map(|(token, _)| *token);
        let tokens: Vec<_> = tokens.chain(lookups.map(|(token, _)| *token)).collect();
        let forgotten = tokens.into_iter();
        forgotten.filter_map(|token| self.answered(token)).collect()
    }

    fn ended(&mut self, lookup: &Lookup<S>) {
        if lookup.purpose == Purpose::Refresh {
            self.refreshes = self.refreshes.saturating_sub(1);
        }
    }
}
