//! Durations in whole milliseconds, the unit in which times are kept and reported.

#![forbid(unsafe_code)]

use std::time::Duration;

/// Returns a duration in whole ms, rounded down. If it is too long, the result saturates.
/// `Duration::as_millis` returns 128-bit numbers, which WebAssembly does not have.
pub(crate) fn ms(duration: Duration) -> u64 {
    let seconds = duration.as_secs().saturating_mul(1000);
    seconds.saturating_add(u64::from(duration.subsec_millis()))
}
