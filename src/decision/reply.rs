//! The replies to refused requests and to introspection requests.

#![forbid(unsafe_code)]

mod format;
mod rpc;

pub use format::{Codec, ReplyFormat};

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use ulid::Ulid;

use crate::auth::record::Record;
use crate::clock::ms;
use crate::decision::advice::Challenge;
use crate::decision::denial::{Denial, Messages, PerDenial};
use rpc::RpcError;

/// The ID of a request that is answered here, for its client and the logs: `req_` and a ULID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId(Ulid);

impl RequestId {
    /// Creates an ID. `now` is the time since the Unix epoch; only the lower 80 bits of `random` are
    /// used.
    pub fn new(now: Duration, random: u128) -> Self {
        Self(Ulid::from_parts(ms(now), random))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "req_{}", self.0)
    }
}

/// A local reply, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalReply<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The headers, with names in lower case.
    pub headers: Vec<(&'static str, Cow<'a, str>)>,
    /// The body.
    pub body: Vec<u8>,
}

/// The settings of the replies to refused requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyRules {
    /// The messages to clients.
    pub messages: Messages,
    /// Where errors are documented; an error's URL is this followed by its code.
    pub doc_base_url: String,
    /// The scheme of `www-authenticate`.
    pub scheme: &'static str,
    /// The realm of `www-authenticate`.
    pub realm: String,
    /// What `www-authenticate` says.
    pub challenge: Challenge,
    /// When a client may try again if there was no verdict.
    pub retry_after_seconds: u32,
}

/// The replies to refused requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replies(PerDenial<Template>);

/// The parts that are the same in each reply to a denial.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Template {
    message: String,
    doc_url: String,
    challenge: Option<String>,
    /// In seconds.
    retry_after: Option<u32>,
}

/// The eight fields of a body, in order.
#[derive(Serialize)]
struct Body<'a> {
    success: bool,
    error: &'a str,
    message: &'a str,
    details: [(); 0],
    retry_after: Option<u32>,
    doc_url: &'a str,
    request_id: &'a str,
    timestamp: &'a str,
}

/// The body of the reply to an introspection request.
#[derive(Serialize)]
struct Description<'a> {
    success: bool,
    message: &'a str,
    data: Data<'a>,
}

/// The fields of a record that the filter knows, without others that an auth cluster may add.
#[derive(Serialize)]
struct Data<'a> {
    key_id: &'a str,
    status: &'a str,
    account_id: Option<&'a str>,
    environment: Option<&'a str>,
    expires_at: Option<String>,
    endpoints: Option<Vec<&'a str>>,
}

/// Returns the reply to an introspection request with an active key: 200, and the key's record.
pub fn describe(record: &Record, id: RequestId) -> LocalReply<'static> {
    let body = Description {
        success: true,
        message: "success",
        data: Data {
            key_id: record.key_id(),
            status: "active",
            account_id: record.account_id(),
            environment: record.environment(),
            expires_at: record.expires_at().and_then(rfc3339),
            endpoints: record.endpoints().map(Iterator::collect),
        },
    };
    LocalReply {
        status: 200,
        headers: vec![
            ("cache-control", "no-store".into()),
            ("x-request-id", id.to_string().into()),
            ("content-type", "application/json".into()),
        ],
        body: json(&body),
    }
}

impl Replies {
    /// Prepares the replies from checked rules.
    #[cold]
    pub fn new(rules: &ReplyRules) -> Self {
        let ReplyRules {
            messages,
            doc_base_url,
            scheme,
            realm,
            challenge,
            retry_after_seconds,
        } = rules;
        Self(PerDenial::new(|denial| {
            let retry_after = denial.is_temporary().then_some(*retry_after_seconds);
            Template {
                message: messages.of(denial).to_owned(),
                doc_url: format!("{doc_base_url}{}", denial.code()),
                challenge: challenge.value(denial, scheme, realm),
                retry_after,
            }
        }))
    }

    /// Returns the reply to a refused request. `now` is the time since the Unix epoch.
    /// `retry_after` is how long it would be in vain to try again, if that is known; it may be
    /// shorter than the configured time, which then counts.
    pub fn render(
        &self,
        denial: Denial,
        format: ReplyFormat,
        id: RequestId,
        now: Duration,
        retry_after: Option<Duration>,
    ) -> LocalReply<'_> {
        let template = self.0.of(denial);
        let in_vain = retry_after.map_or(0, whole_seconds);
        let retry_after = template.retry_after.map(|seconds| seconds.max(in_vain));
        let id = id.to_string();
        let rpc = RpcError {
            denial,
            message: &template.message,
        };
        let (status, body) = match format {
            ReplyFormat::Http => {
                let body = json(&Body {
                    success: false,
                    error: denial.code(),
                    message: &template.message,
                    details: [],
                    retry_after,
                    doc_url: &template.doc_url,
                    request_id: &id,
                    timestamp: &timestamp(now),
                });
                (denial.status(), body)
            }
            ReplyFormat::Grpc => (200, Vec::new()),
            ReplyFormat::GrpcWeb { is_text, .. } => (200, rpc.trailers_frame(is_text)),
            ReplyFormat::ConnectUnary => (denial.status(), rpc.connect_error()),
            ReplyFormat::ConnectStream(_) => (200, rpc.connect_end()),
        };
        let mut headers = Vec::with_capacity(7);
        headers.push(("cache-control", "no-store".into()));
        if let Some(challenge) = &template.challenge {
            headers.push(("www-authenticate", challenge.into()));
        }
        if let Some(seconds) = retry_after {
            headers.push(("retry-after", seconds.to_string().into()));
        }
        headers.push(("x-request-id", id.into()));
        if let Some(content_type) = format.content_type() {
            headers.push(("content-type", content_type.into()));
        }
        match format {
            // Whole, so that it also suits a filter in front that translates from another protocol.
            ReplyFormat::Grpc => headers.extend(rpc.grpc_fields()),
            ReplyFormat::ConnectUnary => headers.push((rpc::ERROR, denial.code().into())),
            ReplyFormat::Http | ReplyFormat::GrpcWeb { .. } | ReplyFormat::ConnectStream(_) => {}
        }
        LocalReply {
            status,
            headers,
            body,
        }
    }
}

/// Returns a duration in seconds, rounded up.
fn whole_seconds(duration: Duration) -> u32 {
    let seconds = duration.as_millis().div_ceil(1000);
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

/// Serialises a body.
fn json(body: &impl Serialize) -> Vec<u8> {
    // Plain strings and numbers can always be written as JSON.
    let mut json = Vec::with_capacity(512);
    let _ = serde_json::to_writer(&mut json, body);
    json
}

/// Returns a time in RFC 3339, in UTC and whole seconds.
fn timestamp(now: Duration) -> String {
    let seconds = Duration::from_secs(now.as_secs());
    rfc3339(seconds).unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned())
}

/// Returns a time in RFC 3339, in UTC; `None` after the year 9999, the last that it can express.
fn rfc3339(since_epoch: Duration) -> Option<String> {
    let nanoseconds = i128::try_from(since_epoch.as_nanos()).ok()?;
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).ok()?;
    time.format(&Rfc3339).ok()
}

#[cfg(test)]
mod tests;
