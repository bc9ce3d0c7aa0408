//! The verdict: what the auth cluster's answer means, and how long it may be kept.

#![forbid(unsafe_code)]

use std::fmt;
use std::hint::black_box;
use std::rc::Rc;
use std::time::Duration;

use crate::auth::record::{self, Record, Status};
use crate::request::key_hash::KeyHash;

/// The largest answer that is read, in bytes.
pub const MAX_ANSWER: usize = 64 * 1024;

/// A typical record.
const TYPICAL_RECORD: &[u8] = br#"{"key_id":"key_01HXYZABCDEFGHJKMNPQRSTVWX","status":"active","account_id":"acct_01HXYZABCDEFGHJKMNPQRSTVWX","environment":"production","expires_at":"2999-01-01T00:00:00Z","endpoints":["/v1/numerology/"]}"#;

/// The outcome of a lookup. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is an active record.
    Active(Rc<Record>),
    /// There is a revoked record.
    Revoked(Rc<Record>),
    /// There is no record.
    NotFound,
    /// There is no usable answer. This is neither an allow nor a denial.
    Indeterminate(Cause),
}

/// Where a request's verdict came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The request's own lookup.
    Lookup,
    /// The cache.
    Cache,
    /// An expired cache entry, used in an outage.
    Stale,
    /// A lookup that another request or a cache refresh had started.
    Coalesced,
}

impl Source {
    /// Returns the source of a verdict from the request's own lookup, or `None` if it is
    /// indeterminate.
    pub const fn of_lookup(verdict: &Verdict) -> Option<Self> {
        match verdict {
            Verdict::Indeterminate(_) => None,
            Verdict::Active(_) | Verdict::Revoked(_) | Verdict::NotFound => Some(Self::Lookup),
        }
    }

    /// Returns the name in statistics and access logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lookup => "lookup",
            Self::Cache => "cache",
            Self::Stale => "stale",
            Self::Coalesced => "coalesced",
        }
    }
}

/// Why a callout was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// There is no such cluster.
    NoCluster,
    /// The cluster's circuit breaker is full.
    Overflow,
    /// The cluster has no healthy host, or its circuit breaker is full. Envoy does not say which.
    NotAccepted,
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
    /// The answer is a 200 with a body over [`MAX_ANSWER`].
    TooLarge {
        /// The body's size.
        bytes: usize,
    },
    /// The answer is a 200 whose body is not a record.
    Unreadable(String),
    /// The answer names another hash.
    HashMismatch,
}

impl fmt::Display for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoCluster => "Envoy has no such cluster",
            Self::Overflow => "the cluster's circuit breaker is full",
            Self::NotAccepted => {
                "Envoy could not send it: no healthy host, or a full circuit breaker"
            }
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
            Self::HashMismatch => f.write_str(
                "an answer about another key: its x-keystile-key-hash is not the hash that was looked up",
            ),
        }
    }
}

/// An answer from the auth cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The verdict.
    pub verdict: Verdict,
    /// How long the verdict may be kept at most, if the answer says so. Zero means not at all.
    pub max_age: Option<Duration>,
}

impl Answer {
    /// Reads an answer. `status` is its `:status`, or `None` if it has none. `cache_control` has
    /// all values of that header. `body` is called only if the status is a verdict and the body is
    /// not too large.
    pub fn read<'a>(
        status: Option<&[u8]>,
        cache_control: impl Iterator<Item = &'a [u8]>,
        body_size: usize,
        body: impl FnOnce() -> Vec<u8>,
    ) -> Self {
        let Some(status) = status.and_then(parse_status) else {
            return Self::none(Cause::NoAnswer);
        };
        let verdict = match status {
            200 if body_size > MAX_ANSWER => {
                Verdict::Indeterminate(Cause::TooLarge { bytes: body_size })
            }
            200 => match record::read(&body()) {
                Ok((Status::Active, record)) => Verdict::Active(Rc::new(record)),
                Ok((Status::Revoked, record)) => Verdict::Revoked(Rc::new(record)),
                Err(problem) => Verdict::Indeterminate(Cause::Unreadable(problem)),
            },
            404 | 410 => {
                // Do as much work as for a record. Otherwise, a client could tell by the response
                // time that there is a record in another environment.
                if body_size <= MAX_ANSWER {
                    let _ = black_box((body(), record::read(black_box(TYPICAL_RECORD))));
                }
                Verdict::NotFound
            }
            other => Verdict::Indeterminate(Cause::Status(other)),
        };
        Self {
            verdict,
            max_age: cache_control.filter_map(max_age).min(),
        }
    }

    /// Returns the answer to the lookup of `hash` if every hash that it names is that one.
    /// Otherwise, a connection or a cache on the way has mixed up answers, and there is no verdict.
    pub fn about<'a>(self, hash: &KeyHash, mut said: impl Iterator<Item = &'a [u8]>) -> Self {
        let is_verdict = !matches!(self.verdict, Verdict::Indeterminate(_));
        if is_verdict && said.any(|said| KeyHash::from_hex(said).as_ref() != Some(hash)) {
            return Self::none(Cause::HashMismatch);
        }
        self
    }

    /// Returns an answer without a verdict.
    pub fn none(cause: Cause) -> Self {
        Self {
            verdict: Verdict::Indeterminate(cause),
            max_age: None,
        }
    }
}

/// Parses a `:status`, which has three digits (RFC 9110 section 15).
pub(crate) fn parse_status(status: &[u8]) -> Option<u16> {
    let digits = Some(status).filter(|status| status.len() == 3)?;
    digits.iter().try_fold(0_u16, |number, byte| {
        let digit = char::from(*byte).to_digit(10)?;
        Some(
            number
                .wrapping_mul(10)
                .wrapping_add(u16::try_from(digit).ok()?),
        )
    })
}

/// Returns the shortest lifetime in a `cache-control` (RFC 9111 section 5.2.2), if it sets one.
/// Directives are compared without case. An unreadable lifetime counts as zero (section 4.2.1).
fn max_age(value: &[u8]) -> Option<Duration> {
    let lives = value.split(|byte| *byte == b',').filter_map(|directive| {
        let (name, argument) = match directive.iter().position(|byte| *byte == b'=') {
            Some(at) => directive.split_at_checked(at)?,
            None => (directive, &[][..]),
        };
        let name = name.trim_ascii();
        if name.eq_ignore_ascii_case(b"no-store") || name.eq_ignore_ascii_case(b"no-cache") {
            return Some(Duration::ZERO);
        }
        name.eq_ignore_ascii_case(b"max-age")
            .then(|| delta_seconds(argument))
    });
    lives.min()
}

/// Parses `=60` or `="60"`. A number that is too large becomes the longest duration (RFC 9111
/// section 1.2.2).
fn delta_seconds(argument: &[u8]) -> Duration {
    let digits = argument
        .trim_ascii()
        .strip_prefix(b"=")
        .unwrap_or_default()
        .trim_ascii();
    let digits = digits
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""))
        .unwrap_or(digits);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Duration::ZERO;
    }
    let seconds = std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| digits.parse().ok());
    Duration::from_secs(seconds.unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
