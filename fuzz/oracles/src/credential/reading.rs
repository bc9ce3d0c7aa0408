//! The second implementation of rows 0 to 4.

use std::collections::BTreeSet;

use keystile::decision::policy::Policy;
use serde_json::{Value, json};

/// A configuration, for both the filter and the second implementation.
pub(super) struct Setup {
    /// The header's name, and its scheme, if there is one.
    sources: &'static [(&'static str, Option<&'static str>)],
    prefix: &'static str,
    lengths: (usize, usize),
    alphabet: (&'static str, &'static str),
    forward: bool,
    identities: &'static [&'static str],
    /// If it is not the default.
    stripped: Option<&'static [&'static str]>,
    /// A path that is exempt with everything below it. CORS preflights are then exempt as well.
    exempt: Option<&'static str>,
    /// The methods that are exempt there, with or without a body; `None`: GET and HEAD without a
    /// body.
    methods: Option<&'static [&'static str]>,
    pub(super) introspection: Option<&'static str>,
}

const URL_SAFE: (&str, &str) = (
    "url_safe",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
);
const HEX: (&str, &str) = ("hex", "0123456789abcdefABCDEF");
const BASE64: (&str, &str) = (
    "base64",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=",
);

/// Headers that some frameworks take for another path or method.
const STRIPPED: &[&str] = &[
    "x-original-url",
    "x-rewrite-url",
    "x-forwarded-uri",
    "x-original-method",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
];

/// The defaults, except for the exemption of preflights.
const DEFAULT: Setup = Setup {
    sources: &[("authorization", Some("Bearer")), ("x-api-key", None)],
    prefix: "aw_",
    lengths: (43, 256),
    alphabet: URL_SAFE,
    forward: false,
    identities: &["x-keystile-key-id", "x-keystile-account-id"],
    stripped: None,
    exempt: None,
    methods: None,
    introspection: None,
};

pub(super) const SETUPS: [Setup; 6] = [
    DEFAULT,
    Setup {
        forward: true,
        lengths: (8, 16),
        ..DEFAULT
    },
    Setup {
        sources: &[
            ("authorization", Some("Bearer")),
            ("authorization", Some("Token")),
            ("api_key", None),
        ],
        prefix: "k-",
        lengths: (8, 16),
        alphabet: HEX,
        identities: &["x_user-id", "x-user-id-of"],
        stripped: Some(&[]),
        ..DEFAULT
    },
    Setup {
        sources: &[("x-api-key", None), ("proxy-key", Some("ApiKey"))],
        prefix: "",
        lengths: (4, 12),
        alphabet: BASE64,
        ..DEFAULT
    },
    Setup {
        lengths: (8, 16),
        exempt: Some("/public"),
        introspection: Some("/v1/keys/me"),
        ..DEFAULT
    },
    Setup {
        lengths: (8, 16),
        stripped: Some(&["x.url"]),
        exempt: Some("/public"),
        methods: Some(&["GET", "POST"]),
        ..DEFAULT
    },
];

const SPACES: [char; 2] = [' ', '\t'];

#[derive(Debug, PartialEq)]
pub(super) enum Expected {
    Exempt,
    Missing,
    Invalid,
    Key(String),
}

type Headers = [(String, String)];

pub(super) fn is_grpc(headers: &Headers) -> bool {
    let mut types = headers.iter().filter(|(name, _)| name == "content-type");
    let of_grpc = types.next().is_some_and(|(_, value)| {
        value == "application/grpc" || value.starts_with("application/grpc+")
    });
    of_grpc && headers.iter().any(|(name, _)| name == ":path")
}

/// Returns all values of a header.
fn values<'a>(headers: &'a Headers, wanted: &str) -> Vec<&'a str> {
    let named = headers.iter().filter(|(name, _)| name == wanted);
    named.map(|(_, value)| value.as_str()).collect()
}

/// Returns true if the request ends with its headers. `ends` says whether the proxy reports that.
fn has_no_body(headers: &Headers, ends: bool) -> bool {
    ends && values(headers, "content-length")
        .iter()
        .all(|length| *length == "0")
        && values(headers, "transfer-encoding").is_empty()
}

pub(super) fn is_preflight(headers: &Headers, ends: bool) -> bool {
    let is_origin = |value: &str| match value.split_once("://") {
        None => value == "null",
        Some((scheme, host)) => {
            scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
                && host.contains(|c: char| c.is_ascii_alphanumeric())
                && host
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-._~:[]".contains(c))
        }
    };
    let is_token = |value: &str| {
        let mut others = value.chars().filter(|c| !c.is_ascii_alphanumeric());
        !value.is_empty() && others.all(|c| "!#$%&'*+-.^_`|~".contains(c))
    };
    let one = |name, is: &dyn Fn(&str) -> bool| {
        let values = values(headers, name);
        values.len() == 1 && is(values[0])
    };
    values(headers, ":method").first() == Some(&"OPTIONS")
        && one("origin", &is_origin)
        && one("access-control-request-method", &is_token)
        && values(headers, "authorization").is_empty()
        && values(headers, "cookie").is_empty()
        && has_no_body(headers, ends)
}

/// CGI, PHP and WSGI treat all characters except letters and digits as the same.
fn spelled_by_cgi(name: &str) -> String {
    name.replace(|c: char| !c.is_ascii_alphanumeric(), "_")
}

