use std::rc::Rc;
use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::prelude::{Strategy, any};
use proptest::{prop_assert, prop_assert_eq, proptest};

use super::*;
use crate::auth::record::{Fields, Record};
use crate::config;
use crate::request::key_hash::KeyHasher;

fn rules(cache: &str) -> CacheRules {
    let config = format!(r#"{{"lookup":{{"cluster":"auth"}},"cache":{cache}}}"#);
    config::parse(config.as_bytes()).unwrap().cache
}

fn cache(text: &str) -> Cache {
    Cache::new(rules(text), Seed::new(7))
}

/// Hashing is slow without optimisation, and these tests do little else.
static HASHES: LazyLock<Vec<KeyHash>> = LazyLock::new(|| {
    let keys = 0..9_000_u32;
    keys.map(|key| KeyHasher::default().hash(&key.to_be_bytes()))
        .collect()
});

fn hash(key: usize) -> KeyHash {
    HASHES[key]
}

fn active() -> Verdict {
    let record = Record::new(Fields::new("key_1"));
    Verdict::Active(Rc::new(record.unwrap()))
}

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Returns how long a verdict on this hash is fresh, in ms.
fn fresh_for(cache: &mut Cache, hash: &KeyHash) -> u64 {
    let fresh = |found| matches!(found, Some(Found::Fresh { .. }));
    (0..=70_000)
        .find(|ms| !fresh(cache.find(hash, Freshness::default(), at(*ms))))
        .unwrap()
}

#[test]
fn jitter_spreads_the_ends_of_verdicts() {
    let mut cache = cache(r#"{"allow_ttl":"10s","jitter":0.1}"#);
    let mut ends = Vec::new();
    for key in 0..200 {
        let hash = hash(key);
        cache.keep(hash, &active(), None, at(0));
        let end = fresh_for(&mut cache, &hash);
        // A key's verdict ends at the same time on every worker, and never late.
        cache.keep(hash, &active(), None, at(0));
        assert_eq!(fresh_for(&mut cache, &hash), end);
        assert!((9_000..=10_000).contains(&end), "{end}");
        ends.push(end);
    }
    let early = ends.iter().filter(|end| **end < 9_500).count();
    assert!(
        (60..140).contains(&early),
        "{early} of 200 in the first half"
    );
}

#[test]
fn jitter_stays_within_its_limits() {
    for (jitter, ttl, shortest, longest) in [
        ("0", "10s", 10_000, 10_000),
        ("1", "10s", 1, 10_000),
        ("0.5", "10s", 5_000, 10_000),
        ("1", "1ms", 1, 1),
    ] {
        let mut cache = cache(&format!(r#"{{"allow_ttl":"{ttl}","jitter":{jitter}}}"#));
        for key in 0..50 {
            cache.keep(hash(key), &active(), None, at(0));
            let end = fresh_for(&mut cache, &hash(key));
            assert!((shortest..=longest).contains(&end), "{jitter} {ttl}: {end}");
        }
    }
}

#[test]
fn ratios_are_from_zero_to_one() {
    for (ratio, of_a_thousand) in [
        (0.0, Some(0)),
        (0.000_4, Some(0)),
        (0.001, Some(1)),
        (0.8, Some(800)),
        (1.0, Some(1000)),
        (1.000_001, None),
        (-0.1, None),
        (f64::NAN, None),
        (f64::INFINITY, None),
    ] {
        let of = Ratio::new(ratio).map(|ratio| ratio.of(1000));
        assert_eq!(of, of_a_thousand, "{ratio}");
    }
    assert_eq!(Ratio::new(1.0).unwrap().of(u64::MAX), u64::MAX / 1_000_000);
}

/// Pools limit the number of entries, not their size, so the size of a record must be limited.
#[test]
fn large_records_are_not_cached() {
    for (length, kept) in [(4_000, true), (4_096, false)] {
        let endpoint = format!("/{}", "x".repeat(length));
        let endpoints: &[&str] = &[&endpoint];
        let record = Record::new(Fields {
            key_id: "key_1",
            endpoints: Some(endpoints),
            ..Fields::default()
        });
        let record = Rc::new(record.unwrap());
        for verdict in [
            Verdict::Active(Rc::clone(&record)),
            Verdict::Revoked(record),
        ] {
            let mut cache = cache("{}");
            cache.keep(hash(1), &active(), None, at(0));
            cache.keep(hash(1), &verdict, None, at(0));
            // The verdict before is not kept either.
            assert_eq!(
                cache.find(&hash(1), Freshness::default(), at(0)).is_some(),
                kept,
                "{length}"
            );
        }
    }
}

/// A verdict whose lookup is in the future, as after a fault of the host, is not fresh.
#[test]
fn a_verdict_from_the_future_is_not_fresh() {
    let mut cache = cache("{}");
    cache.keep(hash(1), &active(), None, at(5_000));
    assert_eq!(cache.find(&hash(1), Freshness::default(), at(4_999)), None);
}

#[derive(Clone, Debug)]
struct Event {
    key: usize,
    verdict: u8,
    find: bool,
}

fn events(keys: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Event>> {
    let event = (keys, 0..3_u8, any::<bool>());
    vec(
        event.prop_map(|(key, verdict, find)| Event { key, verdict, find }),
        0..200,
    )
}

fn verdict(number: u8) -> Verdict {
    match (number, active()) {
        (0, active) => active,
        (1, Verdict::Active(record)) => Verdict::Revoked(record),
        _ => Verdict::NotFound,
    }
}

proptest! {
    /// Denials of other keys, however many, do not affect active keys: the same events without them
    /// have the same results.
    #[test]
    fn denials_evict_no_active_records(allows in events(0..60), flood in events(1_000..9_000)) {
        let small = r#"{"max_allow_entries":20,"max_deny_entries":5}"#;
        let (mut flooded, mut quiet) = (cache(small), cache(small));
        let mut flood = flood.into_iter();
        for (ms, event) in (0..).zip(allows) {
            for noise in flood.by_ref().take(3) {
                let denial = verdict(noise.verdict.max(1));
                if noise.find {
                    flooded.find(&hash(noise.key), Freshness::default(), at(ms));
                }
                flooded.keep(hash(noise.key), &denial, None, at(ms));
            }
            for cache in [&mut flooded, &mut quiet] {
                if !event.find {
                    cache.keep(hash(event.key), &active(), None, at(ms));
                }
            }
            for key in 0..60 {
                let found = [&mut flooded, &mut quiet].map(|cache| cache.find(&hash(key), Freshness::default(), at(ms)));
                prop_assert_eq!(&found[0], &found[1], "key {}", key);
            }
        }
        prop_assert!(flooded.entries(PoolName::Deny) <= 5);
        prop_assert_eq!(quiet.take_counts(PoolName::Deny).1, 0);
    }

    /// A hash is in at most one pool, and the verdict that was kept last is found.
    #[test]
    fn only_the_last_verdict_on_a_key_is_cached(events in events(0..30)) {
        let mut cache = cache("{}");
        let mut last = std::collections::BTreeMap::new();
        for (ms, event) in (0..).zip(events) {
            let verdict = verdict(event.verdict);
            cache.keep(hash(event.key), &verdict, None, at(ms));
            last.insert(event.key, verdict);
            for (key, verdict) in &last {
                let expected = Found::Fresh { verdict: verdict.clone(), ends_soon: false, failed: None };
                prop_assert_eq!(cache.find(&hash(*key), Freshness::default(), at(ms)), Some(expected));
            }
            let entries = PoolName::ALL.map(|pool| cache.entries(pool));
            prop_assert_eq!(entries.iter().sum::<usize>(), last.len());
        }
    }
}

/// Until a record is looked up again, it is only used if that fails.
#[test]
fn expired_verdicts_are_stale_and_other_verdicts_than_active_are_gone() {
    let rules = r#"{"jitter":0,"refresh_ahead":1,"allow_ttl":"1h","stale_if_error":"10s"}"#;
    // When all verdicts expire, until when all changes are known then, and how long the record stays
    // in grace. It was looked up at 1000 ms.
    let cases = [
        (2_000, None, 11_000),
        (2_000, Some(500), 11_000),
        (2_000, Some(1_500), 11_500),
        (900_000, Some(899_000), 909_000),
    ];
    for (expired, complete_until, end) in cases {
        let mut cache = cache(rules);
        cache.keep(hash(1), &active(), None, at(1_000));
        cache.keep(hash(2), &Verdict::NotFound, None, at(1_000));
        cache.expire(complete_until.map(at));
        let later = Freshness {
            complete_until: Some(at(expired)),
            allow_limit: None,
        };
        let mut find = |key, ms| cache.find(&hash(key), later, at(ms));
        for ms in [expired, end - 1] {
            let found = find(1, ms);
            assert!(
                matches!(found, Some(Found::Grace { .. })),
                "{found:?} at {ms} ms"
            );
            assert_eq!(find(2, ms), None);
        }
        assert_eq!(find(1, end), None, "at {end} ms");
    }
}

#[test]
fn a_verdict_can_be_removed() {
    let mut cache = cache("{}");
    for verdict in [active(), Verdict::NotFound] {
        cache.keep(hash(1), &verdict, None, at(0));
        cache.remove(&hash(2));
        assert!(cache.find(&hash(1), Freshness::default(), at(0)).is_some());
        cache.remove(&hash(1));
        assert_eq!(cache.find(&hash(1), Freshness::default(), at(0)), None);
    }
}
