//! The verdict: what an answer of the auth cluster amounts to, and how long it may be kept.

#![forbid(unsafe_code)]

use std::fmt;
use std::hint::black_box;
use std::rc::Rc;
use std::time::Duration;

use crate::auth::record::{self, Record, Status};
use crate::request::key_hash::KeyHash;

/// The largest answer that is read, in bytes.
pub const MAX_ANSWER: usize = 64 * 1024;

/// A record as most are.
const USUAL: &[u8] = br#"{"key_id":"key_01HXYZABCDEFGHJKMNPQRSTVWX","status":"active","account_id":"acct_01HXYZABCDEFGHJKMNPQRSTVWX","environment":"production","expires_at":"2999-01-01T00:00:00Z","endpoints":["/v1/numerology/"]}"#;

/// What a lookup came to. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is an active record.
    Active(Rc<Record>),
    /// There is a revoked record.
    Revoked(Rc<Record>),
    /// There is no record.
    NotFound,
    /// Nobody knows: neither an allow nor a denial.
    Indeterminate(Cause),
}

/// Where a request's verdict came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A lookup of its own.
    Lookup,
    /// The cache.
    Cache,
    /// The cache, past its time, in an outage.
    Stale,
    /// A lookup that another request or the cache had begun.
    Coalesced,
}

impl Source {
    /// The source of what a request's own lookup came to; `None` where that is no verdict.
    pub const fn of_lookup(verdict: &Verdict) -> Option<Self> {
        match verdict {
            Verdict::Indeterminate(_) => None,
            Verdict::Active(_) | Verdict::Revoked(_) | Verdict::NotFound => Some(Self::Lookup),
        }
    }

    /// The name in statistics and access logs.
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
    /// The filter has no configuration to look anything up by.
    NotConfigured,
    /// The filter was reconfigured while the request waited.
    Replaced,
    /// The callout could not be made.
    NotSent(Unsent),
    /// The call ended without an answer.
    NoAnswer,
    /// The request waited for a lookup as long as one may take.
    Waited,
    /// Too many requests wait for a verdict.
    TooManyWait,
    /// An answer with a status that is no verdict.
    Status(u16),
    /// A 200 with a body over [`MAX_ANSWER`].
    TooLarge {
        /// The body's size.
        bytes: usize,
    },
    /// A 200 whose body is not a record.
    Unreadable(String),
    /// An answer that says it is about another hash.
    OfAnother,
}

impl fmt::Display for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoCluster => "Envoy knows no such cluster",
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
            Self::Waited => f.write_str("no answer within lookup.timeout to a lookup of others"),
            Self::TooManyWait => f.write_str("no lookup was made: too many requests wait for one"),
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
            Self::OfAnother => f.write_str(
                "an answer about another hash: its x-keystile-key-hash is not the one asked about",
            ),
        }
    }
}

/// A verdict as the auth cluster gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The verdict.
    pub verdict: Verdict,
    /// The longest that it may be kept, where the answer says; zero is not at all.
    pub max_age: Option<Duration>,
}

impl Answer {
    /// Reads an answer. `status` is its `:status`, `None` where there is none, and
    /// `cache_control` all values of that header; `body` is called only for a verdict's body that is
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
                // As much work as with a record: by the time, a client could tell that there is one,
                // in another environment.
                if body_size <= MAX_ANSWER {
                    let _ = black_box((body(), record::read(black_box(USUAL))));
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

    /// The answer to the lookup of `hash`, where each of the hashes that it says it is about is that
    /// one; otherwise no verdict: a connection or a cache on the way has mixed answers up.
    pub fn about<'a>(self, hash: &KeyHash, mut said: impl Iterator<Item = &'a [u8]>) -> Self {
        let is_verdict = !matches!(self.verdict, Verdict::Indeterminate(_));
        if is_verdict && said.any(|said| KeyHash::from_hex(said).as_ref() != Some(hash)) {
            return Self::none(Cause::OfAnother);
        }
        self
    }

    /// No answer, or none that could be read.
    pub fn none(cause: Cause) -> Self {
        Self {
            verdict: Verdict::Indeterminate(cause),
            max_age: None,
        }
    }
}

/// The number in a `:status`, which has three digits (RFC 9110 section 15).
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

/// The shortest life that `cache-control` (RFC 9111 section 5.2.2) gives an answer. Directives
/// are compared without case; what cannot be read counts as the shortest (section 4.2.1).
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

/// `=60` or `="60"`; a number beyond all measure is the longest (RFC 9111 section 1.2.2).
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
