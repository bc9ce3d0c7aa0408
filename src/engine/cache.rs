//! The cache of verdicts: two bounded pools, and the rules for how long each verdict may be used.

#![forbid(unsafe_code)]

mod pool;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::auth::answer::Verdict;
use crate::auth::feed::Freshness;
use crate::auth::record::Record;
use crate::clock::ms;
use crate::request::key_hash::KeyHash;

use pool::Pool;
pub use pool::Seed;

/// The largest record that is kept, in bytes: pools limit the number of entries, not their size.
const MAX_RECORD: usize = 4096;

/// A ratio from 0, the default, to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ratio(u32);

impl Ratio {
    const WHOLE: u64 = 1_000_000;

    /// Creates a ratio, rounded to six digits; `None` if the number is not from 0 to 1.
    pub fn new(ratio: f64) -> Option<Self> {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 0 to a million, as the line itself checks"
        )]
        (0.0..=1.0)
            .contains(&ratio)
            .then(|| Self((ratio * 1_000_000.0).round() as u32))
    }

    /// Creates a ratio from a percentage, at most 100.
    pub const fn percent(percent: u32) -> Self {
        let percent = if percent > 100 { 100 } else { percent };
        Self(percent.saturating_mul(10_000))
    }

    fn of(self, ms: u64) -> u64 {
        ms.saturating_mul(u64::from(self.0)) / Self::WHOLE
    }
}

/// How long verdicts are kept, and how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheRules {
    /// How long an active record is fresh. Zero, here and in the next two, means that it is not kept.
    pub allow_ttl: Duration,
    /// How long "no record" is fresh.
    pub not_found_ttl: Duration,
    /// How long a revoked record is fresh.
    pub revoked_ttl: Duration,
    /// How long after its lookup an active record may be used in an outage; zero: only while fresh.
    pub stale_if_error: Duration,
    /// The ratio of its TTL after which an active record in use is looked up again.
    pub refresh_ahead: Ratio,
    /// The largest ratio of its TTL by which a verdict may end early, depending on its hash.
    pub jitter: Ratio,
    /// The maximum number of active records.
    pub max_allow_entries: usize,
    /// The maximum number of other verdicts.
    pub max_deny_entries: usize,
}

/// A cached verdict. Times are in ms, counted from the start of its lookup: the answer may miss
/// changes that were made while it was on its way.
#[derive(Clone, Debug)]
struct Entry {
    verdict: Verdict,
    since: u64,
    /// Relative to `since`. A cell, because [`Cache::expire`] changes all entries in place.
    fresh_for: Cell<u32>,
    /// When a lookup last failed, relative to `since`, or [`NOT_YET`].
    failed_after: u32,
}

const NOT_YET: u32 = u32::MAX;

/// What the cache knows of a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A fresh verdict.
    Fresh {
        /// The verdict.
        verdict: Verdict,
        /// Whether it is about to become stale, and should be looked up again.
        ends_soon: bool,
        /// How long ago a lookup failed.
        failed: Option<Duration>,
    },
    /// A stale verdict, to be used only if no lookup returns one.
    Grace {
        /// An active record, which may have expired.
        record: Rc<Record>,
        /// How long ago a lookup failed.
        failed: Option<Duration>,
        /// How long it has been stale.
        stale_for: Duration,
    },
}

/// The pools of the cache, as named in statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolName {
    /// Active records.
    Allow,
    /// All other verdicts.
    Deny,
}

impl PoolName {
    /// Both pools.
    pub const ALL: [Self; 2] = [Self::Allow, Self::Deny];
}

/// The cached verdicts of one worker.
#[derive(Debug)]
pub struct Cache {
    rules: CacheRules,
    allow: Pool<Entry>,
    deny: Pool<Entry>,
}

impl Cache {
    /// Creates an empty cache. It takes memory only as it fills.
    pub fn new(rules: CacheRules, seed: Seed) -> Self {
        Self {
            allow: Pool::new(rules.max_allow_entries, seed),
            deny: Pool::new(rules.max_deny_entries, seed),
            rules,
        }
    }

