//! Durations in whole milliseconds, in which times are kept and reported.

#![forbid(unsafe_code)]

use std::time::Duration;

/// In whole ms, rounded down, as far as they go. `Duration::as_millis` counts in 128 bits, which
/// WebAssembly does not have.
pub(crate) fn ms(duration: Duration) -> u64 {
    let seconds = duration.as_secs().saturating_mul(1000);
    seconds.saturating_add(u64::from(duration.subsec_millis()))
}
