//! The lookup: the request to the auth cluster, and the verdict that its answer amounts to.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::config::Object;
use crate::credential::KeyHash;
use crate::path::PathPrefix;
use crate::request::Request;

/// The largest answer that is read, in bytes.
pub const MAX_ANSWER: usize = 64 * 1024;

/// The longest `key_id`, `account_id` and `environment`, in bytes: they end in headers.
pub(crate) const MAX_ID: usize = 256;

/// The longest value that is carried on, in bytes; W3C Trace Context section 3.3.1.5 asks for 512.
const MAX_TRACE: usize = 1024;

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

impl Lookup {
    /// The callout that asks about a hash on behalf of a request. A configured header replaces
    /// one that would be there otherwise.
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

/// What the auth cluster knows of an active or revoked key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The key's public name.
    pub key_id: String,
    /// Whom the key belongs to.
    pub account_id: Option<String>,
    /// Where the key is good.
    pub environment: Option<String>,
    /// When the key ends, since the Unix epoch.
    pub expires_at: Option<Duration>,
    /// The paths that the key may call; `None` is every path.
    pub endpoints: Option<Vec<PathPrefix>>,
}

/// What a lookup came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is an active record.
    Active(Record),
    /// There is a revoked record.
    Revoked(Record),
    /// There is no record.
    NotFound,
    /// Nobody knows: neither an allow nor a denial.
    Indeterminate(Cause),
}

/// Why a verdict is indeterminate, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The callout could not be made.
    NotSent {
        /// What the proxy said.
        reason: &'static str,
    },
    /// The call ended without an answer.
    NoAnswer,
    /// An answer with a status that is no verdict.
    Status(u16),
    /// A 200 with a body over [`MAX_ANSWER`].
    TooLarge {
        /// The body's size.
        bytes: usize,
    },
    /// A 200 whose body is not a record.
    Unreadable(String),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent { reason } => write!(f, "no lookup was made: {reason}"),
            Self::NoAnswer => f.write_str("no answer: the connection was reset"),
            Self::Status(504) => {
                f.write_str("answer 504: lookup.timeout passed, or the auth cluster said so")
            }
            Self::Status(503) => f.write_str(
                "answer 503: no connection to the auth cluster, or the auth cluster said so",
            ),
            Self::Status(status) => write!(f, "answer {status}, which is no verdict"),
            Self::TooLarge { bytes } => {
                write!(
                    f,
                    "an answer of {bytes} bytes, over the limit of {MAX_ANSWER}"
                )
            }
            Self::Unreadable(problem) => write!(f, "answer 200, but not a record: {problem}"),
        }
    }
}

impl Verdict {
    /// Reads an answer. `status` is the `:status` of the answer, `None` when there was none;
    /// `body` is called only for a body that is worth reading.
    pub fn of_answer(
        status: Option<&[u8]>,
        body_size: usize,
        body: impl FnOnce() -> Vec<u8>,
    ) -> Self {
        let Some(status) = status.and_then(parse_status) else {
            return Self::Indeterminate(Cause::NoAnswer);
        };
        match status {
            200 if body_size > MAX_ANSWER => {
                Self::Indeterminate(Cause::TooLarge { bytes: body_size })
            }
            200 => read_record(&body())
                .unwrap_or_else(|problem| Self::Indeterminate(Cause::Unreadable(problem))),
            404 | 410 => Self::NotFound,
            other => Self::Indeterminate(Cause::Status(other)),
        }
    }
}

fn parse_status(status: &[u8]) -> Option<u16> {
    std::str::from_utf8(status).ok()?.parse().ok()
}

/// The answer as it is written. Unknown fields are ignored; a known field given twice is an error.
#[derive(Deserialize)]
struct RawRecord {
    key_id: String,
    status: String,
    account_id: Option<String>,
    environment: Option<String>,
    expires_at: Option<String>,
    endpoints: Option<Vec<String>>,
}

fn read_record(body: &[u8]) -> Result<Verdict, String> {
    let Object(raw) = serde_json::from_slice::<Object<RawRecord>>(body)
        .map_err(|error| without_value(&error.to_string()))?;
    let id = |field: &str, value: String| match header_safe(value.as_bytes(), MAX_ID) {
        Some(_) => Ok(value),
        None => Err(format!(
            "{field} must be 1 to {MAX_ID} characters of visible ASCII"
        )),
    };
    let optional_id =
        |field, value: Option<String>| value.map(|value| id(field, value)).transpose();
    let record = Record {
        key_id: id("key_id", raw.key_id)?,
        account_id: optional_id("account_id", raw.account_id)?,
        environment: optional_id("environment", raw.environment)?,
        expires_at: raw.expires_at.as_deref().map(parse_time).transpose()?,
        endpoints: raw
            .endpoints
            .map(|prefixes| prefixes.into_iter().map(PathPrefix::new).collect()),
    };
    match raw.status.as_str() {
        "active" => Ok(Verdict::Active(record)),
        "revoked" => Ok(Verdict::Revoked(record)),
        _ => Err("status must be \"active\" or \"revoked\"".to_owned()),
    }
}

/// Serde's text without the value that it quotes: an auth cluster may echo what is secret.
fn without_value(error: &str) -> String {
    let text = match error.rsplit_once(", expected ") {
        Some((_, expected)) => format!("expected {expected}"),
        None => error.to_owned(),
    };
    text.chars().take(160).collect()
}

/// RFC 3339, to the time since the Unix epoch; what lies before it has passed in any case.
fn parse_time(text: &str) -> Result<Duration, String> {
    let time = OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| "expires_at must be a time of RFC 3339".to_owned())?;
    Ok(u64::try_from(time.unix_timestamp())
        .map(|seconds| Duration::new(seconds, time.nanosecond()))
        .unwrap_or(Duration::ZERO))
}

/// The value as text when it can stand in a header as it is.
pub(crate) fn header_safe(value: &[u8], longest: usize) -> Option<&str> {
    let visible = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
    std::str::from_utf8(value).ok().filter(|text| {
        (1..=longest).contains(&text.len())
            && text.bytes().all(|byte| visible(&byte))
            && text.trim_ascii() == *text
    })
}

#[cfg(test)]
mod tests;
