//! The cache: few lookups, short-lived verdicts, and outages that known keys do not notice.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use keystile_e2e::keys::{GOOD, hash, made_up_key};
use keystile_e2e::load::{self, Request};
use keystile_e2e::process::until;
use keystile_e2e::rule_auth::RuleAuth;
use keystile_e2e::scripted_auth::{Script, answer, answer_with};
use serde_json::{Value, json};

use crate::stage::{Asks, Setup, Stage};
use crate::world::World;

trials! { Together:
    "cache: few lookups" => few_lookups,
    "cache: outage" => outage,
    "cache: recovery" => recovery,
    "cache: a full breaker is no outage" => a_full_breaker_is_no_outage,
    "cache: changes are seen in time" => changes_are_seen_in_time,
    "cache: refresh ahead" => refresh_ahead,
    "cache: cache-control" => cache_control,
}

trials! { Alone:
    "cache: flood" => flood,
    "cache: memory" => memory,
}

/// Returns a configuration in which no verdict ends early or is refreshed.
fn exact(allow_ttl: &str, stale_if_error: &str) -> Value {
    json!({
        "allow_ttl": allow_ttl,
        "stale_if_error": stale_if_error,
        "jitter": 0,
        "refresh_ahead": 1,
    })
}

/// 1000 requests with one key cost each worker one lookup, or two if there is a refresh.
fn few_lookups(world: &World) -> Result<()> {
    let setup = Setup {
        workers: 2,
        ..Setup::new(json!({}))
    };
    setup.run(|stage| {
        let key = stage.create()?.key;
        let requests = (0..1000).map(|_| Request::new("/v1/x", key.clone()));
        // Enough connections for both workers to get some.
        let outcomes = world
            .runtime
            .block_on(load::run(stage.to, 16, 1, requests))?;
        ensure!(
            outcomes.by_status == [(200, 1000)].into() && outcomes.failed == 0,
            "{outcomes:?}"
        );
        let lookups = stage.lookups(&key)?;
        ensure!((1..=4).contains(&lookups), "{lookups} lookups");
        println!("1000 requests with one key on 2 workers: {lookups} lookups");
        stage.wait_for("requests.allowed.total", 1000)?;
        let sources = ["lookup", "cache", "stale", "coalesced"];
        let mut counted = 0;
        for source in sources {
            counted += stage.counter(&format!("verdicts.{source}.total"))?;
        }
        ensure!(counted == 1000, "{counted} verdicts are counted by source");
        Ok(())
    })
}

/// If the auth cluster is gone or silent, a known key is served for the whole grace period and an
/// unknown one is not. After the grace period, no key is served.
fn outage() -> Result<()> {
    for silent in [false, true] {
        let setup = Setup {
            timeout: "300ms",
            ..Setup::new(exact("1s", "6s"))
        };
        setup
            .run(|stage| one_outage(stage, silent))
            .with_context(|| format!("silent: {silent}"))?;
    }
    Ok(())
}

