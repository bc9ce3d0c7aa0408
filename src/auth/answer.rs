//! The verdict: what a lookup found out about a key.

#![forbid(unsafe_code)]

use std::rc::Rc;
use std::time::Duration;

use crate::auth::cause::Cause;
use crate::auth::record::Record;

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

/// An answer from the auth cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The verdict.
    pub verdict: Verdict,
    /// How long the verdict may be kept at most, if the answer says so. Zero means not at all.
    pub max_age: Option<Duration>,
    /// How long the auth cluster asks to wait before the next lookup, if it does.
    pub retry_after: Option<Duration>,
    /// Whether the answer names the hash that was looked up.
    pub names_hash: bool,
}

impl Answer {
    /// Returns an answer without a verdict.
    pub fn none(cause: Cause) -> Self {
        Self {
            verdict: Verdict::Indeterminate(cause),
            max_age: None,
            retry_after: None,
            names_hash: false,
        }
    }
}
