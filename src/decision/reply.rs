//! The replies to refused requests, one table from the denial to status, headers and body; and
//! the answer to a key that asks about itself.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use ulid::Ulid;

use crate::auth::record::Record;
use crate::clock::ms;
use crate::decision::denial::{Challenge, Denial, Messages};
use crate::request::headers::Request;

/// `req_` and a ULID: what client, log and reply call one request that is answered here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId(Ulid);

impl RequestId {
    /// `now` is the time since the Unix epoch; of `random` the lower 80 bits count.
    pub fn new(now: Duration, random: u128) -> Self {
        Self(Ulid::from_parts(ms(now), random))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "req_{}", self.0)
    }
}

/// The form of a reply. A `HEAD` request gets the HTTP form, whose body Envoy leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyFormat {
    /// Status, headers and a JSON body.
    Http,
    /// Envoy turns the status into `grpc-status` and the body into `grpc-message`.
    Grpc,
}

impl ReplyFormat {
    /// The form that Envoy will give to a reply to this request.
    pub fn of(request: &Request) -> Self {
        if request.is_grpc() {
            Self::Grpc
        } else {
            Self::Http
        }
    }
}

/// A local reply, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalReply<'a> {
    /// The HTTP status.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(&'static str, Cow<'a, str>)>,
    /// The body, or the message of a gRPC reply.
    pub body: String,
}

/// What the replies to refused requests say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyRules {
    /// The messages to clients.
    pub messages: Messages,
    /// Where errors are documented; an error's address is this and its code.
    pub doc_base_url: String,
    /// The realm of `www-authenticate`.
    pub realm: String,
    /// After how long a client may try again when there was no verdict.
    pub retry_after_seconds: u32,
}

/// What replies are made of: one template for each denial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replies(
    /// In the order of [`Denial::ALL`].
    [Template; 7],
);

/// What is the same in each reply to a denial.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Template {
    /// The body up to the id of the request.
    body: String,
    message: String,
    challenge: Option<String>,
    retry_after: Option<String>,
}

/// What is in a [`Body`] between the id and the time, and behind both.
const BETWEEN: &str = "\",\"timestamp\":\"";
const BEHIND: &str = "\"}";

/// The eight fields of a body, in their order.
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

/// What an active key is told of itself.
#[derive(Serialize)]
struct Description<'a> {
    success: bool,
    message: &'a str,
    data: Data<'a>,
}

/// The fields of a record that keys are looked up by, and no others that an auth cluster may add.
#[derive(Serialize)]
struct Data<'a> {
    key_id: &'a str,
    status: &'a str,
    account_id: Option<&'a str>,
    environment: Option<&'a str>,
    expires_at: Option<String>,
    endpoints: Option<Vec<&'a str>>,
}

/// The answer to an active key that asks about itself: 200, and its record.
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
        // Plain strings: writing them as JSON cannot fail.
        body: serde_json::to_string(&body).unwrap_or_default(),
    }
}

impl Replies {
    /// Takes checked rules.
    #[cold]
    pub fn new(rules: &ReplyRules) -> Self {
        let ReplyRules {
            messages,
            doc_base_url,
            realm,
            retry_after_seconds,
        } = rules;
        Self(Denial::ALL.map(|denial| {
            let row = denial.row();
            let retry_after = (denial == Denial::Internal).then_some(*retry_after_seconds);
            let message = messages.of(denial);
            // Plain strings and numbers: writing them as JSON cannot fail.
            let body = serde_json::to_string(&Body {
                success: false,
                error: row.error,
                message,
                details: [],
                retry_after,
                doc_url: &format!("{doc_base_url}{}", row.error),
                request_id: "",
                timestamp: "",
            });
            let body = body.unwrap_or_default();
            let before = body.strip_suffix(BEHIND);
            let before = before.and_then(|before| before.strip_suffix(BETWEEN));
            Template {
                body: before.unwrap_or_default().to_owned(),
                message: message.to_owned(),
                challenge: match row.challenge {
                    Challenge::None => None,
                    Challenge::Plain => Some(format!("Bearer realm=\"{realm}\"")),
                    Challenge::Error(error) => {
                        Some(format!("Bearer realm=\"{realm}\", error=\"{error}\""))
                    }
                },
                retry_after: retry_after.map(|seconds| seconds.to_string()),
            }
        }))
    }

    /// The reply to a refused request. `now` is the time since the Unix epoch.
    pub fn render(
        &self,
        denial: Denial,
        form: ReplyFormat,
        id: RequestId,
        now: Duration,
    ) -> LocalReply<'_> {
        let row = denial.row();
        let [
            missing,
            invalid,
            not_found,
            revoked,
            expired,
            restricted,
            internal,
        ] = &self.0;
        let template = match denial {
            Denial::Missing => missing,
            Denial::Invalid => invalid,
            Denial::NotFound => not_found,
            Denial::Revoked => revoked,
            Denial::Expired => expired,
            Denial::EndpointRestricted => restricted,
            Denial::Internal => internal,
        };
        let id = id.to_string();
        let (body, of_form) = match form {
            ReplyFormat::Grpc => (template.message.clone(), ("x-keystile-error", row.error)),
            ReplyFormat::Http => (
                [&template.body, &id, BETWEEN, &timestamp(now), BEHIND].concat(),
                ("content-type", "application/json"),
            ),
        };
        let mut headers = Vec::with_capacity(5);
        headers.push(("cache-control", "no-store".into()));
        if let Some(challenge) = &template.challenge {
            headers.push(("www-authenticate", challenge.into()));
        }
        if let Some(seconds) = &template.retry_after {
            headers.push(("retry-after", seconds.into()));
        }
        headers.push(("x-request-id", id.into()));
        let (name, value) = of_form;
        headers.push((name, value.into()));
        LocalReply {
            status: row.status,
            headers,
            body,
        }
    }
}

/// RFC 3339 in UTC, whole seconds.
fn timestamp(now: Duration) -> String {
    let seconds = Duration::from_secs(now.as_secs());
    rfc3339(seconds).unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned())
}

/// RFC 3339 in UTC; `None` past the year 9999, where it ends.
fn rfc3339(since_epoch: Duration) -> Option<String> {
    let nanoseconds = i128::try_from(since_epoch.as_nanos()).ok()?;
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).ok()?;
    time.format(&Rfc3339).ok()
}

#[cfg(test)]
mod tests;
