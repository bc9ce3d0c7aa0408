//! The plugin configuration: JSON in, a [`Config`] out that cannot be wrong.
//!
//! Reading it is pure, as Envoy runs it on several threads and a refusal on one worker alone
//! would leave that worker without the filter: the same bytes always give the same answer.

#![forbid(unsafe_code)]

mod build;
mod check;
mod text;

use std::fmt;

use crate::auth::feed::FeedRules;
use crate::auth::lookup::{Callout, Lookup};
use crate::decision::reply::{Replies, Wording};
use crate::engine::cache::CacheRules;
use crate::json::FieldError;
use crate::request::credential::CredentialRules;
use crate::request::headers::{NameLengths, Request};
use crate::request::key_hash::{KeyHash, KeyHasher};
use crate::request::path::PathPrefix;

/// As much of a field's path as a message shows, in characters.
const LONGEST_PATH: usize = 200;

/// Why a configuration was refused: the field's path, what is wrong and what would be right.
/// Never the value of a field that may hold a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(FieldError);

impl ConfigError {
    fn new(path: impl AsRef<str>, problem: impl AsRef<str>) -> Self {
        Self(FieldError::new(path, problem))
    }
}

impl From<FieldError> for ConfigError {
    fn from(error: FieldError) -> Self {
        Self(error)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FieldError { path, problem } = &self.0;
        let path = if path.is_empty() || path.bytes().any(|byte| byte < b' ') {
            "configuration"
        } else {
            path
        };
        // The names in it are an operator's, and the message is a line of Envoy's log.
        write!(f, "{path:.LONGEST_PATH$}: {problem}")
    }
}

impl std::error::Error for ConfigError {}

/// A field of the key's record that an identity header can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityField {
    /// `key_id`
    KeyId,
    /// `account_id`
    AccountId,
    /// `environment`
    Environment,
}

/// Requests that need no key (row 1 of the decision table).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exemptions {
    paths: Vec<String>,
    path_prefixes: Vec<PathPrefix>,
    /// Those that are exempt on these paths, in upper case. GET includes HEAD.
    methods: Vec<String>,
    /// Whether requests to these paths may have a body: an exempt request whose body never ends
    /// occupies the upstream.
    bodies: bool,
    preflight: bool,
}

impl Exemptions {
    /// Whether this request is exempt.
    pub fn cover(&self, request: &Request) -> bool {
        self.cover_path_of(request) || (self.preflight && request.is_genuine_preflight())
    }

    fn cover_path_of(&self, request: &Request) -> bool {
        let any = !self.paths.is_empty() || !self.path_prefixes.is_empty();
        any && self.cover_path(request.path())
            && self.cover_method(request.first(":method").unwrap_or_default())
            && (self.bodies || request.has_no_body())
    }

    /// Whether requests to this path (no query) are exempt, if their method is.
    fn cover_path(&self, path: &[u8]) -> bool {
        self.paths.iter().any(|exempt| exempt.as_bytes() == path)
            || self.path_prefixes.iter().any(|prefix| prefix.covers(path))
    }

    fn cover_method(&self, method: &[u8]) -> bool {
        let lists = |method: &[u8]| self.methods.iter().any(|one| one.as_bytes() == method);
        lists(method) || (method == b"HEAD" && lists(b"GET"))
    }
}

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// How the auth cluster is asked.
    pub lookup: Lookup,
    /// How long its verdicts are kept, and how many.
    pub cache: CacheRules,
    /// How its change feed is read, where it is.
    pub feed: Option<FeedRules>,
    /// Where credentials are looked for and what a key looks like.
    pub credential: CredentialRules,
    /// From key to hash.
    pub hasher: KeyHasher,
    /// When set, only records of this environment count.
    pub environment: Option<String>,
    /// Requests that need no key.
    pub exempt: Exemptions,
    /// The path where the filter itself says what it knows of a key, where there is one.
    pub introspection: Option<String>,
    /// Headers set for the upstream, names in lower case.
    pub identity_headers: Vec<(String, IdentityField)>,
    /// Headers that no upstream gets, names in lower case.
    pub strip_headers: Vec<String>,
    /// How long the names of the headers are that hold credentials or identities, or are stripped.
    pub watched: NameLengths,
    /// The replies to refused requests.
    pub replies: Replies,
}

impl Config {
    /// Reads the plugin configuration (JSON, UTF-8).
    ///
    /// # Errors
    /// The first problem, with its field's path: not JSON, an unknown or repeated field, a wrong
    /// type, an impossible value, or no `lookup.cluster`.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        build::config(&mut text::parse(bytes)?)
    }

    /// The callout that asks about a hash on behalf of a request (an empty one: of nobody's).
    pub fn callout(&self, hash: &KeyHash, request: &Request) -> Callout {
        self.lookup.callout(hash, request, &self.credential)
    }
}

/// The replies of a filter that has no configuration to take them from.
impl Default for Replies {
    fn default() -> Self {
        Self::new(
            Wording::for_service(build::SERVICE_NAME),
            build::DOC_BASE_URL,
            build::REALM,
            build::RETRY_AFTER_SECONDS,
        )
    }
}

#[cfg(test)]
mod tests;
