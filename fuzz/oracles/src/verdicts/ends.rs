//! The end of a request, as its client, its upstream and the access log see it.

use std::collections::BTreeMap;

use keystile::auth::answer::Source;
use keystile::engine::fake_host::{End, Stream};
use serde_json::Value;

/// The header that tells the upstream the ID of the key.
const KEY_ID: &str = "x-keystile-key-id";

/// How a request was decided, and the number of the answer that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Forwarded.
    Allowed(usize),
    /// Answered with its record.
    Described(usize),
    Expired(usize),
    Revoked(usize),
    NotFound,
    /// Refused for lack of a verdict.
    NoVerdict,
}

/// The end of a request.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) decision: Decision,
    pub(super) source: Option<Source>,
    /// The name of its outcome.
    pub(super) outcome: String,
}

impl Seen {
    /// Reads the end of a request with a key. Client, upstream and log must all be told the same.
    pub(super) fn of(stream: &Stream) -> Self {
        let entry = logfmt(stream.log_entry.as_deref().expect("no log entry"));
        let outcome = entry["outcome"].to_owned();
        let logged = entry.get("key_id").copied();
        let credentials = stream.values("x-api-key");
        assert!(
            credentials.is_empty(),
            "the key was forwarded to the upstream"
        );
        let decision = match stream.end.as_ref().expect("the request has not ended") {
            End::Forwarded => {
                let ids = stream.values(KEY_ID);
                assert_eq!(ids.len(), 1, "expected one key ID, not {ids:?}");
                assert_eq!(logged, Some(&*ids[0]), "the logged key ID");
                assert_eq!(entry.get("request_id"), None);
                assert_eq!(outcome, "allowed");
                Decision::Allowed(number(&ids[0]))
            }
            End::Answered {
                status,
                headers,
                body,
            } => {
                let body: Value = serde_json::from_str(body).expect("the body is not JSON");
                let id = headers.iter().find(|(name, _)| name == "x-request-id");
                let id = id.map(|(_, id)| id.as_str());
                assert!(id.is_some_and(|id| id.starts_with("req_")), "{id:?}");
                assert_eq!(
                    entry.get("request_id").copied(),
                    id,
                    "the logged request ID"
                );
                assert!(
                    stream.values(KEY_ID).is_empty(),
                    "a refused request got an identity header"
                );
                if *status == 200 {
                    assert_eq!(outcome, "introspected");
                    let described = body["data"]["key_id"].as_str();
                    assert_eq!(described, logged, "the logged key ID");
                    Decision::Described(number(described.expect("no key ID")))
                } else {
                    assert_eq!(body["request_id"].as_str(), id);
                    assert_eq!(body["error"], *outcome, "the logged outcome");
                    refused(*status, &body, logged)
                }
            }
        };
        Self {
            decision,
            source: entry.get("source").map(|name| source(name)),
            outcome,
        }
    }
}

fn refused(status: u16, body: &Value, logged: Option<&str>) -> Decision {
    let error = body["error"].as_str().expect("no error code");
    let message = body["message"].as_str().expect("no message");
    let of_record = || number(logged.expect("no key ID in the log entry"));
    let (decision, expected) = match error {
        "api_key_revoked" if message.contains("expired") => (Decision::Expired(of_record()), 401),
        "api_key_revoked" => (Decision::Revoked(of_record()), 401),
        "api_key_not_found" => (Decision::NotFound, 401),
        "internal_error" => (Decision::NoVerdict, 503),
        other => panic!("a request with a key was refused with {other}"),
    };
    assert_eq!(status, expected, "the status of {error}");
    if matches!(decision, Decision::NotFound | Decision::NoVerdict) {
        assert_eq!(logged, None, "{error}, but the log entry has a key ID");
    }
    decision
}

fn number(key_id: &str) -> usize {
    key_id.parse().expect("the number of an answer")
}

fn source(name: &str) -> Source {
    match name {
        "lookup" => Source::Lookup,
        "coalesced" => Source::Coalesced,
        "cache" => Source::Cache,
        "stale" => Source::Stale,
        other => panic!("an unknown source: {other}"),
    }
}

/// Returns the fields of a log entry whose values need no quotes.
fn logfmt(entry: &str) -> BTreeMap<&str, &str> {
    let fields = entry.split(' ');
    let fields = fields.map(|field| field.split_once('=').expect("a name and a value"));
    fields.collect()
}
