//! When things began, without reading a clock.
//!
//! Requests must stay cheap, so an event is only marked as having begun since the listener's
//! [watchdog](super::connections::Connections::watch) last looked. The watchdog replaces the mark
//! with its own time.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// A time, in milliseconds since the server started.
pub(super) type Moment = u64;

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
