//! Statistics: the names of the counters, and which of them an event counts in.
//!
//! A name is `keystile.<what>.<kind>.total`, which Prometheus shows as
//! `keystile_<what>_<kind>_total`; Envoy can make a label of `<kind>`.

use crate::flow::Outcome;
use crate::lookup::Verdict;

/// A counter by its full name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter(pub &'static str);

/// All counters, to be defined once.
pub const ALL: [Counter; 12] = [
    Counter("keystile.requests.allowed.total"),
    Counter("keystile.requests.exempt.total"),
    Counter("keystile.requests.api_key_missing.total"),
    Counter("keystile.requests.api_key_invalid.total"),
    Counter("keystile.requests.api_key_not_found.total"),
    Counter("keystile.requests.api_key_revoked.total"),
    Counter("keystile.requests.endpoint_restricted.total"),
    Counter("keystile.requests.internal_error.total"),
    Counter("keystile.lookups.active.total"),
    Counter("keystile.lookups.revoked.total"),
    Counter("keystile.lookups.not_found.total"),
    Counter("keystile.lookups.indeterminate.total"),
];

/// The counter of a request that came to `outcome`.
pub fn of_request(outcome: Outcome) -> Option<Counter> {
    named("requests", outcome.name())
}

/// The counter of a lookup that came to `verdict`.
pub fn of_lookup(verdict: &Verdict) -> Option<Counter> {
    let kind = match verdict {
        Verdict::Active(_) => "active",
        Verdict::Revoked(_) => "revoked",
        Verdict::NotFound => "not_found",
        Verdict::Indeterminate(_) => "indeterminate",
    };
    named("lookups", kind)
}

fn named(what: &str, kind: &str) -> Option<Counter> {
    ALL.into_iter().find(|counter| {
        let mut parts = counter.0.split('.').skip(1);
        parts.next() == Some(what) && parts.next() == Some(kind)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lookup::Cause;
    use crate::reply::Denial;

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
            assert_eq!(of_request(outcome).map(|c| c.0), Some(name.as_str()));
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
            assert_eq!(of_lookup(&verdict).map(|c| c.0), Some(name.as_str()));
        }
    }
}
