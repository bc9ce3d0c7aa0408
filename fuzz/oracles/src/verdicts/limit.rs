//! How many lookups of one key are sent while they fail. Those of all keys are limited only if more
//! keys fail than scripts have.

/// The number of failures after which lookups are limited.
const FAILURES: usize = 5;

/// How long, in ms, it takes until another lookup may be sent.
const REFILL: u64 = 100;

/// For how many ms lookups can be saved up.
const MOST: u64 = 1_000;

/// The limit on the lookups of one key.
#[derive(Clone, Copy, Default)]
pub(super) struct Limit {
    failures: usize,
    /// How many ms are left to be spent, at `REFILL` for a lookup.
    left: u64,
    /// When that was so, in ms.
    at: u64,
}

impl Limit {
    /// Returns true if no lookup may be sent now.
    pub(super) fn holds_back(&self, now: u64) -> bool {
        self.failures >= FAILURES && self.left(now) < REFILL
    }

    /// Notes an attempt to send a lookup.
    pub(super) fn spend(&mut self, now: u64) {
        if self.failures >= FAILURES {
            self.left = self.left(now).saturating_sub(REFILL);
            self.at = now;
        }
    }

    /// Notes that a lookup failed.
    pub(super) fn fail(&mut self, now: u64) {
        if self.failures == 0 {
            (self.left, self.at) = (MOST, now);
        }
        self.failures += 1;
    }

    fn left(&self, now: u64) -> u64 {
        (self.left + now - self.at).min(MOST)
    }
}
