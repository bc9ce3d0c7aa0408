//! Everything at once, for as long as you like: steady traffic of all kinds, an auth cluster with one
//! fault after another, clients that upload or disconnect meanwhile, and a filter that gets a new
//! configuration again and again.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use keystile_e2e::client;
use keystile_e2e::counters::{Counters, End};
use keystile_e2e::discovery::Discovery;
use keystile_e2e::envoy::{self, Listener};
use keystile_e2e::process::{until, wait_until};
use keystile_e2e::recording_upstream::ENTITLED;
use keystile_e2e::scripted_auth::{Script, answer};
use keystile_e2e::stack::Setup;
use keystile_e2e::trials::trial;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::memory::slope;
use crate::range::{
    self, PATH, Range, Steady, end_of, key_id, known_key, plugin, request, unknown_key,
};

/// The duration in minutes, unless `SOAK_MINUTES` sets it.
const MINUTES: f64 = 1.0;

/// How long a fault lasts, and how long the pause after it.
const FAULT: Duration = Duration::from_millis(700);

/// The number of faults between two configurations.
const SWAP_AFTER: usize = 3;

/// Clients of each kind during each fault.
const CLIENTS: usize = 10;

/// How many bytes Envoy may grow in the second half: a constant, and an amount per minute. Each minute
/// has about fifteen new configurations, and Envoy's allocator keeps a little memory for each.
const GROWTH: [f64; 2] = [4e6, 0.25e6];

/// The part that the paths of all lookups share.
const LOOKUPS: &str = "/v1/key-hashes/";

