//! Exemptions: the requests that need no key.

#![forbid(unsafe_code)]

use crate::request::headers::Request;
use crate::request::path::PathPrefix;

/// Requests that need no key (row 1 of the decision table).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exemptions {
    pub(crate) paths: Vec<String>,
    pub(crate) path_prefixes: Vec<PathPrefix>,
    /// The methods that are exempt on these paths, in upper case. GET includes HEAD.
    pub(crate) methods: Vec<String>,
    /// Whether requests to these paths may have a body: an exempt request whose body never ends
    /// occupies the upstream.
    pub(crate) bodies: bool,
    pub(crate) preflight: bool,
}

impl Exemptions {
    /// Returns true if this request is exempt.
    pub fn matches(&self, request: &Request) -> bool {
        self.matches_path_of(request) || (self.preflight && request.is_genuine_preflight())
    }

    fn matches_path_of(&self, request: &Request) -> bool {
        let any = !self.paths.is_empty() || !self.path_prefixes.is_empty();
        any && self.matches_path(request.path())
            && self.matches_method(request.first(":method").unwrap_or_default())
            && (self.bodies || request.has_no_body())
    }

    /// Returns true if requests to this path (no query) are exempt, provided that their method is.
    pub(crate) fn matches_path(&self, path: &[u8]) -> bool {
        self.paths.iter().any(|exempt| exempt.as_bytes() == path)
            || self.path_prefixes.iter().any(|prefix| prefix.covers(path))
    }

    pub(crate) fn matches_method(&self, method: &[u8]) -> bool {
        let lists = |method: &[u8]| self.methods.iter().any(|one| one.as_bytes() == method);
        lists(method) || (method == b"HEAD" && lists(b"GET"))
    }
}
