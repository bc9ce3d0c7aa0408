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
