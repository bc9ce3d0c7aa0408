//! Auth clusters that go away and come back, and what clients get meanwhile.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use keystile_e2e::counters::{Counters, End};
use keystile_e2e::envoy::{Launch, http2_cluster};
use keystile_e2e::keys::hash;
use keystile_e2e::process::wait_until;
use keystile_e2e::recording_upstream::ENTITLED;
use keystile_e2e::rule_auth::RuleAuth;
use keystile_e2e::scripted_auth::{Script, answer};
use keystile_e2e::serving::Serving;
use keystile_e2e::stack::Setup;
use libtest_mimic::Trial;
use serde_json::json;
use tokio::runtime::Runtime;

use super::expect::Expect;
use super::rows::{PATIENT, STEADY, listeners};
use crate::range::{
    self, OnDemand, Range, Steady, is_known, key_id, known_key, request, unknown_key,
};

keystile_e2e::suite!(Together, trials);

fn trials() -> Vec<Trial> {
    let range = OnDemand::new(|| setup(false));
    let kept = OnDemand::new(|| setup(true));
    let http2 = OnDemand::of(Http2::start);
    let on_range = [
        range.trial("auth: a key is revoked in an outage", revoked_meanwhile),
        range.trial("auth: flapping", |range, name| {
            flapping(range, name, &range.serving, &range.runtime)
        }),
        kept.trial("auth: restarted under load", |range, name| {
            restarted(range, name, &range.serving, &range.runtime)
        }),
    ];
    let on_http2 = [
        http2.trial("auth: flapping, HTTP/2", |http2, name| {
            flapping(&http2.range, name, &http2.serving, &http2.runtime)
        }),
        http2.trial("auth: restarted under load, HTTP/2", |http2, name| {
            restarted(&http2.range, name, &http2.serving, &http2.runtime)
        }),
    ];
    on_range.into_iter().chain(on_http2).collect()
}

/// One worker, so that all requests share one cache.
fn setup(keep_alive: bool) -> Result<Setup> {
    Ok(Setup {
        launch: Launch::workers(1),
        keep_alive,
        ..range::setup(listeners("auth"))
    })
}

/// Returns the steady traffic of an outage. No key is wrongly refused because of the outage, and keys
/// in the cache or in grace get in.
pub(crate) fn steady_in_an_outage() -> Result<Steady> {
    let ends =
        |statuses: &[u16]| -> Vec<_> { statuses.iter().copied().map(End::Answered).collect() };
    let mut steady = Steady::on(STEADY)?
        .but("a known key", &ends(&[200, 503]))
        .but("an unknown key", &ends(&[401, 503]));
    for (listener, kind) in [
        (PATIENT.cached, "a key in the cache"),
        (PATIENT.grace, "a key in grace"),
    ] {
        let known = known_key()?;
        let id = key_id(&known)?;
        steady = steady.with(listener, kind, &ends(&[200]), move |to| {
            request(to, &[("x-api-key", &known), (ENTITLED, &id)])
        });
    }
    Ok(steady)
}

/// Sends a request with a new known key to a listener and returns the status.
pub(crate) fn known(
    range: &Range,
    counters: &Counters,
    listener: &str,
    expect: Option<u16>,
) -> Result<u16> {
    let key = known_key()?;
    let (line, id) = (format!("x-api-key: {key}"), key_id(&key)?);
    let entitled = format!("{ENTITLED}: {id}");
    let response = range.get(counters, listener, "a new known key", &[&line, &entitled])?;
    ensure!(
        expect.is_none_or(|status| response.status == status),
        "not {expect:?}: {response:?}"
    );
    Ok(response.status)
}

/// The auth cluster comes and goes.
fn flapping(range: &Range, name: &str, serving: &Serving, runtime: &Runtime) -> Result<()> {
    const HALF: Duration = Duration::from_millis(100);

    range.case(name, steady_in_an_outage()?, |counters| {
        let mut ends = Vec::new();
        for _ in 0..15 {
            runtime.block_on(serving.stop())?;
            ends.push(some_time(range, counters, HALF)?);
            runtime.block_on(serving.start())?;
            ends.push(some_time(range, counters, HALF)?);
        }
        let all = ends.concat();
        ensure!(all.contains(&503) && all.contains(&200), "{all:?}");
        soon_well(range, counters)
    })
}

