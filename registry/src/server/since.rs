//! When things began, without a clock.
//!
//! Requests must stay cheap, so what happens is only marked as having begun since the listener's
//! [watchdog](super::connections::Connections::watch) last looked, and the watchdog replaces the mark
//! by its own time.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// A time in milliseconds since the server's start.
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

    /// The same where it has not begun yet.
    pub(super) fn begin_once(&self) {
        if self.0.load(Relaxed) == Self::NEVER {
            self.begin();
        }
    }

    pub(super) fn end(&self) {
        // Most often there is nothing to end, and to read is cheaper than to write.
        if self.0.load(Relaxed) != Self::NEVER {
            self.0.store(Self::NEVER, Relaxed);
        }
    }

    /// Replaces the mark of what began since the last look.
    pub(super) fn settle(&self, now: Moment) {
        // It fails where there is nothing to replace.
        let _ = self
            .0
            .compare_exchange(Self::JUST_NOW, now.max(1), Relaxed, Relaxed);
    }

    /// For how long, if it has begun.
    pub(super) fn lasts(&self, now: Moment) -> Option<u64> {
        match self.0.load(Relaxed) {
            Self::NEVER => None,
            Self::JUST_NOW => Some(0),
            begun => Some(now.saturating_sub(begun)),
        }
    }
}
