//! The answers of an auth cluster.

use std::time::Duration;

use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::At;

/// A kind of answer, with its letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `A`
    Active,
    /// `S`: of another environment.
    ActiveInStaging,
    /// `E`: expires [`LIFE`] after the answer.
    ActiveForShort,
    /// `M`: with `max-age=0`.
    ActiveNotToBeKept,
    /// `m`: with `max-age=1`.
    ActiveForASecond,
    /// `B`: with too many endpoints to be kept.
    ActiveAndLarge,
    /// `R`
    Revoked,
    /// `T`: of another environment.
    RevokedInStaging,
    /// `N`
    NotFound,
    /// `n`: with `max-age=1`.
    NotFoundForASecond,
    /// `5`: a timeout, as the proxy reports it.
    TimedOut,
    /// `U`
    Unreadable,
    /// `X`: about another hash.
    HashMismatch,
    /// `0`: the connection was reset.
    Reset,
    /// `O`: from the proxy itself, because the circuit breaker was full.
    Overflow,
}

/// How long [`Kind::ActiveForShort`] lasts, in ms.
pub(super) const LIFE: u64 = 300;

impl Kind {
    pub(super) const ALL: [(u8, Self); 15] = [
        (b'A', Self::Active),
        (b'S', Self::ActiveInStaging),
        (b'E', Self::ActiveForShort),
        (b'M', Self::ActiveNotToBeKept),
        (b'm', Self::ActiveForASecond),
        (b'B', Self::ActiveAndLarge),
        (b'R', Self::Revoked),
        (b'T', Self::RevokedInStaging),
        (b'N', Self::NotFound),
        (b'n', Self::NotFoundForASecond),
        (b'5', Self::TimedOut),
        (b'U', Self::Unreadable),
        (b'X', Self::HashMismatch),
        (b'0', Self::Reset),
        (b'O', Self::Overflow),
    ];

    pub(super) fn of(letter: u8) -> Self {
        let found = Self::ALL.iter().find(|(other, _)| *other == letter);
        let other = Self::ALL[usize::from(letter) % Self::ALL.len()];
        found.unwrap_or(&other).1
    }

    pub(super) fn is_active(self) -> bool {
        matches!(
            self,
            Self::Active
                | Self::ActiveInStaging
                | Self::ActiveForShort
                | Self::ActiveNotToBeKept
                | Self::ActiveForASecond
                | Self::ActiveAndLarge
        )
    }

    pub(super) fn is_revoked(self) -> bool {
        matches!(self, Self::Revoked | Self::RevokedInStaging)
    }

    pub(super) fn is_not_found(self) -> bool {
        matches!(self, Self::NotFound | Self::NotFoundForASecond)
    }

    pub(super) fn is_verdict(self) -> bool {
        self.is_active() || self.is_revoked() || self.is_not_found()
    }

    pub(super) fn environment(self) -> &'static str {
        match self {
            Self::ActiveInStaging | Self::RevokedInStaging => "staging",
            _ => "production",
        }
    }

    /// Returns the `max-age`, in ms.
    pub(super) fn max_age(self) -> Option<u64> {
        match self {
            Self::ActiveNotToBeKept => Some(0),
            Self::ActiveForASecond | Self::NotFoundForASecond => Some(1_000),
            _ => None,
        }
    }
}

/// An answer that was given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given {
    pub(super) kind: Kind,
    pub(super) key: usize,
    /// When its lookup was sent.
    pub(super) made: At,
    /// When its key expires, since the Unix epoch.
    pub(super) ends: Option<Duration>,
}

impl Given {
    pub(super) fn new(kind: Kind, key: usize, made: At, wall: Duration) -> Self {
        let ends = wall + Duration::from_millis(LIFE);
        Self {
            kind,
            key,
            made,
            ends: (kind == Kind::ActiveForShort).then_some(ends),
        }
    }

    /// Returns the answer as the proxy gets it. A record's key ID is the answer's number.
    pub(super) fn response(&self, number: usize, hash: &str) -> Response {
        let (status, body) = match self.kind {
            kind if kind.is_active() => ("200", self.record(number, "active")),
            kind if kind.is_revoked() => ("200", self.record(number, "revoked")),
            kind if kind.is_not_found() => ("404", String::new()),
            Kind::HashMismatch => ("200", self.record(number, "active")),
            Kind::Unreadable => ("200", "no record".to_owned()),
            Kind::Reset => return Response::default(),
            Kind::Overflow => ("503", "overflow".to_owned()),
            _ => ("504", "timeout".to_owned()),
        };
        let mut headers = vec![(":status", status.to_owned())];
        match self.kind {
            Kind::HashMismatch => headers.push(("x-keystile-key-hash", "0".repeat(64))),
            // Auth clusters may omit it.
            _ if number.is_multiple_of(2) => headers.push(("x-keystile-key-hash", hash.to_owned())),
            _ => {}
        }
        if self.kind == Kind::Overflow {
            headers.push(("x-envoy-overloaded", "true".to_owned()));
        }
        if let Some(ms) = self.kind.max_age() {
            headers.push(("cache-control", format!("max-age={}", ms / 1_000)));
        }
        Response { headers, body }
    }

    fn record(&self, number: usize, status: &str) -> String {
        let ends = self.ends.map(|end| {
            let nanoseconds = i128::try_from(end.as_nanos()).expect("soon");
            let end = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).expect("soon");
            end.format(&Rfc3339).expect("soon")
        });
        let long = format!("/{}", "x".repeat(5_000));
        let record = json!({
            "key_id": number.to_string(),
            "status": status,
            "environment": self.kind.environment(),
            "expires_at": ends,
            "endpoints": (self.kind == Kind::ActiveAndLarge).then_some(["/", &long]),
        });
        record.to_string()
    }
}

/// An HTTP response; without headers if the connection was reset.
#[derive(Default)]
pub(super) struct Response {
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
}

impl Response {
    pub(super) fn new(status: &str, body: String) -> Self {
        Self {
            headers: vec![(":status", status.to_owned())],
            body,
        }
    }
}