/// Sends requests for this time and returns their statuses.
fn some_time(range: &Range, counters: &Counters, time: Duration) -> Result<Vec<u16>> {
    let end = Instant::now() + time;
    let mut statuses = Vec::new();
    while Instant::now() < end {
        let status = known(range, counters, STEADY, None)?;
        ensure!([200, 503].contains(&status), "a known key got {status}");
        statuses.push(status);
    }
    Ok(statuses)
}

/// Waits until the auth cluster is in use again. Envoy may still try connections that it closed, but
/// not for long.
fn soon_well(range: &Range, counters: &Counters) -> Result<()> {
    wait_until(|| Ok(known(range, counters, STEADY, None)? == 200))?;
    for _ in 0..10 {
        known(range, counters, STEADY, Some(200))?;
        let unknown = format!("x-api-key: {}", unknown_key());
        let response = range.get(counters, STEADY, "a new unknown key", &[&unknown])?;
        Expect::Refused("api_key_not_found").check(&response)?;
    }
    Ok(())
}

/// A key is revoked during an outage. It is refused soon after the outage, but not before the next
/// lookup, a second after the last one that failed.
fn revoked_meanwhile(range: &Range, name: &str) -> Result<()> {
    /// Five times the expected second, for a busy machine.
    const SOON: Duration = Duration::from_secs(5);

    range.case(name, Steady::on(STEADY)?, |counters| {
        let key = known_key()?;
        let (hash, id) = (hash(&key)?, key_id(&key)?);
        let (line, entitled) = (format!("x-api-key: {key}"), format!("{ENTITLED}: {id}"));
        let ask = || range.get(counters, PATIENT.grace, "the key", &[&line, &entitled]);
        ensure!(ask()?.status == 200, "before");
        let unavailable = Script::Answer(answer("503 Service Unavailable", ""));
        range.auth.script(&hash, unavailable);
        for _ in 0..10 {
            let response = ask()?;
            ensure!(response.status == 200, "in grace: {response:?}");
        }
        let revoked = r#"{"key_id":"key_1","status":"revoked"}"#;
        range
            .auth
            .script(&hash, Script::Answer(answer("200 OK", revoked)));
        let back = Instant::now();
        wait_until(|| {
            let response = ask()?;
            let refused = response.status != 200;
            if refused {
                Expect::Refused("api_key_revoked").check(&response)?;
            }
            Ok(refused)
        })?;
        ensure!(back.elapsed() < SOON, "refused after {:?}", back.elapsed());
        for _ in 0..5 {
            Expect::Refused("api_key_revoked").check(&ask()?)?;
        }
        Ok(())
    })
}

/// The auth cluster is restarted again and again. It is back at once, except for its connections.
fn restarted(range: &Range, name: &str, serving: &Serving, runtime: &Runtime) -> Result<()> {
    range.case(name, steady_in_an_outage()?, |counters| {
        for _ in 0..5 {
            runtime.block_on(serving.stop())?;
            runtime.block_on(serving.start())?;
            soon_well(range, counters)?;
        }
        Ok(())
    })
}

/// A range whose auth cluster speaks HTTP/2.
struct Http2 {
    range: Range,
    serving: Serving,
    runtime: Runtime,
}

impl Http2 {
    fn start() -> Result<Self> {
        let runtime = Runtime::new()?;
        let serving = runtime.block_on(RuleAuth::new(is_known).serve())?;
        let mut auth = http2_cluster("auth", serving.address);
        // Lookups during an outage must not open the circuit breaker.
        auth["circuit_breakers"] =
            json!({"thresholds": [{"max_requests": 10_000, "max_pending_requests": 10_000}]});
        let range = Range::start(Setup {
            launch: Launch::workers(1),
            clusters: vec![auth],
            ..range::setup(listeners("auth"))
        })?;
        Ok(Self {
            range,
            serving,
            runtime,
        })
    }
}
