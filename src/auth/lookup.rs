//! The lookup: the request to the auth cluster.

#![forbid(unsafe_code)]

use std::fmt;
use std::time::Duration;

use crate::auth::record::header_safe;
use crate::request::credential::CredentialRules;
use crate::request::headers::Request;
use crate::request::key_hash::KeyHash;

/// The largest answer that is read, in bytes.
pub const MAX_ANSWER: usize = 64 * 1024;

/// The longest header value that a lookup propagates, in bytes. W3C Trace Context section 3.3.1.5
/// asks for at least 512.
const MAX_PROPAGATED: usize = 1024;

/// The largest number of values of one header that a lookup propagates, so that clients cannot make
/// lookups long.
const MAX_REPEATS: usize = 4;

/// The header that says in which format the answer is expected.
const ACCEPT: &str = "accept";

/// The header that names the only environment whose records count. With it, the auth cluster can
/// answer 404 for keys of other environments. If it returned their records instead, the filter
/// would take longer to reject them than to handle a 404, and clients could tell.
const ENVIRONMENT: &str = "x-keystile-environment";

/// The headers that the filter itself sets in lookups, unless `lookup.headers` replaces them.
pub(crate) const OWN: [&str; 2] = [ACCEPT, ENVIRONMENT];

/// The header of an answer that names its key hash, so that no other lookup takes the answer for
/// its own. Auth clusters may leave it out, unless `lookup.require_key_hash` is set.
pub(crate) const KEY_HASH: &str = "x-keystile-key-hash";

/// A path with a placeholder for the key hash or the cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate {
    before: String,
    after: String,
}

impl PathTemplate {
    /// Creates a path from the parts before and after the placeholder.
    pub fn new(before: &str, after: &str) -> Self {
        Self {
            before: before.to_owned(),
            after: after.to_owned(),
        }
    }

    /// Splits `/v1/key-hashes/{key_hash}` at its `placeholder`, `{key_hash}`.
    ///
    /// # Errors
    /// What would be right, with an example.
    pub fn parse(template: &str, placeholder: &str, example: &str) -> Result<Self, String> {
        let visible = template.bytes().all(|byte| byte.is_ascii_graphic());
        match template.split_once(placeholder) {
            Some((before, after))
                if before.starts_with('/')
                    && visible
                    && !template.contains('#')
                    && ![before, after].concat().contains(['{', '}']) =>
            {
                Ok(Self::new(before, after))
            }
            _ => Err(format!(
                "must start with \"/\", contain {placeholder} exactly once, and be visible ASCII \
                 without \"#\" or other braces, such as \"{example}\""
            )),
        }
    }

    /// Returns the number in the query parameter `limit`, if there is one, or 0 if it is not a
    /// number.
    pub(crate) fn limit(&self) -> Option<u64> {
        let parts = [&self.before, &self.after];
        let mut parameters = parts.into_iter().flat_map(|part| part.split(['?', '&']));
        let limit = parameters.find_map(|parameter| parameter.strip_prefix("limit="))?;
        Some(limit.parse().unwrap_or_default())
    }

    /// Returns the path with a value in place of the placeholder. The value is not encoded.
    pub(crate) fn fill(&self, value: impl fmt::Display) -> String {
        format!("{}{value}{}", self.before, self.after)
    }
}

/// How lookups are sent to the auth cluster.
#[derive(Clone, PartialEq, Eq)]
pub struct Lookup {
    /// The Envoy cluster.
    pub cluster: String,
    /// The `:authority` of the request.
    pub authority: String,
    /// The path, with a placeholder for the key hash.
    pub path: PathTemplate,
    /// How long an answer may take, in whole milliseconds. It is never 0, which means no timeout to
    /// Envoy.
    pub timeout: Duration,
    /// Headers of every callout, names in lower case. The values may be secrets.
    pub headers: Vec<(String, String)>,
    /// Whether an answer is a verdict only if it names the hash that was looked up.
    pub require_key_hash: bool,
    /// The most lookups that are in flight at a time on each worker.
    pub max_concurrent: usize,
    /// The scheme of the request (RFC 9110 section 4.2).
    pub scheme: Scheme,
    /// Headers of the client's request that its lookup carries as well, names in lower case.
    pub propagate_headers: Vec<String>,
}

/// The scheme of a request, as the server sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// `http`
    #[default]
    Http,
    /// `https`
    Https,
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Lookup")
            .field("cluster", &self.cluster)
            .field("authority", &self.authority)
            .field("path", &self.path)
            .field("timeout", &self.timeout)
            .field("headers", &names)
            .field("require_key_hash", &self.require_key_hash)
            .field("max_concurrent", &self.max_concurrent)
            .field("scheme", &self.scheme)
            .field("propagate_headers", &self.propagate_headers)
            .finish()
    }
}

/// An HTTP callout to the auth cluster: `GET`, without a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callout {
    /// Its path.
    pub path: String,
    /// How long the answer may take.
    pub timeout: Duration,
    /// Headers of the client's request that it carries as well.
    propagated: Vec<(String, String)>,
}

impl Lookup {
    /// Returns the callout that looks up a hash for a request. If no request waits for it,
    /// `request` is empty. Configured headers replace default and propagated ones. Headers of the
    /// request are not propagated if they may contain a key: clients put keys in the wrong places,
    /// and the auth cluster must never see one.
    pub fn callout(
        &self,
        hash: &KeyHash,
        request: &Request,
        credential: &CredentialRules,
    ) -> Callout {
        let mut callout = Callout::to(self.path.fill(hash), self.timeout);
        let names = self.propagate_headers.iter();
        for name in names.filter(|name| !self.configures(name)) {
            callout.propagated.extend(
                request
                    .values(name)
                    .filter_map(|value| header_safe(value, MAX_PROPAGATED))
                    .filter(|value| !credential.may_hold_key(value.as_bytes()))
                    .take(MAX_REPEATS)
                    .map(|value| (name.clone(), value.to_owned())),
            );
        }
        callout
    }

    /// Returns the pseudo-headers and headers of a callout.
    pub fn headers<'a>(&'a self, callout: &'a Callout) -> Vec<(&'a str, &'a str)> {
        let text = |(name, value): &'a (String, String)| (name.as_str(), value.as_str());
        let mut headers = vec![
            (":method", "GET"),
            (":path", &callout.path),
            (":authority", &self.authority),
        ];
        // Envoy's own default is "http", even over TLS.
        if self.scheme == Scheme::Https {
            headers.push((":scheme", "https"));
        }
        headers.extend(self.headers.iter().map(text));
        if !self.configures(ACCEPT) {
            headers.push((ACCEPT, "application/json"));
        }
        headers.extend(callout.propagated.iter().map(text));
        headers
    }

    /// Adds the header that names the environment, if there is one.
    pub(crate) fn in_environment(mut self, environment: Option<&str>) -> Self {
        if let Some(environment) = environment
            && !self.configures(ENVIRONMENT)
        {
            self.headers
                .push((ENVIRONMENT.to_owned(), environment.to_owned()));
        }
        self
    }

    fn configures(&self, header: &str) -> bool {
        self.headers.iter().any(|(name, _)| name == header)
    }
}

impl Callout {
    /// Creates a callout without any header of a request.
    pub(crate) fn to(path: String, timeout: Duration) -> Self {
        Self {
            path,
            timeout,
            propagated: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