fn one_outage(stage: &mut Stage, silent: bool) -> Result<()> {
    const GRACE: Duration = Duration::from_secs(6);
    let key = stage.create()?.key;
    let unknown = stage.scripted_key(Script::Hang)?;
    let before = Instant::now();
    let (status, entry) = stage.logged("/v1/x", &key)?;
    let after = Instant::now();
    ensure!(
        (status, entry.as_str()) == (200, "outcome=allowed source=lookup"),
        "{status} {entry}"
    );
    if silent {
        stage.auth.script(&hash(&key)?, Script::Hang);
    } else {
        stage.begin_outage()?;
    }
    let (mut served, mut stale, mut refused) = (0_u64, 0_u64, 0_u64);
    // Early enough that each request is answered within the grace period.
    while before.elapsed() < GRACE - Duration::from_millis(900) {
        let (status, entry) = stage.logged("/v1/x", &key)?;
        ensure!(
            status == 200,
            "{status} {entry} after {:?}",
            before.elapsed()
        );
        match entry.as_str() {
            "outcome=allowed source=stale" => stale += 1,
            "outcome=allowed source=cache" => {
                ensure!(
                    before.elapsed() < Duration::from_millis(1500),
                    "fresh after {:?}",
                    before.elapsed()
                );
            }
            _ => anyhow::bail!("{entry}"),
        }
        served += 1;
        if served % 10 == 0 {
            let response = stage.get(&unknown)?;
            ensure!(response.status == 503, "an unknown key: {response:?}");
            ensure!(response.header("retry-after")? == Some("1"), "{response:?}");
            ensure!(
                response.text().contains("\"retry_after\":1,"),
                "{response:?}"
            );
            refused += 1;
        }
    }
    ensure!(stale > 20, "{stale} of {served} were stale");
    let failed = stage.counter("lookups.indeterminate.total")?;
    // One a second, and one that may be in flight.
    let tests = failed.saturating_sub(refused);
    ensure!(tests <= 7, "{tests} lookups in 6 s of grace");
    until(after + GRACE);
    let (status, entry) = stage.logged("/v1/x", &key)?;
    ensure!(
        status == 503 && entry.starts_with("outcome=internal_error request_id="),
        "after the grace: {status} {entry}"
    );
    println!(
        "outage (silent: {silent}): {served} served, {stale} of them stale, with {tests} lookups"
    );
    Ok(())
}

/// A full circuit breaker is not an outage: a flood of made-up keys must not keep a revoked key alive.
/// An expired verdict is served for another `allow_ttl_when_stale`, not `stale_if_error`.
fn a_full_breaker_is_no_outage() -> Result<()> {
    const FRESH: Duration = Duration::from_secs(1);
    const GRACE: Duration = Duration::from_secs(3);
    for (name, most_lookups) in [("full", Some(4)), ("an outage", None)] {
        let setup = Setup {
            most_lookups,
            more: json!({"feed": {
                "cluster": "auth_feed", "interval": "60s", "stale_after": "10m",
                "allow_ttl_when_stale": "3s",
            }}),
            timeout: "60s",
            ..Setup::new(exact("1s", "60s"))
        };
        let run = |stage: &mut Stage| {
            // The main thread reads the feed as well. Each first poll drops the earlier verdicts.
            stage.wait_for("feed_polls.reset.total", 2)?;
            let key = stage.create()?.key;
            ensure!(stage.get(&key)?.status == 200, "before the flood");
            let known = Instant::now();
            let mut held = Vec::new();
            if let Some(most) = most_lookups {
                for _ in 0..most {
                    let (unknown, verdict) = stage.held_key(answer("404 Not Found", ""))?;
                    held.push((stage.send(&unknown, 1)?, verdict));
                    stage.wait_for_lookups(&unknown, 1)?;
                }
            } else {
                stage.begin_outage()?;
            }
            until(known + FRESH);
            let (status, entry) = stage.logged("/v1/x", &key)?;
            ensure!(
                (status, entry.as_str()) == (200, "outcome=allowed source=stale"),
                "after the verdict expired: {status} {entry}"
            );
            until(known + FRESH + GRACE);
            let (status, entry) = stage.logged("/v1/x", &key)?;
            let expected = if most_lookups.is_some() { 503 } else { 200 };
            ensure!(status == expected, "after the grace: {status} {entry}");
            if most_lookups.is_some() {
                for (sent, verdict) in held {
                    verdict.add_permits(1);
                    for sent in sent {
                        ensure!(sent.response()?.status == 401, "of the flood");
                    }
                }
                let (status, entry) = stage.logged("/v1/x", &key)?;
                ensure!(
                    (status, entry.as_str()) == (200, "outcome=allowed source=lookup"),
                    "after the flood: {status} {entry}"
                );
            }
            Ok(())
        };
        setup.run(run).with_context(|| name.to_owned())?;
    }
    Ok(())
}