/// The name of a fault, and what lookups get. With `None`, nothing listens.
type Fault = (&'static str, Option<Script>);

fn faults() -> Vec<Fault> {
    let some = |name, bytes| (name, Some(Script::Answer(bytes)));
    let good = keystile_e2e::keys::GOOD;
    let half = &good[..good.len() / 2];
    vec![
        ("refused", None),
        ("silent", Some(Script::Hang)),
        some("500", answer("500 Oops", "")),
        some("429", answer("429 Slow Down", "")),
        some("a page", answer("200 OK", "<html></html>")),
        some("half a record", answer("200 OK", half)),
        some("closed", Vec::new()),
        (
            "reset",
            Some(Script::AnswerAndReset(b"HTTP/1.1 200 OK\r\n".to_vec())),
        ),
    ]
}

keystile_e2e::suite!(Alone, trials);

fn trials() -> Vec<Trial> {
    vec![trial("soak", soak).with_ignored_flag(true)]
}

fn soak() -> Result<()> {
    let minutes: f64 = match std::env::var("SOAK_MINUTES") {
        Ok(minutes) => minutes.parse().context("SOAK_MINUTES is no number")?,
        Err(_) => MINUTES,
    };
    let folder = tempfile::tempdir()?;
    let discovery = Discovery::new("keystile.wasm", folder.path().join("filter.json"));
    let publish = |number| {
        let plugin = configuration(number).to_string();
        discovery.publish(&discovery.resource(&envoy::module(), &plugin))
    };
    publish(0)?;
    let discovered = discovery.clone();
    let range = Range::start(Setup {
        edit: Box::new(move |config| discovered.put_into(config)),
        ..range::setup(vec![Listener::new("soak", &Value::Null)])
    })?;
    let faults = faults();
    let end = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    let mut sizes = Vec::new();
    range.case("soak", steady()?, |counters| {
        let mut round = 0;
        while Instant::now() < end {
            let (name, script) = &faults[round % faults.len()];
            one_fault(&range, counters, script).with_context(|| (*name).to_owned())?;
            round += 1;
            if round.is_multiple_of(SWAP_AFTER) {
                publish(round)?;
                let realm = format!("\"{}\"", realm(round));
                wait_until(|| Ok(range.challenge(counters, "soak")?.contains(&realm)))
                    .with_context(|| format!("{realm} is not enforced"))?;
            }
            let left = end.saturating_duration_since(Instant::now());
            sizes.push((left, range.envoy.resident_bytes()? as f64));
        }
        grows(&sizes, faults.len())
    })
}

/// Prints how Envoy's memory changed in the second half, after every fault has occurred. Fails if it
/// grew too much.
fn grows(sizes: &[(Duration, f64)], faults: usize) -> Result<()> {
    let settled = &sizes[faults.max(sizes.len() / 2).min(sizes.len())..];
    let (Some((from, first)), Some((to, last))) = (settled.first(), settled.last()) else {
        println!("soak: too short for a trend of memory");
        return Ok(());
    };
    let minutes = (*from - *to).as_secs_f64() / 60.0;
    let values: Vec<_> = settled.iter().map(|(_, bytes)| *bytes).collect();
    let grown = slope(&values) * values.len() as f64;
    println!(
        "soak: {} faults; in the last {minutes:.1} minutes Envoy went from {:.1} MB to {:.1} MB, by \
         the trend {:.0} KB a minute",
        sizes.len(),
        first / 1e6,
        last / 1e6,
        grown / minutes.max(0.1) / 1e3
    );
    let [at_all, a_minute] = GROWTH;
    ensure!(
        grown < at_all + a_minute * minutes,
        "Envoy grows by {grown:.0} bytes in {minutes:.1} minutes"
    );
    Ok(())
}

/// Runs one fault, with clients that upload or disconnect, until known keys get in again.
fn one_fault(range: &Range, counters: &Counters, script: &Option<Script>) -> Result<()> {
    let began = Instant::now();
    match script {
        Some(script) => range.auth.script(LOOKUPS, script.clone()),
        None => range.runtime.block_on(range.serving.stop())?,
    }
    let mut waiting = Vec::new();
    for client in 0..CLIENTS {
        let lines = lines(&known_key()?)?;
        let asked = range.send("soak", &lines.each_ref().map(String::as_str))?;
        if client.is_multiple_of(2) {
            asked.leave();
            counters.count("leaves", End::Left);
        } else {
            waiting.push(("asks in a fault", asked));
        }
        waiting.push(("uploads in a fault", upload(range)?));
    }
    until(began + FAULT);
    match script {
        Some(_) => range.auth.unscript(LOOKUPS),
        None => range.runtime.block_on(range.serving.start())?,
    }
    for (kind, sent) in waiting {
        let response = sent.response();
        counters.count(kind, end_of(&response));
        let status = response.with_context(|| kind.to_owned())?.status;
        ensure!([200, 503].contains(&status), "{kind}: {status}");
    }
    // A new key, because a failed lookup may be repeated only a second later.
    let lines = lines(&known_key()?)?;
    let lines = lines.each_ref().map(String::as_str);
    wait_until(|| {
        Ok(range
            .get(counters, "soak", "asks after a fault", &lines)?
            .status
            == 200)
    })
    .context("a good key does not get in")?;
    until(Instant::now() + FAULT);
    Ok(())
}

/// Returns the header lines of a request with a known key.
fn lines(key: &str) -> Result<[String; 2]> {
    let entitled = format!("{ENTITLED}: {}", key_id(key)?);
    Ok([format!("x-api-key: {key}"), entitled])
}

/// Sends a request with a body of 64 KiB while its lookup is in flight.
fn upload(range: &Range) -> Result<client::Sent> {
    const LENGTH: usize = 64 * 1024;
    let [key, entitled] = lines(&known_key()?)?;
    let length = format!("content-length: {LENGTH}");
    let head = client::head("POST", PATH, [&*key, &entitled, &length]);
    let mut sent = client::send(range.envoy.listener("soak")?, head.as_bytes())?;
    // If the request has been refused already, nobody reads the body.
    sent.send(&[b'x'; LENGTH]).ok();
    Ok(sent)
}

fn configuration(number: usize) -> Value {
    plugin(&json!({
        "lookup": {"cluster": "auth", "timeout": "400ms"},
        // Short, so that verdicts expire and are looked up again during faults, too.
        "cache": {"allow_ttl": "2s", "not_found_ttl": "1s", "max_allow_entries": 1000},
        "replies": {"realm": realm(number)},
    }))
}

fn realm(number: usize) -> String {
    format!("soak {number}")
}

/// Returns the steady traffic. During a fault, a request that needs a lookup may get a 503. No other
/// request does.
fn steady() -> Result<Steady> {
    let answered = |statuses: [u16; 2]| statuses.map(End::Answered);
    Ok(Steady::on("soak")?
        .but("a known key", &answered([200, 503]))
        .but("an unknown key", &answered([401, 503]))
        .with(
            "soak",
            "each a known key",
            &answered([200, 503]),
            // A key can always be hashed.
            |to| match known_key().and_then(|key| Ok((key_id(&key)?, key))) {
                Ok((id, key)) => request(to, &[("x-api-key", &key), (ENTITLED, &id)]),
                Err(_) => request(to, &[]),
            },
        )
        .with(
            "soak",
            "an unknown key, with an identity",
            &answered([401, 503]),
            |to| {
                let headers = [
                    ("x-api-key", &*unknown_key()),
                    ("x-keystile-key-id", "key_1"),
                ];
                request(to, &headers)
            },
        ))
}
