//! Checks of header names, header values and cluster names, which several sections share. Each
//! error says what would be right, and follows the field's path. No error repeats a value that may
//! be a secret.

use crate::request::headers::is_token;

type Problem = &'static str;

/// Headers that HTTP itself or Envoy controls. To set or remove one would break the message.
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

/// Checks for a token (RFC 9110 section 5.6.2).
pub(super) fn token(value: &str) -> Result<(), Problem> {
    if !is_token(value.as_bytes()) {
        Err("must be one word: only letters, digits and !#$%&'*+-.^_`|~")
    } else {
        Ok(())
    }
}

/// Checks the name of a header that the filter may set, read or remove, and returns it in lower
/// case.
pub(super) fn header_name(name: &str) -> Result<String, Problem> {
    let lower = name.to_ascii_lowercase();
    if token(name).is_err() {
        Err("must be a header name: only letters, digits and !#$%&'*+-.^_`|~")
    } else if GOVERNED.contains(&lower.as_str()) {
        Err("is a header that HTTP or Envoy controls; choose another")
    } else {
        Ok(lower)
    }
}

/// Checks a header's value (RFC 9110 section 5.5), without the obsolete bytes above ASCII.
pub(super) fn header_value(value: &str) -> Result<(), Problem> {
    let visible = |byte: u8| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t');
    if !value.bytes().all(visible) {
        Err("must be a header value: visible ASCII, spaces and tabs, without line breaks")
    } else if value.trim_ascii() != value {
        Err("must not begin or end with a space or tab")
    } else {
        Ok(())
    }
}

/// Rejects a header that was given before. Names are in lower case.
pub(super) fn once<'a>(
    mut seen: impl Iterator<Item = &'a String>,
    name: &str,
) -> Result<(), Problem> {
    if seen.any(|other| other == name) {
        Err("is given more than once (names are case-insensitive)")
    } else {
        Ok(())
    }
}

pub(super) fn cluster(name: &str) -> Result<(), Problem> {
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        Err("must be the name of an Envoy cluster: visible ASCII without spaces")
    } else {
        Ok(())
    }
}