impl Setup {
    pub(super) fn policy(&self) -> Policy {
        let sources = self.sources.iter();
        let sources = sources.map(|(header, scheme)| json!({"header": header, "scheme": scheme}));
        let identities = self.identities.iter();
        let identities = identities.map(|name| ((*name).to_owned(), json!("key_id")));
        let mut exempt = json!({
            "path_prefixes": self.exempt.into_iter().collect::<Vec<_>>(),
            "preflight": self.exempt.is_some(),
        });
        if let Some(methods) = self.methods {
            exempt["methods"] = json!(methods);
        }
        let introspection = self.introspection.map(|path| json!({ "path": path }));
        let mut config = json!({
            "lookup": {"cluster": "auth"},
            "credential": {
                "sources": sources.collect::<Vec<_>>(),
                "forward": self.forward,
                "format": {
                    "prefix": self.prefix,
                    "min_length": self.lengths.0,
                    "max_length": self.lengths.1,
                    "alphabet": self.alphabet.0,
                },
            },
            "identity_headers": Value::Object(identities.collect()),
            "exempt": exempt,
            "introspection": introspection,
        });
        if let Some(stripped) = self.stripped {
            config["strip_headers"] = json!(stripped);
        }
        keystile::config::parse(config.to_string().as_bytes())
            .expect("a good configuration")
            .policy
    }

    pub(super) fn exempts(&self, headers: &Headers, path: &str, ends: bool) -> bool {
        let Some(exempt) = self.exempt else {
            return false;
        };
        let by_path = path == exempt || path.starts_with(&format!("{exempt}/"));
        let method = values(headers, ":method").first().copied().unwrap_or("");
        let by_method = match self.methods {
            None => ["GET", "HEAD"].contains(&method) && has_no_body(headers, ends),
            Some(methods) => {
                methods.contains(&method) || (method == "HEAD" && methods.contains(&"GET"))
            }
        };
        (by_path && by_method) || is_preflight(headers, ends)
    }

    /// Reads the credential by rows 2 to 4.
    pub(super) fn authenticates(&self, headers: &Headers) -> Expected {
        let mut keys = BTreeSet::new();
        for (source, scheme) in self.sources {
            let values = headers.iter().filter(|(name, _)| name == source);
            let joined: Vec<_> = values.map(|(_, value)| value.as_str()).collect();
            let joined = joined.join(",");
            let elements: Vec<_> = joined.split(',').collect();
            let of_source = |element: &&str| credential_in(element, *scheme);
            let credentials: Vec<_> = elements.iter().filter_map(of_source).collect();
            if !credentials.is_empty() && elements.len() > 1 {
                return Expected::Invalid;
            }
            keys.extend(credentials);
        }
        let mut keys = keys.into_iter();
        match (keys.next(), keys.next()) {
            (None, _) => Expected::Missing,
            (Some(key), None) if self.is_key(&key) => Expected::Key(key),
            _ => Expected::Invalid,
        }
    }

    fn is_key(&self, text: &str) -> bool {
        let (shortest, longest) = self.lengths;
        let length = text.chars().count();
        text.starts_with(self.prefix)
            && length >= shortest
            && length <= longest
            && text[self.prefix.len()..]
                .chars()
                .all(|char| self.alphabet.1.contains(char))
    }

    /// Returns the names of the headers that the upstream does not get. From requests that need no
    /// key, and from trailers, credentials are removed only if they resemble a key.
    pub(super) fn kept_back(&self, headers: &Headers, needs_none: bool) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for (name, value) in headers {
            let is_like = |other: &str| spelled_by_cgi(other) == spelled_by_cgi(name);
            let is_identity = self.identities.iter().any(|identity| is_like(identity));
            let stripped = self.stripped.unwrap_or(STRIPPED);
            let is_stripped = stripped.iter().any(|stripped| is_like(stripped));
            let has_credential = self.sources.iter().any(|(source, scheme)| {
                let mut elements = value.split(',');
                name == source && elements.any(|element| credential_in(element, *scheme).is_some())
            });
            let may_be_source = self.sources.iter().any(|(source, _)| is_like(source));
            let of_key = |char: char| self.alphabet.1.contains(char) || self.prefix.contains(char);
            let only_keys = value.replace(|char| !of_key(char), " ");
            let resembles_key = only_keys.split(' ').any(|word| {
                self.is_key(word) || (self.prefix.len() > 2 && word.starts_with(self.prefix))
            });
            let has_key = (has_credential && !needs_none) || (may_be_source && resembles_key);
            if is_identity || is_stripped || (has_key && !self.forward) {
                names.insert(name.clone());
            }
        }
        names
    }
}

/// Returns the credential in a comma-separated element of a value.
fn credential_in(element: &str, scheme: Option<&str>) -> Option<String> {
    let element = element.trim_matches(SPACES);
    let credential = match scheme {
        None => element,
        Some(scheme) => {
            let (word, rest) = element.split_once(SPACES)?;
            if !word.eq_ignore_ascii_case(scheme) {
                return None;
            }
            rest.trim_matches(SPACES)
        }
    };
    Some(credential.to_owned()).filter(|credential| !credential.is_empty())
}
