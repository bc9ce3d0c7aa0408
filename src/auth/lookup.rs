//! The lookup: the request to the auth cluster.

#![forbid(unsafe_code)]

use std::fmt;
use std::time::Duration;

use crate::auth::record::header_safe;
use crate::request::credential::CredentialRules;
use crate::request::headers::Request;
use crate::request::key_hash::KeyHash;

/// The longest value that is carried on, in bytes; W3C Trace Context section 3.3.1.5 asks for 512.
const MAX_TRACE: usize = 1024;

/// The most values of one header that are carried on: clients must not make lookups long.
const MAX_REPEATS: usize = 4;

/// Headers of the client's request that its lookup carries on, for tracing.
pub(crate) const CARRIED_ON: [&str; 3] = ["x-request-id", "traceparent", "tracestate"];

/// The header that names the only environment whose records count, so that the auth cluster can
/// answer 404 to what is of another: to find that out here takes longer than to be told that there
/// is no record, and clients could tell.
const ENVIRONMENT: &str = "x-keystile-environment";

/// The header of an answer that names the hash which it is about, so that no other lookup takes it
/// for its own. Auth clusters may leave it out.
pub(crate) const KEY_HASH: &str = "x-keystile-key-hash";

/// Whether what looks like an answer is Envoy's own, and says that the cluster's circuit breaker was
/// full when the lookup was to be sent. Envoy names how long an upstream took in each answer of one.
pub(crate) fn is_overflow(answer: &Request) -> bool {
    answer.first("x-envoy-overloaded").is_some()
        && answer.first("x-envoy-upstream-service-time").is_none()
        && answer.first(":status") == Some(b"503")
}

/// A path with one place for what is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate {
    before: String,
    after: String,
}

impl PathTemplate {
    /// The path that begins and ends with these.
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
                "must start with \"/\", hold {placeholder} exactly once, and be visible ASCII \
                 without \"#\" and other braces, such as \"{example}\""
            )),
        }
    }

    /// The number in a parameter `limit` of the query, where there is one; 0 where that is no number.
    pub(crate) fn limit(&self) -> Option<u64> {
        let parts = [&self.before, &self.after];
        let mut parameters = parts.into_iter().flat_map(|part| part.split(['?', '&']));
        let limit = parameters.find_map(|parameter| parameter.strip_prefix("limit="))?;
        Some(limit.parse().unwrap_or_default())
    }

    /// The path with a value in the placeholder's place, as it is.
    pub(crate) fn fill(&self, value: impl fmt::Display) -> String {
        format!("{}{value}{}", self.before, self.after)
    }
}

/// How the auth cluster is asked.
#[derive(Clone, PartialEq, Eq)]
pub struct Lookup {
    /// The Envoy cluster.
    pub cluster: String,
    /// The `:authority` of the request.
    pub authority: String,
    /// The path, with a place for the hash.
    pub path: PathTemplate,
    /// How long an answer may take; whole milliseconds, never 0 (which Envoy takes for none).
    pub timeout: Duration,
    /// Headers that each callout has, names in lower case. The values may be secrets.
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
    /// What it carries on of the client's request.
    carried_on: Vec<(&'static str, String)>,
}

impl Lookup {
    /// The callout that asks about a hash on behalf of a request (an empty one: of nobody's). A
    /// configured header replaces one that would be there otherwise. The request's own headers are
    /// carried on unless there may be a key in them: clients put keys in the wrong places, and the
    /// auth cluster must never see one.
    pub fn callout(
        &self,
        hash: &KeyHash,
        request: &Request,
        credential: &CredentialRules,
    ) -> Callout {
        let mut callout = Callout::to(self.path.fill(hash), self.timeout);
        for name in CARRIED_ON.into_iter().filter(|name| !self.configures(name)) {
            callout.carried_on.extend(
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

    /// The pseudo-headers and headers of a callout.
    pub fn headers<'a>(&'a self, callout: &'a Callout) -> Vec<(&'a str, &'a str)> {
        let text = |(name, value): &'a (String, String)| (name.as_str(), value.as_str());
        let carried_on = callout.carried_on.iter();
        let mut headers = vec![
            (":method", "GET"),
            (":path", &callout.path),
            (":authority", &self.authority),
        ];
        headers.extend(self.headers.iter().map(text));
        if !self.configures("accept") {
            headers.push(("accept", "application/json"));
        }
        headers.extend(carried_on.map(|(name, value)| (*name, value.as_str())));
        headers
    }

    /// Adds the header that names the environment, where there is one.
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
    /// One that carries nothing on.
    pub(crate) fn to(path: String, timeout: Duration) -> Self {
        Self {
            path,
            timeout,
            carried_on: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