/// The first request after an outage is decided by a lookup, whatever its result.
fn recovery() -> Result<()> {
    for revoked in [false, true] {
        let setup = Setup::new(exact("1s", "60s"));
        setup
            .run(|stage| one_recovery(stage, revoked))
            .with_context(|| format!("revoked meanwhile: {revoked}"))?;
    }
    Ok(())
}

fn one_recovery(stage: &mut Stage, revoked: bool) -> Result<()> {
    let created = stage.create()?;
    ensure!(stage.get(&created.key)?.status == 200, "before the outage");
    let known = Instant::now();
    stage.begin_outage()?;
    until(known + Duration::from_secs(1));
    let (status, entry) = stage.logged("/v1/x", &created.key)?;
    let tested = Instant::now();
    ensure!(
        (status, entry.as_str()) == (200, "outcome=allowed source=stale"),
        "{status} {entry}"
    );
    if revoked {
        stage.registry.run(&["revoke", &created.key_id])?;
    }
    stage.end_outage()?;
    let lookups = stage.lookups(&created.key)?;
    // During an outage, a key is looked up at most once a second.
    until(tested + Duration::from_secs(1));
    let first = stage.logged("/v1/x", &created.key)?;
    let expected = if revoked {
        (401, "outcome=api_key_revoked source=lookup")
    } else {
        (200, "outcome=allowed source=lookup")
    };
    ensure!(
        first.0 == expected.0 && first.1.starts_with(expected.1),
        "{first:?}"
    );
    let lookups = stage.lookups(&created.key)? - lookups;
    ensure!(lookups == 1, "{lookups} lookups");
    let second = stage.logged("/v1/x", &created.key)?;
    ensure!(second.1.contains("source=cache"), "{second:?}");
    Ok(())
}

/// A key that is created a second after it was refused works within `not_found_ttl`. A revoked key
/// stops working within `allow_ttl`.
fn changes_are_seen_in_time() -> Result<()> {
    const NOT_FOUND_TTL: Duration = Duration::from_secs(5);
    const ALLOW_TTL: Duration = Duration::from_secs(4);
    let setup = Setup {
        workers: 2,
        ..Setup::new(json!({"allow_ttl": "4s"}))
    };
    setup.run(|stage| {
        let created = stage.create()?;
        let key = created.key;
        // The registry generates its keys itself, so a script hides this one until it is "created".
        stage
            .auth
            .script(&hash(&key)?, Script::Answer(answer("404 Not Found", "")));
        let refused = Instant::now();
        ensure!(stage.get(&key)?.status == 401, "before it is created");
        until(refused + Duration::from_secs(1));
        stage.auth.unscript(&hash(&key)?);
        let took = all_become(stage, &key, 200, refused, NOT_FOUND_TTL)?;
        println!("created 1 s after it was refused: 200 after {took:?}");

        stage.registry.run(&["revoke", &created.key_id])?;
        let revoked = Instant::now();
        let took = all_become(stage, &key, 401, revoked, ALLOW_TTL)?;
        println!("revoked with allow_ttl 4s: 401 after {took:?}");
        Ok(())
    })
}

/// Sends requests until all workers answer with `status`, and returns how long that took.
fn all_become(
    stage: &Stage,
    key: &str,
    status: u16,
    since: Instant,
    within: Duration,
) -> Result<Duration> {
    let mut last_other = since;
    loop {
        let asked = Instant::now();
        let answered = stage.get(key)?.status;
        if answered != status {
            ensure!(
                asked < since + within,
                "still {answered} after {:?}",
                asked - since
            );
            last_other = asked;
        } else if asked > since + within + Duration::from_millis(500) {
            return Ok(last_other - since);
        }
        thread::park_timeout(Duration::from_millis(10));
    }
}

