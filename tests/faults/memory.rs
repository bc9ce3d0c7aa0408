//! Memory use with more keys than the caches hold.

use anyhow::{Result, ensure};
use keystile_e2e::counters::Counters;
use keystile_e2e::envoy::{Listener, http2_cluster};
use keystile_e2e::load::{self, Request};
use keystile_e2e::rule_auth::RuleAuth;
use keystile_e2e::stack::Setup;
use keystile_e2e::trials::trial;
use libtest_mimic::Trial;
use serde_json::json;

use crate::range::{self, PATH, Range, Steady, is_known, key_id, known_key, plugin, unknown_key};

/// The number of known keys: twice what the allow pool holds.
const KNOWN: usize = 100_000;

const UNKNOWN: usize = 1_000_000;

/// The steps in which the unknown keys are sent. Memory is measured after each.
const STEPS: usize = 20;

/// The number of steps after which all pools and buffers are full.
const FULL_AFTER: usize = 4;

/// How many bytes Envoy may grow from then on, by the trend of all steps.
const MOST: f64 = 4.0 * 1024.0 * 1024.0;

keystile_e2e::suite!(Alone, trials);

fn trials() -> Vec<Trial> {
    vec![trial("memory: a million unknown keys", many_keys).with_ignored_flag(true)]
}

fn many_keys() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let rule_auth = RuleAuth::new(is_known);
    let auth = runtime.block_on(rule_auth.serve())?;
    // Nothing may expire during the case.
    let cache = json!({"allow_ttl": "1h", "not_found_ttl": "1h"});
    let range = Range::start(Setup {
        clusters: vec![http2_cluster("auth", auth.address)],
        ..range::setup(vec![Listener::new(
            "stage",
            &plugin(&json!({"cache": cache})),
        )])
    })?;
    let steady = Steady::on("stage")?;
    range.case("memory: a million unknown keys", steady, |counters| {
        let known = (0..KNOWN).map(|_| -> Result<Request> {
            let key = known_key()?;
            let entitled = Some(key_id(&key)?);
            Ok(Request {
                entitled,
                ..Request::new(PATH, key)
            })
        });
        // A key can always be hashed.
        send(&range, counters, "each a known key", known.flatten())?;
        let mut sizes = Vec::new();
        for step in 0..STEPS {
            let unknown = (0..UNKNOWN / STEPS).map(|_| Request::new(PATH, unknown_key()));
            send(&range, counters, "each an unknown key", unknown)?;
            let resident = range.envoy.resident_bytes()?;
            let linear = range.envoy.wasm_memory_bytes()?;
            println!(
                "after {:>7} unknown keys: {} KiB resident, {} KiB of them the VMs'",
                (step + 1) * UNKNOWN / STEPS,
                resident / 1024,
                linear / 1024
            );
            sizes.push((resident as f64, linear as f64));
        }
        let full = &sizes[FULL_AFTER..];
        let resident: Vec<_> = full.iter().map(|(resident, _)| *resident).collect();
        let linear: Vec<_> = full.iter().map(|(_, linear)| *linear).collect();
        let (resident, linear) = (slope(&resident), slope(&linear));
        let per_request = |slope: f64| slope * STEPS as f64 / UNKNOWN as f64;
        println!(
            "slope after {} of {UNKNOWN}: {:.3} bytes a request resident, {:.3} the VMs'",
            FULL_AFTER * UNKNOWN / STEPS,
            per_request(resident),
            per_request(linear)
        );
        let grown = |slope: f64| slope * full.len() as f64;
        ensure!(
            grown(resident) < MOST && grown(linear) < MOST / 16.0,
            "memory grows: {:.0} bytes resident, {:.0} the VMs', by the trend",
            grown(resident),
            grown(linear)
        );
        for (pool, most) in [("allow", 50_000), ("deny", 10_000)] {
            let counted = |what| {
                let name = format!("wasmcustom.keystile.cache.{pool}.{what}.total");
                range.envoy.counter(&name)
            };
            let inserted = counted("insertions")?;
            ensure!(inserted > 0, "nothing in the pool {pool}");
            let entries = inserted.saturating_sub(counted("evictions")?);
            // Each of the two workers has its own pool. The main thread's instance has none.
            ensure!(entries <= 2 * most, "{entries} in the pool {pool}");
        }
        Ok(())
    })
}

fn send(
    range: &Range,
    counters: &Counters,
    kind: &str,
    requests: impl Iterator<Item = Request> + Send,
) -> Result<()> {
    let to = range.envoy.listener("stage")?;
    let outcomes = range.runtime.block_on(load::run(to, 4, 50, requests))?;
    counters.loaded(kind, &outcomes);
    let expected = if kind.contains("unknown") { 401 } else { 200 };
    ensure!(
        outcomes.by_status.keys().eq([&expected]) && outcomes.failed == 0,
        "{kind}: {outcomes:?}\n{}",
        range.envoy.counted_of_cluster("auth")?
    );
    Ok(())
}

/// Returns by how much values rise per step: the median slope of all pairs (Theil and Sen), which a
/// single outlier does not distort.
pub(crate) fn slope(values: &[f64]) -> f64 {
    let mut slopes: Vec<_> = values
        .iter()
        .enumerate()
        .flat_map(|(i, a)| {
            let later = values.iter().enumerate().skip(i + 1);
            later.map(move |(j, b)| (b - a) / (j - i) as f64)
        })
        .collect();
    slopes.sort_by(f64::total_cmp);
    slopes.get(slopes.len() / 2).copied().unwrap_or_default()
}
