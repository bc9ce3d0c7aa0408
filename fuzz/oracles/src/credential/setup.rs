//! Configurations, and what must happen by rows 0 and 1.

use std::collections::BTreeSet;

use keystile::decision::policy::Policy;
use serde_json::{Value, json};

use crate::credential_model::{Alphabet, Rules, credential};

/// A configuration.
pub(super) struct Setup {
    pub(super) rules: Rules,
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

/// The default rules, for shorter keys.
const SHORT: Rules = Rules {
    lengths: (8, 16),
    ..Rules::DEFAULT
};

/// The defaults, except for the exemption of preflights.
const DEFAULT: Setup = Setup {
    rules: Rules::DEFAULT,
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
        rules: SHORT,
        forward: true,
        ..DEFAULT
    },
    Setup {
        rules: Rules {
            sources: &[
                ("authorization", Some("Bearer")),
                ("authorization", Some("Token")),
                ("api_key", None),
            ],
            prefix: "k-",
            lengths: (8, 16),
            alphabet: Alphabet::HEX,
        },
        identities: &["x_user-id", "x-user-id-of"],
        stripped: Some(&[]),
        ..DEFAULT
    },
    Setup {
        rules: Rules {
            sources: &[("x-api-key", None), ("proxy-key", Some("ApiKey"))],
            prefix: "",
            lengths: (4, 12),
            alphabet: Alphabet::BASE64,
        },
        ..DEFAULT
    },
    Setup {
        rules: SHORT,
        exempt: Some("/public"),
        introspection: Some("/v1/keys/me"),
        ..DEFAULT
    },
    Setup {
        rules: SHORT,
        stripped: Some(&["x.url"]),
        exempt: Some("/public"),
        methods: Some(&["GET", "POST"]),
        ..DEFAULT
    },
];

type Headers = [(String, String)];

/// Returns true if this is a call of gRPC, gRPC-Web or Connect.
pub(super) fn is_rpc(headers: &Headers) -> bool {
    let first = |wanted| values(headers, wanted).first().copied();
    let target = first(":path");
    let Some(content_type) = first("content-type") else {
        let target = target.unwrap_or_default().to_ascii_lowercase();
        let parts: Vec<_> = target.split(['?', '&']).collect();
        let has = |name: &str| parts.iter().any(|part| part.starts_with(name));
        return first(":method") == Some("GET")
            && has("connect=v1")
            && has("encoding=")
            && has("message=");
    };
    if target.is_some()
        && (content_type == "application/grpc" || content_type.starts_with("application/grpc+"))
    {
        return true;
    }
    let lower = content_type.to_ascii_lowercase();
    let ends = |c: char| c == ';' || c.is_ascii_whitespace();
    let media_type = lower
        .trim_ascii_start()
        .split(ends)
        .next()
        .unwrap_or_default();
    ["application/grpc-web", "application/grpc-web-text"]
        .iter()
        .any(|web| media_type == *web || media_type.starts_with(&format!("{web}+")))
        || media_type.starts_with("application/connect+")
        || (lower.starts_with("application/") && first("connect-protocol-version").is_some())
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
        let sources = self.rules.sources.iter();
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
                "formats": [{
                    "prefix": self.rules.prefix,
                    "min_length": self.rules.lengths.0,
                    "max_length": self.rules.lengths.1,
                    "alphabet": self.rules.alphabet.name,
                }],
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

    /// Returns the names of the headers that the upstream does not get. From requests that need no
    /// key, and from trailers, credentials are removed only if they resemble a key.
    pub(super) fn kept_back(&self, headers: &Headers, needs_none: bool) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for (name, value) in headers {
            let is_like = |other: &str| spelled_by_cgi(other) == spelled_by_cgi(name);
            let is_identity = self.identities.iter().any(|identity| is_like(identity));
            let stripped = self.stripped.unwrap_or(STRIPPED);
            let is_stripped = stripped.iter().any(|stripped| is_like(stripped));
            let has_credential = self.rules.sources.iter().any(|(source, scheme)| {
                let mut elements = value.split(',');
                name == source
                    && elements.any(|element| credential(element.as_bytes(), *scheme).is_some())
            });
            // A key is also found right after the scheme, without a space between the two.
            let mut sources = self.rules.sources.iter();
            let has_stray_key = sources.any(|(source, scheme)| {
                let scheme = scheme.unwrap_or_default();
                let rest = match value.get(..scheme.len()) {
                    Some(first) if first.eq_ignore_ascii_case(scheme) => &value[scheme.len()..],
                    _ => value,
                };
                is_like(source) && (self.resembles_key(value) || self.resembles_key(rest))
            });
            let has_key = (has_credential && !needs_none) || has_stray_key;
            if is_identity || is_stripped || (has_key && !self.forward) {
                names.insert(name.clone());
            }
        }
        names
    }

    fn resembles_key(&self, value: &str) -> bool {
        let prefix = self.rules.prefix.as_bytes();
        let mut words = self.rules.words(value.as_bytes()).into_iter();
        words.any(|word| self.rules.is_key(word) || (prefix.len() > 2 && word.starts_with(prefix)))
    }
}