/// A key in use is looked up again before its verdict ends, and no request waits for that.
fn refresh_ahead() -> Result<()> {
    let cache = json!({"allow_ttl": "4s", "refresh_ahead": 0.25, "jitter": 0});
    Setup::new(cache).run(|stage| {
        let key = stage.create()?.key;
        ensure!(stage.get(&key)?.status == 200, "the first");
        let known = Instant::now();
        // The refresh gets no answer, so a request that waited for it would be noticed.
        stage.auth.script(&hash(&key)?, Script::Hang);
        until(known + Duration::from_secs(1));
        while known.elapsed() < Duration::from_millis(3500) {
            let asked = Instant::now();
            let (status, entry) = stage.logged("/v1/x", &key)?;
            ensure!(
                (status, entry.as_str()) == (200, "outcome=allowed source=cache"),
                "{status} {entry}"
            );
            ensure!(
                asked.elapsed() < Duration::from_secs(1),
                "waited {:?}",
                asked.elapsed()
            );
        }
        let lookups = stage.lookups(&key)?;
        ensure!(lookups == 2, "{lookups} lookups");
        Ok(())
    })
}

/// An answer's `cache-control` shortens the verdict's lifetime.
fn cache_control() -> Result<()> {
    let cases: [(&str, &[&str], Duration, bool); 5] = [
        ("without", &[], Duration::ZERO, true),
        (
            "no-store",
            &["cache-control: no-store"],
            Duration::ZERO,
            false,
        ),
        (
            "max-age=0",
            &["cache-control: max-age=0"],
            Duration::ZERO,
            false,
        ),
        (
            "max-age=2, not over",
            &["cache-control: private", "cache-control: max-age=2"],
            Duration::ZERO,
            true,
        ),
        (
            "max-age=2, over",
            &["cache-control: private", "cache-control: max-age=2"],
            Duration::from_secs(2),
            false,
        ),
    ];
    Setup::new(exact("60s", "0s")).run(|stage| {
        for (name, lines, pause, kept) in cases {
            for (status, body) in [("200 OK", GOOD), ("404 Not Found", "")] {
                let script = Script::Answer(answer_with(status, lines, body));
                let key = stage.scripted_key(script)?;
                stage.get(&key)?;
                until(Instant::now() + pause);
                stage.get(&key)?;
                let lookups = stage.lookups(&key)?;
                let expected = if kept { 1 } else { 2 };
                ensure!(lookups == expected, "{name}, {status}: {lookups} lookups");
            }
        }
        Ok(())
    })
}

/// Unknown keys, however many, do not affect a known key, and cost no memory after the first few.
fn flood(world: &World) -> Result<()> {
    const FLOOD: usize = 200_000;
    let known = |hash: &str| hash.ends_with("000");
    let rule_auth = RuleAuth::new(known);
    let serving = world.runtime.block_on(rule_auth.serve())?;
    let setup = Setup {
        asks: Asks::Other(serving.address),
        ..Setup::new(json!({"allow_ttl": "10m"}))
    };
    let keys = move |wanted: bool| {
        let keys = std::iter::repeat_with(made_up_key);
        keys.filter(move |key| hash(key).is_ok_and(|hash| known(&hash) == wanted))
    };
    setup.run(|stage| {
        let key = keys(true).next().context("no key")?;
        // Its record permits no other path.
        let path = "/v1/numerology/x";
        let first = stage.logged(path, &key)?;
        ensure!(first.0 == 200, "before the flood: {first:?}");
        let flood = |requests: usize| -> Result<()> {
            let requests = keys(false).take(requests);
            let requests = requests.map(|key| Request::new(path, key));
            let outcomes = world
                .runtime
                .block_on(load::run(stage.to, 2, 50, requests))?;
            let refused = outcomes.by_status.get(&401).copied().unwrap_or_default();
            ensure!(
                refused == outcomes.by_status.values().sum::<usize>() && outcomes.failed == 0,
                "{outcomes:?}"
            );
            Ok(())
        };
        // Fills the pool and all buffers.
        flood(FLOOD / 4)?;
        let (resident, linear) = (
            stage.envoy.resident_bytes()?,
            stage.envoy.wasm_memory_bytes()?,
        );
        flood(FLOOD * 3 / 4)?;
        let more = stage.envoy.resident_bytes()?.saturating_sub(resident);
        let linear_more = stage.envoy.wasm_memory_bytes()?.saturating_sub(linear);
        println!(
            "flood of {FLOOD}: {} KiB more in all after the first quarter, {} KiB of them the VM's",
            more / 1024,
            linear_more / 1024
        );
        ensure!(
            linear_more < 128 * 1024,
            "the VM grew by {linear_more} bytes"
        );
        ensure!(more < 4 * 1024 * 1024, "Envoy grew by {more} bytes");
        let (status, entry) = stage.logged(path, &key)?;
        ensure!(
            (status, entry.as_str()) == (200, "outcome=allowed source=cache"),
            "after the flood: {status} {entry}"
        );
        stage.wait_for("lookups.active.total", 1)?;
        stage.wait_for("cache.allow.insertions.total", 1)?;
        let evictions = stage.counter("cache.deny.evictions.total")?;
        let left = stage.counter("cache.deny.insertions.total")? - evictions;
        ensure!(left == 10_000, "{left} unknown keys are left");
        ensure!(evictions > 100_000, "{evictions} evictions");
        Ok(())
    })
}

