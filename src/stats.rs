//! Statistics: the names of the counters, and which of them an event counts in.
//!
//! A name is `keystile.<what>.<kind>.total`, which Prometheus shows as
//! `keystile_<what>_<kind>_total`; Envoy can make a label of `<kind>`.

use crate::flow::Outcome;
use crate::lookup::Verdict;
use crate::reply::Denial;

/// A counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Counter {
    RequestsAllowed,
    RequestsExempt,
    RequestsMissing,
    RequestsInvalid,
    RequestsNotFound,
    RequestsRevoked,
    RequestsRestricted,
    RequestsInternal,
    LookupsActive,
    LookupsRevoked,
    LookupsNotFound,
    LookupsIndeterminate,
}

impl Counter {
    /// All counters, to be defined once.
    pub const ALL: [Self; 12] = [
        Self::RequestsAllowed,
        Self::RequestsExempt,
        Self::RequestsMissing,
        Self::RequestsInvalid,
        Self::RequestsNotFound,
        Self::RequestsRevoked,
        Self::RequestsRestricted,
        Self::RequestsInternal,
        Self::LookupsActive,
        Self::LookupsRevoked,
        Self::LookupsNotFound,
        Self::LookupsIndeterminate,
    ];

    /// The counter's full name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RequestsAllowed => "keystile.requests.allowed.total",
            Self::RequestsExempt => "keystile.requests.exempt.total",
            Self::RequestsMissing => "keystile.requests.api_key_missing.total",
            Self::RequestsInvalid => "keystile.requests.api_key_invalid.total",
            Self::RequestsNotFound => "keystile.requests.api_key_not_found.total",
            Self::RequestsRevoked => "keystile.requests.api_key_revoked.total",
            Self::RequestsRestricted => "keystile.requests.endpoint_restricted.total",
            Self::RequestsInternal => "keystile.requests.internal_error.total",
            Self::LookupsActive => "keystile.lookups.active.total",
            Self::LookupsRevoked => "keystile.lookups.revoked.total",
            Self::LookupsNotFound => "keystile.lookups.not_found.total",
            Self::LookupsIndeterminate => "keystile.lookups.indeterminate.total",
        }
    }

    /// The counter of a request that came to `outcome`.
    pub const fn of_request(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Allowed => Self::RequestsAllowed,
            Outcome::Exempt => Self::RequestsExempt,
            Outcome::Refused(denial) => match denial {
                Denial::Missing => Self::RequestsMissing,
                Denial::Invalid => Self::RequestsInvalid,
                Denial::NotFound => Self::RequestsNotFound,
                Denial::Revoked | Denial::Expired => Self::RequestsRevoked,
                Denial::EndpointRestricted => Self::RequestsRestricted,
                Denial::Internal => Self::RequestsInternal,
            },
        }
    }

    /// The counter of a lookup that came to `verdict`.
    pub const fn of_lookup(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Active(_) => Self::LookupsActive,
            Verdict::Revoked(_) => Self::LookupsRevoked,
            Verdict::NotFound => Self::LookupsNotFound,
            Verdict::Indeterminate(_) => Self::LookupsIndeterminate,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lookup::Cause;

    #[test]
    fn each_outcome_has_a_counter_of_its_error() {
        let cases = [
            (Outcome::Allowed, "allowed"),
            (Outcome::Exempt, "exempt"),
            (Outcome::Refused(Denial::Missing), "api_key_missing"),
            (Outcome::Refused(Denial::Invalid), "api_key_invalid"),
            (Outcome::Refused(Denial::NotFound), "api_key_not_found"),
            (Outcome::Refused(Denial::Revoked), "api_key_revoked"),
            (Outcome::Refused(Denial::Expired), "api_key_revoked"),
            (
                Outcome::Refused(Denial::EndpointRestricted),
                "endpoint_restricted",
            ),
            (Outcome::Refused(Denial::Internal), "internal_error"),
        ];
        for (outcome, kind) in cases {
            let name = format!("keystile.requests.{kind}.total");
            assert_eq!(Counter::of_request(outcome).name(), name);
            assert_eq!(outcome.name(), kind);
        }
    }

    #[test]
    fn each_verdict_has_a_counter() {
        let record = crate::lookup::Record {
            key_id: "key_1".to_owned(),
            account_id: None,
            environment: None,
            expires_at: None,
            endpoints: None,
        };
        let cases = [
            (Verdict::Active(record.clone()), "active"),
            (Verdict::Revoked(record), "revoked"),
            (Verdict::NotFound, "not_found"),
            (Verdict::Indeterminate(Cause::NoAnswer), "indeterminate"),
        ];
        for (verdict, kind) in cases {
            let name = format!("keystile.lookups.{kind}.total");
            assert_eq!(Counter::of_lookup(&verdict).name(), name);
        }
    }

    /// The host finds a counter's metric by its place.
    #[test]
    fn each_counter_has_its_place() {
        for (place, counter) in Counter::ALL.into_iter().enumerate() {
            assert_eq!(counter as usize, place, "{counter:?}");
        }
    }
}
