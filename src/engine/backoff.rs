//! Backoff: how many lookups a worker sends while they fail, so that it does not make an outage of
//! the auth cluster worse.
//!
//! | what happened | lookups that are sent |
//! |---|---|
//! | an answer had a `retry-after` that has not elapsed | 1 per second |
//! | an answer had a `retry-after`, or lookups of 5 keys failed | 10, then 10 per second |
//! | 5 lookups of a key failed | the same, of that key |
//!
//! Each limit ends with a verdict; that on the lookups of one key, with a verdict on that key.

#![forbid(unsafe_code)]

use std::time::Duration;

use crate::auth::cause::{Cause, Unsent};
use crate::request::key_hash::KeyHash;

/// The number of failures after which lookups are limited.
const FAILURES: usize = 5;

/// The size of a token bucket, and how many tokens it gets per second.
const TOKENS: u32 = 10;

/// How long a token takes to be refilled.
const REFILL: Duration = Duration::from_millis(100);

/// The time between two lookups until a `retry-after` has elapsed.
const PAUSE: Duration = Duration::from_secs(1);

/// The longest `retry-after` that is honoured.
const LONGEST: Duration = Duration::from_secs(60);

/// The number of failing keys that are remembered. More keys fail at a time only if all of them do.
const FAILING_KEYS: usize = 32;

/// The limits on the lookups of one worker. Times are on the monotonic clock.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    /// The keys whose lookups have failed since the last verdict, each once; at most [`FAILURES`].
    failed: Vec<KeyHash>,
    /// The limit on all lookups, if there is one.
    all: Option<Bucket>,
    /// Set until a `retry-after` has elapsed.
    retry_after: Option<RetryAfter>,
    /// The keys that fail, the longest known first; at most [`FAILING_KEYS`].
    keys: Vec<FailingKey>,
}

/// A token bucket.
#[derive(Debug)]
struct Bucket {
    tokens: u32,
    /// Up to when it has been refilled.
    refilled: Duration,
}

#[derive(Debug)]
struct RetryAfter {
    since: Duration,
    until: Duration,
    /// When the next lookup may be sent.
    next: Duration,
}

/// A key whose last lookup failed.
#[derive(Debug)]
struct FailingKey {
    hash: KeyHash,
    failures: usize,
    bucket: Bucket,
}

impl Backoff {
    /// Takes a token for a lookup of this hash.
    ///
    /// # Errors
    /// Returns why the lookup may not be sent now.
    pub(crate) fn permit(&mut self, hash: &KeyHash, now: Duration) -> Result<(), Unsent> {
        if let Some(pause) = self.retry_after.as_mut().filter(|pause| now < pause.until) {
            if now < pause.next {
                return Err(Unsent::RetryAfter);
            }
            pause.next = now.saturating_add(PAUSE);
            return Ok(());
        }
        let mut keys = self.keys.iter_mut();
        let key = keys.find(|key| key.hash == *hash && key.failures >= FAILURES);
        let key = key.map(|key| &mut key.bucket);
        let mut buckets: Vec<_> = key.into_iter().chain(&mut self.all).collect();
        if buckets.iter_mut().all(|bucket| bucket.has_token(now)) {
            buckets.into_iter().for_each(Bucket::take);
            Ok(())
        } else {
            Err(Unsent::Backoff)
        }
    }

    /// Notes a verdict on this hash. Its lookup was sent at `since`. If that was before the auth
    /// cluster asked to wait, the verdict does not show that it is ready again.
    pub(crate) fn succeeded(&mut self, hash: &KeyHash, since: Duration) {
        self.keys.retain(|key| key.hash != *hash);
        let pause = self.retry_after.as_ref();
        if pause.is_none_or(|pause| pause.since <= since) {
            self.failed.clear();
            self.all = None;
            self.retry_after = None;
        }
    }

    /// Notes that a lookup of this hash failed. An answer that is only wrong for its own key does
    /// not slow down others.
    pub(crate) fn failed(&mut self, hash: &KeyHash, cause: &Cause, now: Duration) {
        self.note_key(hash, now);
        if !cause.is_outage() {
            return;
        }
        if self.failed.len() < FAILURES && !self.failed.contains(hash) {
            self.failed.push(*hash);
        }
        if self.failed.len() >= FAILURES {
            self.limit_all(now);
        }
    }

    /// Notes that an answer asked to wait for this long.
    pub(crate) fn wait(&mut self, retry_after: Duration, now: Duration) {
        self.limit_all(now);
        let until = now.saturating_add(retry_after.min(LONGEST));
        let pause = self.retry_after.get_or_insert(RetryAfter {
            since: now,
            until,
            next: now.saturating_add(PAUSE),
        });
        pause.until = pause.until.max(until);
        pause.since = now;
    }

    /// Returns how long the auth cluster still asks to wait, if it does.
    pub(crate) fn remaining(&self, now: Duration) -> Option<Duration> {
        let pause = self.retry_after.as_ref()?;
        pause.until.checked_sub(now).filter(|left| !left.is_zero())
    }

    fn limit_all(&mut self, now: Duration) {
        self.all.get_or_insert_with(|| Bucket::full(now));
    }

    fn note_key(&mut self, hash: &KeyHash, now: Duration) {
        if let Some(key) = self.keys.iter_mut().find(|key| key.hash == *hash) {
            key.failures = key.failures.saturating_add(1);
            return;
        }
        if self.keys.len() >= FAILING_KEYS {
            self.keys.remove(0);
        }
        self.keys.push(FailingKey {
            hash: *hash,
            failures: 1,
            bucket: Bucket::full(now),
        });
    }
}

impl Bucket {
    fn full(now: Duration) -> Self {
        Self {
            tokens: TOKENS,
            refilled: now,
        }
    }

    /// Refills the bucket, and returns true if it has a token.
    fn has_token(&mut self, now: Duration) -> bool {
        let passed = now.saturating_sub(self.refilled);
        let refills = passed.as_millis().checked_div(REFILL.as_millis());
        let refills = u32::try_from(refills.unwrap_or(0)).unwrap_or(u32::MAX);
        self.tokens = self.tokens.saturating_add(refills).min(TOKENS);
        self.refilled = if self.tokens == TOKENS {
            now
        } else {
            self.refilled.saturating_add(REFILL.saturating_mul(refills))
        };
        self.tokens > 0
    }

    fn take(&mut self) {
        self.tokens = self.tokens.saturating_sub(1);
    }
}
