//! Why there is no verdict, for the log.

#![forbid(unsafe_code)]

use std::fmt;

use crate::auth::lookup::MAX_ANSWER;

/// Why a callout was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// There is no such cluster.
    NoCluster,
    /// The cluster's circuit breaker is full.
    Overflow,
    /// The cluster has no healthy host, or its circuit breaker is full. Envoy does not say which.
    NotAccepted,
    /// As many lookups are in flight as `lookup.max_concurrent` leaves for requests.
    TooManyInFlight,
    /// Lookups fail, so only some are sent.
    Backoff,
    /// The auth cluster asked to wait, with `retry-after`.
    RetryAfter,
}

/// Why a verdict is indeterminate, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The filter has no configuration, so it cannot look anything up.
    NotConfigured,
    /// The filter was reconfigured while the request waited.
    Replaced,
    /// The callout could not be sent.
    NotSent(Unsent),
    /// The callout ended without an answer.
    NoAnswer,
    /// The request waited for a lookup that it had not started, for as long as a lookup may take.
    WaitTimedOut,
    /// Too many requests are waiting for a verdict.
    TooManyWait,
    /// The answer has a status that is not a verdict.
    Status(u16),
    /// Envoy could not read what the auth cluster sent, or the auth cluster what Envoy sent.
    ProtocolError,
    /// The auth cluster closed the connection instead of answering.
    Closed,
    /// The auth cluster reset the lookup's stream.
    Reset,
    /// The answer is a 200 with a body over [`MAX_ANSWER`].
    TooLarge {
        /// The body's size.
        bytes: usize,
    },
    /// The answer is a 200 whose body is not a record.
    Unreadable(String),
    /// The answer is a 404 or 410 with an HTML document.
    Html(u16),
    /// The answer names another hash.
    HashMismatch,
    /// The answer, with this status, names no hash, but `lookup.require_key_hash` is set.
    NoHash(u16),
}

impl Cause {
    /// Returns true if the auth cluster is at fault, whichever key was looked up, so that lookups of
    /// other keys would probably fail as well.
    pub(crate) fn is_outage(&self) -> bool {
        match self {
            Self::NotSent(Unsent::NoCluster | Unsent::NotAccepted)
            | Self::NoAnswer
            | Self::WaitTimedOut
            | Self::ProtocolError
            | Self::Closed
            | Self::Reset
            | Self::Status(429 | 500..=599) => true,
            Self::NotSent(_)
            | Self::NotConfigured
            | Self::Replaced
            | Self::TooManyWait
            | Self::Status(_)
            | Self::TooLarge { .. }
            | Self::Unreadable(_)
            | Self::Html(_)
            | Self::HashMismatch
            | Self::NoHash(_) => false,
        }
    }
}

impl fmt::Display for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoCluster => "Envoy has no such cluster",
            Self::Overflow => "the cluster's circuit breaker is full",
            Self::NotAccepted => {
                "Envoy could not send it: no healthy host, or a full circuit breaker"
            }
            Self::TooManyInFlight => {
                "as many are in flight as lookup.max_concurrent leaves for requests (3/4)"
            }
            Self::Backoff => "lookups fail, so only 10 per second are sent",
            Self::RetryAfter => "the auth cluster asked to wait, with retry-after",
        })
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConfigured => {
                f.write_str("no lookup was made: the filter has no configuration")
            }
            Self::Replaced => {
                f.write_str("no answer: the filter was reconfigured while the request waited")
            }
            Self::NotSent(reason) => write!(f, "no lookup was made: {reason}"),
            Self::NoAnswer => f.write_str("no answer: the connection was reset"),
            Self::WaitTimedOut => f.write_str(
                "no answer within lookup.timeout: the lookup was started by another request",
            ),
            Self::TooManyWait => {
                f.write_str("no lookup was made: too many requests are already waiting")
            },
            Self::ProtocolError => f.write_str(
                "no answer: protocol error. Is the cluster configured for HTTP/2, but the auth \
                 cluster speaks HTTP/1.1, or the reverse? Over TLS, does it need lookup.scheme \
                 \"https\"?",
            ),
            Self::Closed => f.write_str(
                "no answer: the auth cluster closed the connection. If it always does, is the \
                 cluster configured for HTTP/2, but the auth cluster speaks HTTP/1.1?",
            ),
            Self::Reset => f.write_str(
                "no answer: the auth cluster reset the stream. Over TLS, does it need lookup.scheme \
                 \"https\"?",
            ),
            Self::Status(504) => {
                f.write_str("answer 504: lookup.timeout passed, or the auth cluster returned it")
            }
            Self::Status(503) => f.write_str(
                "answer 503: no connection to the auth cluster, or the auth cluster returned it",
            ),
            Self::Status(status) => write!(f, "answer {status}; expected 200, 404 or 410"),
            Self::TooLarge { bytes } => {
                write!(
                    f,
                    "an answer of {bytes} bytes, over the limit of {MAX_ANSWER}"
                )
            }
            Self::Unreadable(problem) => write!(f, "answer 200, but not a record: {problem}"),
            Self::Html(status) => write!(
                f,
                "answer {status} with an HTML page, as from a gateway or a missing route; expected \
                 JSON or no body"
            ),
            Self::HashMismatch => f.write_str(
                "an answer about another key: its x-keystile-key-hash is not the hash that was looked up",
            ),
            Self::NoHash(status) => write!(
                f,
                "answer {status} without x-keystile-key-hash, which lookup.require_key_hash demands"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_causes() {
        let cases = [
            (Cause::NotSent(Unsent::NoCluster), "no such cluster"),
            (
                Cause::NotSent(Unsent::TooManyInFlight),
                "lookup.max_concurrent",
            ),
            (Cause::NotSent(Unsent::Backoff), "only 10 per second"),
            (Cause::NotSent(Unsent::RetryAfter), "retry-after"),
            (Cause::NoAnswer, "reset"),
            (Cause::ProtocolError, "HTTP/2"),
            (Cause::Closed, "closed the connection"),
            (Cause::Reset, "reset the stream"),
            (Cause::Html(404), "answer 404 with an HTML page"),
            (Cause::NoHash(404), "answer 404 without x-keystile-key-hash"),
            (Cause::WaitTimedOut, "within lookup.timeout"),
            (Cause::TooManyWait, "too many requests"),
            (Cause::Status(504), "lookup.timeout passed"),
            (Cause::Status(503), "no connection"),
            (Cause::Status(418), "answer 418"),
            (Cause::TooLarge { bytes: 70_000 }, "70000 bytes"),
            (
                Cause::Unreadable("status must be".to_owned()),
                "not a record: status must be",
            ),
        ];
        for (cause, expected) in cases {
            let text = cause.to_string();
            assert!(text.contains(expected), "{text}");
        }
    }
}
