//! What single values of the configuration must be like. Each error says what would be right and
//! goes behind the field's path; none repeats a value that may be a secret.

use std::time::Duration;

use crate::auth::record::{MAX_ID, header_safe};
use crate::request::headers::is_token;

type Problem = &'static str;

/// Headers that HTTP itself or Envoy governs: setting or removing one would break the message.
const GOVERNED: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// RFC 9110 section 5.6.2.
pub(super) fn token(value: &str) -> Result<(), Problem> {
    if !is_token(value.as_bytes()) {
        Err("must be one word of letters, digits and !#$%&'*+-.^_`|~")
    } else {
        Ok(())
    }
}

/// A header that the filter may set, read or remove; gives its name in lower case.
pub(super) fn header_name(name: &str) -> Result<String, Problem> {
    let lower = name.to_ascii_lowercase();
    if token(name).is_err() {
        Err("must be a header's name: one word of letters, digits and !#$%&'*+-.^_`|~")
    } else if GOVERNED.contains(&lower.as_str()) {
        Err("is a header that HTTP itself governs; choose another")
    } else {
        Ok(lower)
    }
}

/// The method of a request, which has upper and lower case (RFC 9110 section 9.1); all that are in
/// use are in upper case.
pub(super) fn method(value: &str) -> Result<(), Problem> {
    if token(value).is_err() || value.bytes().any(|byte| byte.is_ascii_lowercase()) {
        Err("must be a method in upper case, such as \"GET\" or \"POST\"")
    } else {
        Ok(())
    }
}

/// RFC 9110 section 5.5, without the obsolete bytes above ASCII.
pub(super) fn header_value(value: &str) -> Result<(), Problem> {
    let visible = |byte: u8| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t');
    if !value.bytes().all(visible) {
        Err("must be a header's value: visible ASCII and blanks, without line breaks")
    } else if value.trim_ascii() != value {
        Err("must not begin or end with a blank")
    } else {
        Ok(())
    }
}

/// Refuses a header whose name, but for case, was given before.
pub(super) fn once<'a>(
    mut seen: impl Iterator<Item = &'a String>,
    name: &str,
) -> Result<(), Problem> {
    if seen.any(|other| other == name) {
        Err("is given more than once (names are compared without case)")
    } else {
        Ok(())
    }
}

pub(super) fn cluster(name: &str) -> Result<(), Problem> {
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        Err("must be the name of an Envoy cluster, without blanks")
    } else {
        Ok(())
    }
}

/// RFC 3986 section 3.2, without user information.
pub(super) fn authority(value: &str) -> Result<(), Problem> {
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:[]".contains(&byte);
    if value.is_empty() || !value.bytes().all(is_host) {
        Err(
            "must be a host, such as \"auth.example.com:8080\"; by default it is the cluster's name",
        )
    } else {
        Ok(())
    }
}

/// `"250ms"`, `"10s"`, `"5m"`, `"1h"`: a whole number and its unit.
pub(super) fn duration(text: &str) -> Result<Duration, Problem> {
    const EXPECTED: Problem =
        "must be a whole number with its unit, such as \"250ms\", \"10s\", \"5m\" or \"1h\"";
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).ok_or(EXPECTED)?;
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(EXPECTED),
    };
    let number: u64 = number.parse().map_err(|_| EXPECTED)?;
    // Each duration has an upper bound, and this is above all of them.
    Ok(Duration::from_millis(number.saturating_mul(unit_ms)))
}

pub(super) fn key_prefix(prefix: &str) -> Result<(), String> {
    let fits = |byte: u8| byte.is_ascii_graphic() && byte != b',';
    if prefix.len() > 64 || !prefix.bytes().all(fits) {
        Err("must be at most 64 characters of visible ASCII, without a comma".to_owned())
    } else {
        Ok(())
    }
}

/// What a record can have for an environment, so that the two can be equal.
pub(super) fn environment(value: &str) -> Result<(), Problem> {
    header_safe(value.as_bytes(), MAX_ID)
        .map(drop)
        .ok_or("must be 1 to 256 characters of visible ASCII, as in a record; null is any")
}

/// Text that ends in a reply: not blank, no control characters, and silent about what became of
/// a key.
pub(super) fn text(value: &str, longest: usize) -> Result<(), String> {
    if value.trim().is_empty()
        || value.chars().count() > longest
        || value.contains(char::is_control)
    {
        return Err(format!(
            "must be a text of 1 to {longest} characters, not blank, without control characters"
        ));
    }
    let words = value.to_ascii_lowercase();
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    if ["deleted", "once valid"]
        .iter()
        .any(|said| words.contains(said))
    {
        return Err(
            "must not say \"deleted\" or \"once valid\": a reply never discloses whether a key \
             once existed"
                .to_owned(),
        );
    }
    Ok(())
}

pub(super) fn url(value: &str) -> Result<(), String> {
    text(value, 512)?;
    let rest = value
        .strip_prefix("https://")
        .or_else(|| value.strip_prefix("http://"));
    if rest.is_some_and(|rest| !rest.is_empty()) && value.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(())
    } else {
        Err("must be an http:// or https:// address, to which the error's code is added".to_owned())
    }
}

/// Text that needs no escape in a quoted string (RFC 9110 section 5.6.4).
pub(super) fn quotable(value: &str) -> Result<(), String> {
    text(value, 128)?;
    let plain = |byte: u8| (byte.is_ascii_graphic() || byte == b' ') && !b"\"\\".contains(&byte);
    if !value.bytes().all(plain) {
        Err("must be visible ASCII, without \" and \\".to_owned())
    } else {
        Ok(())
    }
}
