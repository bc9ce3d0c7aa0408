//! Time as the core gets it: read once by the host for each of its callbacks, and passed in.

#![forbid(unsafe_code)]

use std::time::Duration;

/// One moment by two clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Since the Unix epoch: for what is dated, such as a key's end. Operators set this clock.
    pub wall: Duration,
    /// Since some moment before the first one: for how long something lasts, such as a verdict
    /// in the cache. Nobody sets this clock, so a wrong time makes no verdict last longer.
    pub steady: Duration,
}

/// In whole ms, rounded down, as far as they go. `Duration::as_millis` counts in 128 bits, which
/// WebAssembly does not have.
pub(crate) fn ms(duration: Duration) -> u64 {
    let seconds = duration.as_secs().saturating_mul(1000);
    seconds.saturating_add(u64::from(duration.subsec_millis()))
}
