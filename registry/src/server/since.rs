//! When things began, without reading a clock.
//!
//! Requests must stay cheap, so an event is only marked as having begun since the listener's
//! [watchdog](super::connections::Connections::watch) last looked. The watchdog replaces the mark
//! with its own time.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// A time of a listener's [`Clock`], in milliseconds.
pub(super) type Moment = u64;

/// The time that clients have had. It stops while the registry is too busy for its own watchdog:
/// responses that it has not written yet must not count against the clients that wait for them.
#[derive(Debug, Default)]
pub(super) struct Clock {
    us: AtomicU64,
}

impl Clock {
    /// Adds the time since the watchdog last looked, but no more than twice the time after which it
    /// was to look again.
    pub(super) fn advance(&self, passed: Duration, expected: Duration) {
        let counted = passed.min(expected.saturating_mul(2));
        let us = u64::try_from(counted.as_micros()).unwrap_or_default();
        self.us.fetch_add(us, Relaxed);
    }

    pub(super) fn now(&self) -> Moment {
        self.us.load(Relaxed) / 1000
    }
}

/// When something began, if it did.
#[derive(Debug, Default)]
pub(super) struct Since(AtomicU64);

impl Since {
    const NEVER: u64 = 0;
    const JUST_NOW: u64 = u64::MAX;

    pub(super) fn begin(&self) {
        self.0.store(Self::JUST_NOW, Relaxed);
    }

    /// The same, but only if it has not begun yet.
    pub(super) fn begin_once(&self) {
        if self.0.load(Relaxed) == Self::NEVER {
            self.begin();
        }
    }

    pub(super) fn end(&self) {
        // Usually there is nothing to end, and reading is cheaper than writing.
        if self.0.load(Relaxed) != Self::NEVER {
            self.0.store(Self::NEVER, Relaxed);
        }
    }

    /// Replaces the mark with the time, if this began since the last look.
    pub(super) fn stamp(&self, now: Moment) {
        // Fails if there is nothing to replace.
        let _ = self
            .0
            .compare_exchange(Self::JUST_NOW, now.max(1), Relaxed, Relaxed);
    }

    /// Returns for how many milliseconds it has lasted, if it has begun.
    pub(super) fn elapsed(&self, now: Moment) -> Option<u64> {
        match self.0.load(Relaxed) {
            Self::NEVER => None,
            Self::JUST_NOW => Some(0),
            begun => Some(now.saturating_sub(begun)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_stops_while_nobody_looks() {
        let clock = Clock::default();
        let expected = Duration::from_millis(50);
        for (passed, now) in [(50, 50), (60, 110), (5000, 210), (0, 210)] {
            clock.advance(Duration::from_millis(passed), expected);
            assert_eq!(clock.now(), now, "after {passed} ms");
        }
    }
}
