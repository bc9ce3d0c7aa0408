//! Path prefixes, for exemptions and a key's endpoints. They are compared with the path as Envoy
//! routes it.

#![forbid(unsafe_code)]

/// A path prefix that ends on a segment boundary: `/v1/astro` covers `/v1/astro` and
/// `/v1/astro/natal`, not `/v1/astrology`. See [`can_match`] for prefixes that cover nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPrefix(String);

impl PathPrefix {
    /// Takes the prefix unchecked; see [`check`] for what an operator may configure.
    pub fn new(prefix: String) -> Self {
        Self(prefix)
    }

    /// Returns whether `path` (no query) lies under this prefix.
    pub fn covers(&self, path: &[u8]) -> bool {
        covers(&self.0, path)
    }
}

/// Returns whether `path` (no query) lies under `prefix`, by the rules of [`PathPrefix`].
///
/// A path that may climb out of the prefix is not covered. Envoy resolves `..` before this filter
/// only if `normalize_path` is on, and leaves `%2f` alone even then, but the upstream may resolve
/// both. No path climbs out of `/`.
pub fn covers(prefix: &str, path: &[u8]) -> bool {
    let Some(rest) = path.strip_prefix(prefix.as_bytes()) else {
        return false;
    };
    let on_border = prefix.ends_with('/') || matches!(rest.first(), None | Some(b'/'));
    can_match(prefix) && on_border && (prefix == "/" || !may_climb(rest))
}

/// Returns true if a prefix covers any path. With a `*` it does not: whoever wrote that expects a
/// wildcard, and a path that happens to contain one must not be covered instead.
pub fn can_match(prefix: &str) -> bool {
    prefix.starts_with('/') && !prefix.contains('*')
}

/// Checks a path in an operator's configuration.
///
/// # Errors
/// What would be right, to be shown after the field's path.
pub fn check(path: &str) -> Result<(), &'static str> {
    if !path.starts_with('/') {
        Err("must start with \"/\"")
    } else if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        Err("must be visible ASCII; percent-encode anything else, as it is sent")
    } else if path.contains('*') {
        Err("has no wildcards, so it must not have \"*\"; a prefix covers all that is below it")
    } else if path.contains(['?', '#']) {
        Err("is compared without the query, so it must not have \"?\" or \"#\"")
    } else if may_climb(path.as_bytes()) || path.split('/').any(|segment| segment == ".") {
        Err("must not have a \".\" or \"..\" segment; write the resolved path")
    } else {
        Ok(())
    }
}

/// Returns whether some parser could find a `..` segment in this path: after `/`, `\` or their
/// percent-encoded forms, with encoded dots, encoded more than once, with parameters (`..;x`), cut
/// off (`..%3f`) or trimmed (`..%20`). Forms that only broken decoders understand (overlong UTF-8,
/// `%u`) count as well. So do control characters, which some parsers leave out (`.%0a.`).
fn may_climb(path: &[u8]) -> bool {
    /// More layers of encoding than any chain of servers removes.
    const LAYERS: usize = 4;

    // Without one of these bytes, a path cannot climb. Few paths have any.
    if !path
        .iter()
        .any(|byte| matches!(byte, b'%' | b'.') || may_be_misread(byte))
    {
        return false;
    }
    let mut decoded = path.to_vec();
    for _ in 0..LAYERS {
        if !decoded.contains(&b'%') {
            break;
        }
        decoded = decode_once(&decoded);
    }
    if decoded.iter().any(may_be_misread) || decode_once(&decoded) != decoded {
        return true;
    }
    if decoded
        .windows(2)
        .any(|pair| pair.eq_ignore_ascii_case(b"%u"))
    {
        return true;
    }
    decoded
        .split(|byte| matches!(byte, b'/' | b'\\'))
        .filter_map(|segment| segment.split(|byte| b";?#".contains(byte)).next())
        .any(|segment| segment.trim_ascii() == b"..")
}

/// Returns whether a broken decoder may turn this byte into another, or a parser leave it out.
/// Parsers that treat URLs as browsers do read `.`, tab, `.` as `..`.
fn may_be_misread(byte: &u8) -> bool {
    byte.is_ascii_control() || matches!(byte, 0xc0 | 0xc1)
}

/// Percent-decodes once (RFC 3986 section 2.1); a `%` without two hex digits stays.
fn decode_once(path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'%', [high, low, after @ ..]) => match hex_pair(*high, *low) {
                Some(byte) => {
                    decoded.push(byte);
                    rest = after;
                }
                None => decoded.push(b'%'),
            },
            _ => decoded.push(*first),
        }
    }
    decoded
}

