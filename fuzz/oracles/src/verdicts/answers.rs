//! What an auth cluster may answer.

use std::rc::Rc;
use std::time::Duration;

use keystile::auth::answer::{Answer, Cause, Unsent, Verdict};
use keystile::auth::record::{Fields, Record};

use super::At;

/// A kind of answer, by its letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `A`
    Active,
    /// `S`: of another environment.
    ActiveInStaging,
    /// `E`: until [`LIFE`] from when it was given.
    ActiveForShort,
    /// `M`: with `max-age=0`.
    ActiveNotToBeKept,
    /// `m`: with `max-age=1`.
    ActiveForASecond,
    /// `B`: with more endpoints than are kept.
    ActiveAndLarge,
    /// `R`
    Revoked,
    /// `T`: of another environment.
    RevokedInStaging,
    /// `N`
    NotFound,
    /// `n`: with `max-age=1`.
    NotFoundForASecond,
    /// `5`
    TimedOut,
    /// `U`
    Unreadable,
    /// `0`: for whatever reason.
    NotSent,
    /// `O`: as the circuit breaker was full.
    Overflow,
}

/// In ms.
pub(super) const LIFE: u64 = 300;

impl Kind {
    pub(super) const ALL: [(u8, Self); 14] = [
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
        (b'0', Self::NotSent),
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

    /// In ms.
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
    /// When its callout was made.
    pub(super) made: At,
    /// When its key ends, since the Unix epoch.
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

    /// As the filter gets it. A record bears the answer's number.
    pub(super) fn answer(&self, number: usize) -> Answer {
        let long = format!("/{}", "x".repeat(5_000));
        let endpoints = ["/", &long];
        let name = number.to_string();
        let record = Record::new(Fields {
            key_id: &name,
            account_id: None,
            environment: Some(self.kind.environment()),
            expires_at: self.ends,
            endpoints: (self.kind == Kind::ActiveAndLarge).then_some(&endpoints),
        });
        let record = Rc::new(record.expect("a good record"));
        let verdict = match self.kind {
            kind if kind.is_active() => Verdict::Active(record),
            kind if kind.is_revoked() => Verdict::Revoked(record),
            kind if kind.is_not_found() => Verdict::NotFound,
            Kind::Unreadable => Verdict::Indeterminate(Cause::Unreadable("no record".to_owned())),
            Kind::NotSent => Verdict::Indeterminate(Cause::NotSent(Unsent::NotAccepted)),
            Kind::Overflow => Verdict::Indeterminate(Cause::NotSent(Unsent::Overflow)),
            _ => Verdict::Indeterminate(Cause::Status(504)),
        };
        Answer {
            verdict,
            max_age: self.kind.max_age().map(Duration::from_millis),
        }
    }
}
