//! The checked values of a key's record.

use std::str::FromStr;

use keystile::request::path::check;

use crate::http::body;
use crate::http::error::ApiError;

/// 1 to 256 visible ASCII characters, which an HTTP header can carry unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeaderText(String);

impl FromStr for HeaderText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        check_length(text)?;
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(
                "it may be sent in an HTTP header, so it must be visible ASCII without spaces"
                    .to_owned(),
            );
        }
        Ok(Self(text.to_owned()))
    }
}

impl From<HeaderText> for String {
    fn from(text: HeaderText) -> Self {
        text.0
    }
}

/// 1 to 256 characters for people to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name(String);

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        check_length(text)?;
        // Names are printed to terminals, which interpret some of these characters as commands.
        if text.chars().any(char::is_control) {
            return Err("it must be one line of text without control characters".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

/// A path prefix that a request's path can have after Envoy has normalized it. Commands and the admin
/// API accept no others. Older databases may contain others, which match nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint(String);

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(path: &str) -> Result<Self, Self::Err> {
        let rule = if path.contains('*') {
            "endpoints are prefixes"
        } else if !path.starts_with('/') {
            "endpoints start with \"/\""
        } else {
            // The filter's own rule, so that every registered endpoint can match.
            return match check(path) {
                Ok(()) => Ok(Self(path.to_owned())),
                Err(problem) => Err(format!("it {problem}")),
            };
        };
        let advice = advice(path);
        Err(format!("{path:?} would match nothing: {rule}; {advice}"))
    }
}

/// Says what to write instead of an endpoint that has a `*` or does not start with `/`.
fn advice(path: &str) -> String {
    let stem = path.trim_end_matches('*');
    if matches!(stem, "" | "/") {
        return "leave endpoints out (null) to allow every path".to_owned();
    }
    let stem = match stem.strip_suffix('/') {
        Some(folder) if stem.len() < path.len() => folder,
        _ => path,
    };
    let prefix = format!("/{}", stem.trim_start_matches('/'));
    // Nothing shorter is suggested, because the start of `/a/*/b` would allow more.
    if prefix.contains(['*', ':']) || check(&prefix).is_err() {
        "write the start of a path, such as \"/v1\", without \"*\" and without a host".to_owned()
    } else {
        format!("write {prefix:?}")
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> Self {
        endpoint.0
    }
}

/// Parses the endpoints of a request's body.
pub(super) fn endpoints(paths: &[String]) -> Result<Vec<Endpoint>, ApiError> {
    let checked = paths.iter().enumerate();
    checked
        .map(|(at, path)| body::field(&format!("endpoints[{at}]"), path))
        .collect()
}

/// Returns endpoints in the form that a record has.
pub(super) fn paths(endpoints: Vec<Endpoint>) -> Vec<String> {
    endpoints.into_iter().map(String::from).collect()
}

fn check_length(text: &str) -> Result<(), String> {
    let length = text.chars().count();
    if (1..=256).contains(&length) {
        Ok(())
    } else {
        Err(format!(
            "it has {length} characters; it must have from 1 to 256"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that a text is accepted unchanged, or that the error contains `problem`.
    fn check<T>(text: &str, problem: Option<&str>)
    where
        T: FromStr<Err = String>,
        String: From<T>,
    {
        match (text.parse::<T>(), problem) {
            (Ok(value), None) => assert_eq!(String::from(value), text),
            (Err(error), Some(part)) => assert!(error.contains(part), "{text:?}: {error}"),
            (Ok(_), Some(part)) => panic!("{text:?} was accepted; expected: {part}"),
            (Err(error), None) => panic!("{text:?} was refused: {error}"),
        }
    }

    #[test]
    fn header_texts() {
        let cases = [
            ("acct_1", None),
            ("~!", None),
            ("", Some("0 characters")),
            ("a b", Some("visible ASCII")),
            ("a\tb", Some("visible ASCII")),
            ("a\r\nx-admin: 1", Some("visible ASCII")),
            ("café", Some("visible ASCII")),
            ("\u{7f}", Some("visible ASCII")),
        ];
        for (text, problem) in cases {
            check::<HeaderText>(text, problem);
        }
    }

    #[test]
    fn names() {
        let cases = [
            ("Bob's laptop", None),
            ("Größe 3 ✓", None),
            ("", Some("0 characters")),
            ("a\nb", Some("control")),
            ("\u{1b}[2J", Some("control")),
            ("\u{9b}2J", Some("control")),
        ];
        for (text, problem) in cases {
            check::<Name>(text, problem);
        }
    }

    #[test]
    fn lengths_are_in_characters() {
        check::<HeaderText>(&"a".repeat(256), None);
        check::<HeaderText>(&"a".repeat(257), Some("257 characters"));
        check::<Name>(&"é".repeat(256), None);
        check::<Name>(&"é".repeat(257), Some("257 characters"));
    }

    #[test]
    fn endpoints() {
        let cases = [
            ("/", None),
            ("/v1/astro", None),
            ("/v1/astro/", None),
            ("/v1/.well-known/...", None),
            ("/v1/caf%C3%A9", None),
            ("/v1?x=1", Some("without the query")),
            ("/v1#top", Some("without the query")),
            ("/v1/a b", Some("visible ASCII")),
            ("/v1/café", Some("visible ASCII")),
            ("/v1/../admin", Some("segment")),
            ("/v1/.", Some("segment")),
            ("/./v1", Some("segment")),
            ("/v1/%2e%2e/x", Some("segment")),
        ];
        for (text, problem) in cases {
            check::<Endpoint>(text, problem);
        }
    }

    #[test]
    fn endpoints_that_match_nothing_are_corrected() {
        let every = "leave endpoints out (null) to allow every path";
        let general = "write the start of a path, such as \"/v1\"";
        let cases = [
            ("", "start with \"/\"", every),
            ("*", "prefixes", every),
            ("**", "prefixes", every),
            ("/*", "prefixes", every),
            ("/**", "prefixes", every),
            ("v1/astro", "start with \"/\"", "write \"/v1/astro\""),
            ("v1/astro/", "start with \"/\"", "write \"/v1/astro/\""),
            ("/v1/*", "prefixes", "write \"/v1\""),
            ("/v1/**", "prefixes", "write \"/v1\""),
            ("v1/*", "prefixes", "write \"/v1\""),
            ("*/v1", "prefixes", general),
            ("/v1/ast*", "prefixes", general),
            ("/v1/*/natal", "prefixes", general),
            ("/v1/../*", "prefixes", general),
            ("v1 astro", "start with \"/\"", general),
            ("https://example.com/v1", "start with \"/\"", general),
            ("https://example.com/v1/*", "prefixes", general),
        ];
        for (text, rule, advice) in cases {
            check::<Endpoint>(text, Some(rule));
            check::<Endpoint>(text, Some(advice));
            check::<Endpoint>(text, Some(&format!("{text:?} would match nothing: ")));
        }
    }
}