fn hex_pair(high: u8, low: u8) -> Option<u8> {
    let mut byte = [0_u8];
    const_hex::decode_to_slice([high, low], &mut byte).ok()?;
    Some(byte[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_end_on_segment_borders_and_cannot_be_climbed_out_of() {
        let cases: &[(&str, &str, bool)] = &[
            ("/v1/astro", "/v1/astro", true),
            ("/v1/astro", "/v1/astro/", true),
            ("/v1/astro", "/v1/astro/natal", true),
            ("/v1/astro", "/v1/astro//natal", true),
            ("/v1/astro", "/v1/astrology", false),
            ("/v1/astro", "/v1/astro;x=1", false),
            ("/v1/astro", "/v1/Astro", false),
            ("/v1/astro", "/v1", false),
            ("/v1/astro", "//v1/astro", false),
            ("/v1/astro", "/v2/v1/astro", false),
            ("/v1/astro", "", false),
            ("/v1/astro/", "/v1/astro/natal", true),
            ("/v1/astro/", "/v1/astro/", true),
            ("/v1/astro/", "/v1/astro", false),
            ("/", "/", true),
            ("/", "/anything", true),
            ("/", "/a/../b", true),
            ("/", "*", false),
            ("", "/anything", false),
            ("v1", "v1/x", false),
            ("*", "*", false),
            ("/v1/*", "/v1/*", false),
            ("/v1/*", "/v1/x", false),
            ("/v1/*/x", "/v1/*/x", false),
            ("/v1", "/v1/*", true),
            ("/v1/astro", "/v1/astro/../admin", false),
            ("/v1/astro", "/v1/astro/%2e%2e/admin", false),
            ("/v1/astro", "/v1/astro/.%2E/admin", false),
            ("/v1/astro", "/v1/astro/x%2f..%2f..%2fadmin", false),
            ("/v1/astro", "/v1/astro/x%5C..%5c..%5Cadmin", false),
            ("/v1/astro", "/v1/astro/..\\admin", false),
            ("/v1/astro", "/v1/astro/..;/admin", false),
            ("/v1/astro", "/v1/astro/..%3bx/admin", false),
            ("/v1/astro", "/v1/astro/..", false),
            ("/v1/astro", "/v1/astro/%252e%252e/admin", false),
            ("/v1/astro", "/v1/astro/..%25252fadmin", false),
            ("/v1/astro", "/v1/astro/%252525252e./admin", false),
            ("/v1/astro", "/v1/astro/%c0%ae%c0%ae/admin", false),
            ("/v1/astro", "/v1/astro/..%c1%9cadmin", false),
            ("/v1/astro", "/v1/astro/%u002e%u002e/admin", false),
            ("/v1/astro", "/v1/astro/..%20/admin", false),
            ("/v1/astro", "/v1/astro/%09../admin", false),
            ("/v1/astro", "/v1/astro/.%09./admin", false),
            ("/v1/astro", "/v1/astro/.%0a./admin", false),
            ("/v1/astro", "/v1/astro/.%250D./admin", false),
            ("/v1/astro", "/v1/astro/%7f../admin", false),
            ("/v1/astro", "/v1/astro/..%00/admin", false),
            ("/v1/astro", "/v1/astro/.%00./admin", false),
            ("/v1/astro", "/v1/astro/..%3fx/admin", false),
            ("/v1/astro", "/v1/astro/..%23x/admin", false),
            ("/v1/astro", "/v1/astro/caf%C3%A9", true),
            ("/v1/astro", "/v1/astro/100%25", true),
            ("/v1/astro", "/v1/astro/a%2fb", true),
            ("/v1/astro", "/v1/astro/...", true),
            ("/v1/astro", "/v1/astro/a..b", true),
            ("/v1/astro", "/v1/astro/.", true),
            ("/v1/astro", "/v1/astro/100%", true),
            ("/v1/astro", "/v1/astro/%zz/%2", true),
        ];
        for (prefix, path, expected) in cases {
            let prefix_of = PathPrefix::new((*prefix).to_owned());
            assert_eq!(
                prefix_of.covers(path.as_bytes()),
                *expected,
                "{prefix} covers {path}"
            );
        }
    }

    #[test]
    fn paths_with_bytes_that_broken_decoders_misread_are_not_covered() {
        let cases: [&[u8]; 5] = [
            b"/v1/astro/\xc0\xae\xc0\xae/admin",
            b"/v1/astro/\xc1",
            b"/v1/astro/x\x00",
            b"/v1/astro/.\x09./admin",
            b"/v1/astro/\x00/natal",
        ];
        for path in cases {
            assert!(!covers("/v1/astro", path), "{}", path.escape_ascii());
        }
        assert!(covers("/v1/astro", b"/v1/astro/caf\xc3\xa9"));
    }

    #[test]
    fn configured_paths_are_checked() {
        let cases = [
            ("/", true),
            ("/v1/public", true),
            ("/a%20b", true),
            ("", false),
            ("v1", false),
            ("/v1?x=1", false),
            ("/v1#x", false),
            ("/a b", false),
            ("/ä", false),
            ("/v1/../x", false),
            ("/v1/%2e%2e/x", false),
            ("/v1/./x", false),
            ("/v1/*", false),
        ];
        for (path, valid) in cases {
            assert_eq!(check(path).is_ok(), valid, "{path}");
        }
    }
}
