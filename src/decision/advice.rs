//! What clients are told about authentication: in `www-authenticate`, and in the message to a client
//! without a key.

#![forbid(unsafe_code)]

use crate::decision::denial::Denial;
use crate::request::credential::Source;

/// What `www-authenticate` says in a reply with status 401 or 403.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// The scheme, the realm and, if the request had a credential, the error (RFC 6750 section 3).
    Standard,
    /// The scheme and the realm. Some clients take an error for one of OAuth and start a login.
    Bare,
    /// This text.
    Custom(String),
}

impl Challenge {
    /// Takes `standard`, `bare` or another text.
    pub fn new(text: String) -> Self {
        match &*text {
            "standard" => Self::Standard,
            "bare" => Self::Bare,
            _ => Self::Custom(text),
        }
    }

    /// Returns the value of `www-authenticate`, if the reply to a denial has one.
    pub fn value(&self, denial: Denial, scheme: &str, realm: &str) -> Option<String> {
        if denial.is_temporary() {
            return None;
        }
        let bare = [scheme, " realm=\"", realm, "\""].concat();
        Some(match (self, denial.auth_error()) {
            (Self::Custom(text), _) => text.clone(),
            (Self::Standard, Some(error)) => [&bare, ", error=\"", error, "\""].concat(),
            (Self::Standard, None) | (Self::Bare, _) => bare,
        })
    }
}

/// Returns the scheme of the challenge: `Bearer` if a source has it, and `ApiKey` otherwise.
pub fn scheme(sources: &[Source]) -> &'static str {
    if sources.iter().any(is_bearer) {
        BEARER
    } else {
        "ApiKey"
    }
}

/// Returns where a client should put its key, for messages: in the first source that fits the
/// challenge.
pub fn place(sources: &[Source]) -> String {
    /// Leaves room for the rest of the message.
    const LONGEST: usize = 128;

    let source = sources.iter().find(|source| is_bearer(source));
    let place = source.or(sources.first()).map(|source| {
        let header = title_case(&source.header);
        let (before, scheme, after) = match source.scheme.as_deref() {
            Some(_) if is_bearer(source) => (" as '", BEARER, " YOUR_KEY'"),
            Some(scheme) => (" as '", scheme, " YOUR_KEY'"),
            None => ("", "", ""),
        };
        ["the ", &header, " header", before, scheme, after].concat()
    });
    let place = place.filter(|place| place.len() <= LONGEST);
    place.unwrap_or_else(|| "the header that the documentation names".to_owned())
}

const BEARER: &str = "Bearer";

fn is_bearer(source: &Source) -> bool {
    let scheme = source.scheme.as_deref();
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(BEARER))
}

/// Returns a header's name as people write it: `X-API-Key`.
fn title_case(name: &str) -> String {
    let mut title = name.to_owned();
    let mut is_first = true;
    for (at, byte) in name.bytes().enumerate() {
        if is_first && let Some(letter) = title.get_mut(at..=at) {
            letter.make_ascii_uppercase();
        }
        is_first = byte == b'-';
    }
    title.replace("-Api-", "-API-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(list: &[(&str, Option<&str>)]) -> Vec<Source> {
        let sources = list.iter().map(|(header, scheme)| Source {
            header: (*header).to_owned(),
            scheme: scheme.map(str::to_owned),
        });
        sources.collect()
    }

    #[test]
    fn advice_follows_the_sources() {
        let long = "x-".repeat(100);
        let unnamed = "the header that the documentation names";
        let authorization = ("authorization", Some("Bearer"));
        let api_key = ("x-api-key", None);
        let cases: [(&[_], _, _); 9] = [
            (
                &[authorization, api_key],
                "Bearer",
                "the Authorization header as 'Bearer YOUR_KEY'",
            ),
            (
                &[api_key, ("authorization", Some("bEARER"))],
                "Bearer",
                "the Authorization header as 'Bearer YOUR_KEY'",
            ),
            (
                &[("proxy-authorization", Some("bearer"))],
                "Bearer",
                "the Proxy-Authorization header as 'Bearer YOUR_KEY'",
            ),
            (&[api_key], "ApiKey", "the X-API-Key header"),
            (
                &[("authorization", Some("Token")), api_key],
                "ApiKey",
                "the Authorization header as 'Token YOUR_KEY'",
            ),
            (&[("api_key", None)], "ApiKey", "the Api_key header"),
            (&[("x--1", None)], "ApiKey", "the X--1 header"),
            (&[(long.as_str(), None)], "ApiKey", unnamed),
            (&[], "ApiKey", unnamed),
        ];
        for (list, expected_scheme, expected_place) in cases {
            let sources = sources(list);
            assert_eq!(scheme(&sources), expected_scheme, "{list:?}");
            assert_eq!(place(&sources), expected_place, "{list:?}");
        }
    }

    #[test]
    fn challenges_say_as_much_as_configured() {
        let custom = Challenge::Custom("ApiKey".to_owned());
        for denial in Denial::ALL {
            let expected = match denial.status() {
                401 if denial == Denial::Missing => [Some("B realm=\"r\""); 2],
                401 => [
                    Some("B realm=\"r\", error=\"invalid_token\""),
                    Some("B realm=\"r\""),
                ],
                403 => [
                    Some("B realm=\"r\", error=\"insufficient_scope\""),
                    Some("B realm=\"r\""),
                ],
                _ => [None, None],
            };
            let value = |challenge: &Challenge| challenge.value(denial, "B", "r");
            let [standard, bare] = expected;
            assert_eq!(value(&Challenge::Standard).as_deref(), standard);
            assert_eq!(value(&Challenge::Bare).as_deref(), bare);
            assert_eq!(value(&custom).as_deref(), bare.and(Some("ApiKey")));
        }
    }
}
