//! The lookup: the request to the auth cluster.

#![forbid(unsafe_code)]

use std::fmt;
use std::time::Duration;

use crate::auth::record::header_safe;
use crate::request::credential::CredentialRules;
use crate::request::headers::Request;
use crate::request::key_hash::KeyHash;

/// The longest header value that a lookup passes on, in bytes. W3C Trace Context section 3.3.1.5
/// asks for at least 512.
const MAX_TRACE: usize = 1024;

/// The largest number of values of one header that a lookup passes on, so that clients cannot make
/// lookups long.
const MAX_REPEATS: usize = 4;

/// Headers of the client's request that its lookup passes on, for tracing.
pub(crate) const PASSED_ON: [&str; 3] = ["x-request-id", "traceparent", "tracestate"];

/// The header that names the only environment whose records count. With it, the auth cluster can
/// answer 404 for keys of other environments. If it returned their records instead, the filter
/// would take longer to reject them than to handle a 404, and clients could tell.
const ENVIRONMENT: &str = "x-keystile-environment";

/// The header of an answer that names its key hash, so that no other lookup takes the answer for
/// its own. Auth clusters may leave it out.
pub(crate) const KEY_HASH: &str = "x-keystile-key-hash";

/// Returns whether an answer is Envoy's own local reply because the cluster's circuit breaker was
/// full. Envoy adds `x-envoy-upstream-service-time` to every answer that comes from an upstream.
pub(crate) fn is_overflow(answer: &Request) -> bool {
    answer.first("x-envoy-overloaded").is_some()
        && answer.first("x-envoy-upstream-service-time").is_none()
        && answer.first(":status") == Some(b"503")
}

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
    /// Headers that it passes on from the client's request.
    passed_on: Vec<(&'static str, String)>,
}

impl Lookup {
    /// Returns the callout that looks up a hash for a request. If no request waits for it,
    /// `request` is empty. Configured headers replace default and passed-on ones. Headers of the
    /// request are not passed on if they may contain a key: clients put keys in the wrong places,
    /// and the auth cluster must never see one.
    pub fn callout(
        &self,
        hash: &KeyHash,
        request: &Request,
        credential: &CredentialRules,
    ) -> Callout {
        let mut callout = Callout::to(self.path.fill(hash), self.timeout);
        for name in PASSED_ON.into_iter().filter(|name| !self.configures(name)) {
            callout.passed_on.extend(
                request
                    .values(name)
                    .filter_map(|value| header_safe(value, MAX_TRACE))
                    .filter(|value| !credential.may_hold_key(value.as_bytes()))
                    .take(MAX_REPEATS)
                    .map(|value| (name, value.to_owned())),
            );
        }
        callout
    }

    /// Returns the pseudo-headers and headers of a callout.
    pub fn headers<'a>(&'a self, callout: &'a Callout) -> Vec<(&'a str, &'a str)> {
        let text = |(name, value): &'a (String, String)| (name.as_str(), value.as_str());
        let passed_on = callout.passed_on.iter();
        let mut headers = vec![
            (":method", "GET"),
            (":path", &callout.path),
            (":authority", &self.authority),
        ];
        headers.extend(self.headers.iter().map(text));
        if !self.configures("accept") {
            headers.push(("accept", "application/json"));
        }
        headers.extend(passed_on.map(|(name, value)| (*name, value.as_str())));
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
    /// Creates a callout that passes on no headers.
    pub(crate) fn to(path: String, timeout: Duration) -> Self {
        Self {
            path,
            timeout,
            passed_on: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
