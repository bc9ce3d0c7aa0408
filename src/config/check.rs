//! What the names of headers and clusters must be like, in several sections. Each error says what would
//! be right and goes behind the field's path; none repeats a value that may be a secret.

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
