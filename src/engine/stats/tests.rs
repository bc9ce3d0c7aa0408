use std::collections::BTreeSet;
use std::rc::Rc;

use super::*;
use crate::auth::cause::Cause;
use crate::auth::record::{Fields, Record};
use crate::request::key_hash::KeyHasher;

#[test]
fn each_outcome_has_a_counter_of_its_name() {
    for outcome in Outcome::all() {
        let name = format!("keystile.requests.{}.total", outcome.name());
        assert_eq!(Counter::of_request(outcome).name(), name);
    }
}

#[test]
fn each_verdict_has_a_counter() {
    let record = Record::new(Fields::new("key_1"));
    let record = Rc::new(record.unwrap());
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

#[test]
fn each_source_has_a_counter() {
    for source in [
        Source::Lookup,
        Source::Cache,
        Source::Stale,
        Source::Coalesced,
    ] {
        let name = format!("keystile.verdicts.{}.total", source.name());
        assert_eq!(Counter::of_source(source).name(), name);
    }
}

#[test]
fn each_pool_has_its_counters() {
    for (pool, name) in [(PoolName::Allow, "allow"), (PoolName::Deny, "deny")] {
        let evictions = format!("keystile.cache.{name}.evictions.total");
        assert_eq!(Counter::of_evictions(pool).name(), evictions);
        let insertions = format!("keystile.cache.{name}.insertions.total");
        assert_eq!(Counter::of_insertions(pool).name(), insertions);
    }
}

#[test]
fn each_poll_has_a_counter() {
    let cases = [
        (Ok(Changed::Keys(Vec::new())), "current"),
        (
            Ok(Changed::Keys(vec![KeyHasher::default().hash(b"key")])),
            "changes",
        ),
        (Ok(Changed::Any), "reset"),
        (Err("no answer".to_owned()), "failed"),
    ];
    for (changed, kind) in cases {
        let name = format!("keystile.feed_polls.{kind}.total");
        assert_eq!(Counter::of_poll(&changed).name(), name);
    }
}

#[test]
fn each_counter_has_a_name_and_a_place_of_its_own() {
    let names: BTreeSet<_> = Counter::all().map(Counter::name).collect();
    let places: BTreeSet<_> = Counter::all().map(Counter::place).collect();
    assert_eq!(names.len(), Counter::all().count());
    assert_eq!(places.len(), Counter::all().count());
    assert!(places.iter().all(|place| *place < Counter::PLACES));
}

/// Either by the full name, or by the part that differs from the one before: `…_stale_total`.
#[test]
fn each_statistic_is_documented() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/observability.md");
    let page = std::fs::read_to_string(page).unwrap();
    let names = Counter::all().map(Counter::name);
    for name in names.chain([LOOKUP_DURATION.into()]) {
        let kind = name.split('.').nth(2).unwrap();
        let names = [
            format!("`{}`", name.replace('.', "_")),
            format!("`…_{kind}_total`"),
        ];
        assert!(names.iter().any(|name| page.contains(name)), "{name}");
    }
}
