//! How long an answer may be kept, by its `cache-control` (RFC 9111).

#![forbid(unsafe_code)]

use std::time::Duration;

/// Returns the shortest lifetime in a `cache-control` (RFC 9111 section 5.2.2), if it sets one.
/// Directives are compared without case. An unreadable lifetime counts as zero (section 4.2.1).
pub(crate) fn max_age(value: &[u8]) -> Option<Duration> {
    let lives = value.split(|byte| *byte == b',').filter_map(|directive| {
        let (name, argument) = match directive.iter().position(|byte| *byte == b'=') {
            Some(at) => directive.split_at_checked(at)?,
            None => (directive, &[][..]),
        };
        let name = name.trim_ascii();
        if name.eq_ignore_ascii_case(b"no-store") || name.eq_ignore_ascii_case(b"no-cache") {
            return Some(Duration::ZERO);
        }
        name.eq_ignore_ascii_case(b"max-age")
            .then(|| argument_seconds(argument))
    });
    lives.min()
}

/// Parses `=60` or `="60"`.
fn argument_seconds(argument: &[u8]) -> Duration {
    let digits = argument
        .trim_ascii()
        .strip_prefix(b"=")
        .unwrap_or_default()
        .trim_ascii();
    let digits = digits
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""))
        .unwrap_or(digits);
    delta_seconds(digits).unwrap_or(Duration::ZERO)
}

/// Parses a number of seconds. One that is too large becomes the longest duration (RFC 9111 section
/// 1.2.2).
pub(crate) fn delta_seconds(digits: &[u8]) -> Option<Duration> {
    let are_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let digits = std::str::from_utf8(digits).ok().filter(|_| are_digits)?;
    Some(Duration::from_secs(digits.parse().unwrap_or(u64::MAX)))
}
