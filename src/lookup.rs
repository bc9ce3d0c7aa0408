//! The lookup: the request to the auth cluster.

use std::fmt;
use std::time::Duration;

use crate::credential::KeyHash;
use crate::record::header_safe;
use crate::request::Request;

/// The longest value that is carried on, in bytes; W3C Trace Context section 3.3.1.5 asks for 512.
const MAX_TRACE: usize = 1024;

/// The most values of one header that are carried on: clients must not make lookups long.
const MAX_REPEATS: usize = 4;

/// Headers of the client's request that its lookup carries on, for tracing.
pub(crate) const CARRIED_ON: [&str; 3] = ["x-request-id", "traceparent", "tracestate"];

const PLACEHOLDER: &str = "{key_hash}";

/// A path with one place for the key hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate {
    before: String,
    after: String,
}

impl PathTemplate {
    /// Splits `/v1/key-hashes/{key_hash}`.
    ///
    /// # Errors
    /// What would be right.
    pub fn parse(template: &str) -> Result<Self, &'static str> {
        let visible = template.bytes().all(|byte| byte.is_ascii_graphic());
        match template.split_once(PLACEHOLDER) {
            Some((before, after))
                if before.starts_with('/')
                    && visible
                    && !template.contains('#')
                    && !after.contains(PLACEHOLDER) =>
            {
                Ok(Self {
                    before: before.to_owned(),
                    after: after.to_owned(),
                })
            }
            _ => Err(
                "must start with \"/\", hold {key_hash} exactly once, and be visible ASCII \
                 without \"#\", such as \"/v1/key-hashes/{key_hash}\"",
            ),
        }
    }

    fn fill(&self, hash: &KeyHash) -> String {
        format!("{}{hash}{}", self.before, self.after)
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
    /// Static headers, names in lower case. The values may be secrets.
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

/// The HTTP callout of a lookup: `GET`, without a body.
#[derive(Clone, PartialEq, Eq)]
pub struct Callout {
    /// The Envoy cluster.
    pub cluster: String,
    /// How long the answer may take.
    pub timeout: Duration,
    /// Pseudo-headers and headers.
    pub headers: Vec<(String, String)>,
}

/// Without the headers, whose values may be secrets.
impl fmt::Debug for Callout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callout")
            .field("cluster", &self.cluster)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl Lookup {
    /// The callout that asks about a hash on behalf of a request (an empty one: of nobody's). A
    /// configured header replaces one that would be there otherwise.
    pub fn callout(&self, hash: &KeyHash, request: &Request) -> Callout {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut headers = vec![
            header(":method", "GET"),
            header(":path", &self.path.fill(hash)),
            header(":authority", &self.authority),
        ];
        headers.extend(self.headers.iter().cloned());
        let configured = |name: &str| self.headers.iter().any(|(other, _)| other == name);
        if !configured("accept") {
            headers.push(header("accept", "application/json"));
        }
        for name in CARRIED_ON.into_iter().filter(|name| !configured(name)) {
            headers.extend(
                request
                    .values(name)
                    .filter_map(|value| header_safe(value, MAX_TRACE))
                    .take(MAX_REPEATS)
                    .map(|value| header(name, value)),
            );
        }
        Callout {
            cluster: self.cluster.clone(),
            timeout: self.timeout,
            headers,
        }
    }
}

#[cfg(test)]
mod tests;