/// What one cached verdict costs, with all pools full of records as large as real ones.
fn memory(world: &World) -> Result<()> {
    const VERDICTS: usize = 60_000;
    // One key in six is unknown, like the share of denials in the full pools.
    let rule_auth =
        RuleAuth::new(|hash| hash.bytes().take(4).map(usize::from).sum::<usize>() % 6 != 0);
    let serving = world.runtime.block_on(rule_auth.serve())?;
    let long = json!({"allow_ttl": "1h", "not_found_ttl": "1h"});
    let setup = Setup {
        asks: Asks::Other(serving.address),
        ..Setup::new(long)
    };
    setup.run(|stage| {
        let ask = |keys: usize| {
            let requests = (0..keys).map(|_| Request::new("/v1/numerology/x", made_up_key()));
            world.runtime.block_on(load::run(stage.to, 2, 50, requests))
        };
        // Fills Envoy's own buffers, which are not verdicts.
        let outcomes = ask(1_000)?;
        ensure!(outcomes.by_status.keys().eq(&[200, 401]), "{outcomes:?}");
        stage.wait_for("requests.allowed.total", outcomes.by_status[&200] as u64)?;
        let linear = stage.envoy.wasm_memory_bytes()?;
        let resident = stage.envoy.resident_bytes()?;
        let kept = |pool| {
            let insertions = stage.counter(&format!("cache.{pool}.insertions.total"))?;
            let evictions = stage.counter(&format!("cache.{pool}.evictions.total"))?;
            anyhow::Ok(insertions.saturating_sub(evictions))
        };
        let before = kept("allow")? + kept("deny")?;
        while kept("allow")? < 50_000 || kept("deny")? < 10_000 {
            ask(5_000)?;
            ensure!(rule_auth.lookups() < 3 * VERDICTS, "the pools do not fill");
        }
        let verdicts = usize::try_from(kept("allow")? + kept("deny")? - before)?;
        let bytes = |now: u64, then: u64| -> Result<usize> {
            Ok(usize::try_from(now.saturating_sub(then))? / verdicts)
        };
        let of_vm = bytes(stage.envoy.wasm_memory_bytes()?, linear)?;
        let in_all = bytes(stage.envoy.resident_bytes()?, resident)?;
        println!(
            "{verdicts} verdicts more: {of_vm} bytes each of the VM's memory, {in_all} in all"
        );
        ensure!(of_vm <= 250, "{of_vm} bytes a verdict in the VM");
        Ok(())
    })
}
