//! In-flight lookups, and the requests waiting for each.
//!
//! Every lookup belongs to the worker: whoever leaves, its answer comes, and is of use. For one hash
//! there is one lookup at a time, except for uncached ones.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use crate::auth::lookup::Callout;
use crate::engine::cache::Seed;
use crate::engine::host::Token;
use crate::request::key_hash::KeyHash;

/// The most requests on one worker that wait for lookups which others started.
pub(crate) const MAX_WAITING: usize = 8192;

/// The most requests that wait for one lookup, so that one key leaves places for the others.
pub(crate) const MAX_WAITING_FOR_ONE: usize = 2048;

/// The most lookups at a time that no request has asked for.
pub(crate) const MAX_REFRESHES: usize = 64;

/// How much later than its timeout a lookup is given up: the proxy reports the timeout itself,
/// unless it has forgotten the lookup.
const FORGOTTEN: Duration = Duration::from_secs(2);

/// What a lookup was started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// For a request.
    Request,
    /// To know sooner than anybody asks.
    Refresh,
}

/// A lookup that has been sent.
#[derive(Debug)]
pub(crate) struct Lookup<S> {
    pub(crate) purpose: Purpose,
    /// To send it again.
    pub(crate) callout: Callout,
    /// When it was sent, on the monotonic clock.
    pub(crate) since: Duration,
    /// Whether it only asks if an outage is over, so that others need not wait for it.
    pub(crate) tests_outage: bool,
    /// Whether its key has changed since it was sent.
    pub(crate) outdated: bool,
    /// Whether it has been sent again for that.
    pub(crate) sent_again: bool,
    /// The requests waiting for its answer, in the order in which they came.
    pub(crate) waiting: Vec<S>,
}

impl<S> Lookup<S> {
    /// One that is sent now, for the first time.
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

/// A lookup of which nothing is kept, for one request.
#[derive(Debug)]
pub(crate) struct Uncached<S> {
    pub(crate) hash: KeyHash,
    /// When it was sent, on the monotonic clock.
    pub(crate) since: Duration,
    pub(crate) stream: S,
}

/// Where an answer belongs.
#[derive(Debug)]
pub(crate) enum Answered<S> {
    /// To the lookup of this hash.
    Lookup(KeyHash, Lookup<S>),
    /// To a request's own lookup.
    Uncached(Uncached<S>),
}

/// All lookups of one worker that have no answer yet.
#[derive(Debug)]
pub(crate) struct InFlight<S> {
    lookups: HashMap<KeyHash, Lookup<S>, Seed>,
    uncached: HashMap<Token, Uncached<S>, Seed>,
    /// Of `lookups`.
    tokens: HashMap<Token, KeyHash, Seed>,
    timeout: Duration,
    refreshes: usize,
}

impl<S: Copy + Eq + Hash> InFlight<S> {
    /// None yet. Each may take `timeout`.
    pub(crate) fn new(timeout: Duration, seed: Seed) -> Self {
        Self {
            lookups: HashMap::with_hasher(seed),
            uncached: HashMap::with_hasher(seed),
            tokens: HashMap::with_hasher(seed),
            timeout,
            refreshes: 0,
        }
    }

    /// How long a lookup takes at the longest, until it is given up.
    pub(crate) fn longest(&self) -> Duration {
        self.timeout.saturating_add(FORGOTTEN)
    }

    /// The lookup of a hash.
    pub(crate) fn get(&self, hash: &KeyHash) -> Option<&Lookup<S>> {
        self.lookups.get(hash)
    }

    /// Whether there is any shared lookup.
    pub(crate) fn any(&self) -> bool {
        !self.lookups.is_empty()
    }

    /// Whether another refresh may be sent for this hash.
    pub(crate) fn may_refresh(&self, hash: &KeyHash) -> bool {
        self.refreshes < MAX_REFRESHES && !self.lookups.contains_key(hash)
    }

    /// A lookup was sent, which no other of its hash is in flight beside.
    pub(crate) fn sent(&mut self, token: Token, hash: KeyHash, lookup: Lookup<S>) {
        if lookup.purpose == Purpose::Refresh {
            self.refreshes = self.refreshes.saturating_add(1);
        }
        self.tokens.insert(token, hash);
        self.lookups.insert(hash, lookup);
    }

    /// An uncached lookup was sent.
    pub(crate) fn sent_uncached(&mut self, token: Token, lookup: Uncached<S>) {
        self.uncached.insert(token, lookup);
    }

    /// A request waits for the lookup of its hash; `false` where there is none, or enough wait for
    /// it.
    pub(crate) fn wait(&mut self, hash: &KeyHash, stream: S) -> bool {
        let lookup = self.lookups.get_mut(hash);
        let Some(lookup) = lookup.filter(|lookup| lookup.waiting.len() < MAX_WAITING_FOR_ONE)
        else {
            return false;
        };
        lookup.waiting.push(stream);
        true
    }

    /// A request waits no longer for the lookup of its hash.
    pub(crate) fn leave(&mut self, hash: &KeyHash, stream: S) {
        if let Some(lookup) = self.lookups.get_mut(hash) {
            lookup.waiting.retain(|other| *other != stream);
        }
    }

    /// A key has changed: the answer that is on its way may be of before.
    pub(crate) fn outdate(&mut self, hash: &KeyHash) {
        if let Some(lookup) = self.lookups.get_mut(hash) {
            lookup.outdated = true;
        }
    }

    /// Any key may have changed.
    pub(crate) fn outdate_all(&mut self) {
        for lookup in self.lookups.values_mut() {
            lookup.outdated = true;
        }
    }

    /// Takes out the lookup that a token names; `None` if there is none, or none any more.
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