    /// Returns what may be used for this hash now.
    pub fn find(&mut self, hash: &KeyHash, freshness: Freshness, now: Duration) -> Option<Found> {
        let (entry, in_use) = match self.allow.get(hash) {
            Some(entry) => (entry, true),
            None => (self.deny.get(hash)?, false),
        };
        let age = ms(now).checked_sub(entry.since)?;
        let failed = (entry.failed_after != NOT_YET)
            .then(|| age.saturating_sub(u64::from(entry.failed_after)))
            .map(Duration::from_millis);
        let fresh_for = match freshness.allow_limit {
            Some(limit) if in_use => ms(limit).min(u64::from(entry.fresh_for.get())),
            _ => u64::from(entry.fresh_for.get()),
        };
        if age < fresh_for {
            return Some(Found::Fresh {
                verdict: entry.verdict.clone(),
                ends_soon: in_use && age >= self.rules.refresh_ahead.of(fresh_for),
                failed,
            });
        }
        let Verdict::Active(record) = &entry.verdict else {
            return None;
        };
        // A fresh record that the feed has not changed is as good as if looked up at the last poll.
        let end = entry.since.saturating_add(u64::from(entry.fresh_for.get()));
        let complete_until = freshness.complete_until.map_or(entry.since, ms).min(end);
        let confirmed = entry.since.max(complete_until);
        let ended = entry.since.saturating_add(fresh_for).max(confirmed);
        let since = |past| ms(now).saturating_sub(past);
        let in_grace = in_use && since(confirmed) < ms(self.rules.stale_if_error);
        in_grace.then(|| Found::Grace {
            record: Rc::clone(record),
            failed,
            stale_for: Duration::from_millis(since(ended)),
        })
    }

    /// Keeps the verdict of a lookup that began at `since`, and replaces the one before. An
    /// indeterminate verdict changes nothing. `max_age` may shorten the TTL, but never lengthens it.
    pub fn keep(
        &mut self,
        hash: KeyHash,
        verdict: &Verdict,
        max_age: Option<Duration>,
        since: Duration,
    ) {
        let (pool, ttl) = match verdict {
            Verdict::Indeterminate(_) => return,
            Verdict::NotFound => (PoolName::Deny, self.rules.not_found_ttl),
            Verdict::Revoked(_) => (PoolName::Deny, self.rules.revoked_ttl),
            Verdict::Active(_) => (PoolName::Allow, self.rules.allow_ttl),
        };
        let too_large = match verdict {
            Verdict::Active(record) | Verdict::Revoked(record) => record.size() > MAX_RECORD,
            Verdict::NotFound | Verdict::Indeterminate(_) => false,
        };
        let ttl = if too_large { Duration::ZERO } else { ttl };
        let ttl = ms(max_age.map_or(ttl, |longest| ttl.min(longest)));
        let (into, other) = match pool {
            PoolName::Allow => (&mut self.allow, &mut self.deny),
            PoolName::Deny => (&mut self.deny, &mut self.allow),
        };
        other.remove(&hash);
        if ttl == 0 {
            into.remove(&hash);
            return;
        }
        // Jitter only shortens the TTL: a revoked key is never served for longer than configured.
        let early = self
            .rules
            .jitter
            .of(ttl)
            .saturating_mul(u64::from(hash.spread()))
            >> 32;
        let fresh_for = ttl.saturating_sub(early);
        let entry = Entry {
            verdict: verdict.clone(),
            since: ms(since),
            fresh_for: u32::try_from(fresh_for).unwrap_or(NOT_YET).into(),
            failed_after: NOT_YET,
        };
        into.insert(hash, entry);
    }

    /// Forgets the verdict on a hash.
    pub fn remove(&mut self, hash: &KeyHash) {
        self.allow.remove(hash);
        self.deny.remove(hash);
    }

    /// Makes all verdicts stale, because any key may have changed. Active records stay in grace:
    /// until `complete_until`, they were as good as if just looked up.
    pub fn expire(&mut self, complete_until: Option<Duration>) {
        self.deny.clear();
        for entry in self.allow.iter() {
            let known_for = complete_until.map_or(0, ms).saturating_sub(entry.since);
            let known_for = u32::try_from(known_for).unwrap_or(NOT_YET);
            entry.fresh_for.set(entry.fresh_for.get().min(known_for));
        }
    }

    /// Returns true if a different verdict on a hash is cached, however old.
    pub fn contradicts(&self, hash: &KeyHash, verdict: &Verdict) -> bool {
        let known = self.allow.peek(hash).or_else(|| self.deny.peek(hash));
        known.is_some_and(|entry| entry.verdict != *verdict)
    }

    /// Notes that a lookup of this hash failed.
    pub fn note_failure(&mut self, hash: &KeyHash, now: Duration) {
        self.allow.change(hash, |entry| {
            let age = ms(now).saturating_sub(entry.since);
            entry.failed_after = u32::try_from(age).unwrap_or(NOT_YET);
        });
    }

    /// Returns how many verdicts a pool holds, including stale ones.
    #[cfg(test)]
    fn entries(&self, pool: PoolName) -> usize {
        match pool {
            PoolName::Allow => self.allow.len(),
            PoolName::Deny => self.deny.len(),
        }
    }

    /// Returns how many verdicts were added to a pool since the last call, and how many were evicted
    /// from it.
    pub fn take_counts(&mut self, pool: PoolName) -> (u64, u64) {
        match pool {
            PoolName::Allow => self.allow.take_counts(),
            PoolName::Deny => self.deny.take_counts(),
        }
    }
}

#[cfg(test)]
mod tests;
