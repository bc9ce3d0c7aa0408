//! Floods of made-up keys, while a known key is in use. Without tags, each such key costs a lookup, so
//! only some of them get one. With tags, none does.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use keystile_e2e::counters::{Counters, End};
use keystile_e2e::envoy::{Launch, Listener, cluster_in};
use keystile_e2e::keys::{hash, made_up_key};
use keystile_e2e::load::{self, Outcomes, Request};
use keystile_e2e::process::{until, wait_until};
use keystile_e2e::recording_upstream::ENTITLED;
use keystile_e2e::registry::Registry;
use keystile_e2e::rule_auth::record;
use keystile_e2e::scripted_auth::{Fallback, Script, Step, answer};
use keystile_e2e::stack::Setup;
use keystile_e2e::traffic::{Traffic, p99};
use keystile_e2e::trials::trial;
use libtest_mimic::Trial;
use serde_json::json;

use crate::range::{self, PATH, Range, Steady, key_id, known_key, plugin, request};

const LISTENER: &str = "flooded";

/// The connections of a flood, and the requests at once on each.
const CONNECTIONS: usize = 200;
const STREAMS: usize = 10;

/// `lookup.max_concurrent`, and the room in the cluster's circuit breaker.
const MAX_CONCURRENT: u64 = 64;

/// How long a lookup of a made-up key takes.
const TAKES: Duration = Duration::from_millis(100);

const TAG_SECRET: &str = "a secret of the tests for tags";

/// How much slower a known key's 99th percentile may be during a flood that costs no lookups than
/// during one of malformed keys. It is about the same; the bound is for machines under load.
const MOST: u32 = 3;

/// Requests per second with the known key.
const RATE: u32 = 200;

keystile_e2e::suite!(Alone, trials);

fn trials() -> Vec<Trial> {
    vec![
        trial("flood: made-up keys without tags", without_tags),
        trial("flood: made-up keys with tags", with_tags),
    ]
}

/// Floods a listener until a moment. The keys are those of `key`.
fn flood(
    range: &Range,
    counters: &Counters,
    kind: &str,
    lasts: Duration,
    streams: usize,
    key: fn() -> String,
) -> Result<Outcomes> {
    let end = Instant::now() + lasts;
    let requests = std::iter::from_fn(move || {
        let goes_on = Instant::now() < end;
        goes_on.then(|| Request::new(PATH, key()))
    });
    let to = range.envoy.listener(LISTENER)?;
    let load = load::run(to, CONNECTIONS, streams, requests);
    let outcomes = range.runtime.block_on(load)?;
    counters.loaded(kind, &outcomes);
    Ok(outcomes)
}

/// The polls share the circuit breaker with the lookups, for which three quarters of it are enough.
fn without_tags() -> Result<()> {
    const NAME: &str = "flood: made-up keys without tags";
    const KIND: &str = "a made-up key";
    const LASTS: Duration = Duration::from_secs(3);

    let plugin = plugin(&json!({
        "lookup": {"cluster": "auth", "timeout": "10s", "max_concurrent": MAX_CONCURRENT},
        "cache": {"allow_ttl": "300ms", "stale_if_error": "0s"},
        "feed": {"path": "/v1/changes?after={cursor}", "interval": "100ms"},
    }));
    let range = Range::start(Setup {
        launch: Launch::workers(1),
        edit: Box::new(|config| {
            let thresholds = json!({"thresholds": [{"max_requests": MAX_CONCURRENT}]});
            cluster_in(config, "auth")?["circuit_breakers"] = thresholds;
            Ok(())
        }),
        ..range::setup(vec![Listener::new(LISTENER, &plugin)])
    })?;
    let page = json!({"cursor": "c1", "changes": [], "reset": false}).to_string();
    range
        .auth
        .script("/v1/changes", Script::Answer(answer("200 OK", &page)));
    let not_found = answer("404 Not Found", "");
    let slow = vec![Step::Wait(TAKES), Step::Write(not_found)];
    range.auth.script("/v1/key-hashes/", Script::Steps(slow));
    let known = known_key()?;
    let (known_hash, id) = (hash(&known)?, key_id(&known)?);
    let good = Script::Answer(answer("200 OK", &record(&known_hash)));
    range.auth.script(&known_hash, good);
    let steady =
        Steady::default().with(LISTENER, "a known key", &[End::Answered(200)], move |to| {
            request(to, &[("x-api-key", &known), (ENTITLED, &id)])
        });
    range.case(NAME, steady, |counters| {
        let polls = |result| {
            let name = format!("wasmcustom.keystile.feed_polls.{result}.total");
            range.envoy.counter(&name)
        };
        wait_until(|| Ok(polls("current")? > 0))?;
        let looked_up = || range.auth.lookups_about("hashes");
        let renewed = || range.auth.lookups_about(&known_hash);
        let before = (polls("current")?, polls("failed")?, looked_up(), renewed());
        flood(&range, counters, KIND, LASTS, STREAMS, made_up_key)?;
        let over_limit = "wasmcustom.keystile.lookups.over_limit.total";
        range.envoy.wait_until_constant(over_limit)?;
        let polled = polls("current")? - before.0;
        let failed = polls("failed")? - before.1;
        let (lookups, renewals) = (looked_up() - before.2, renewed() - before.3);
        let refused = range.envoy.counter(over_limit)?;
        let overflows = range
            .envoy
            .counter("cluster.auth.upstream_rq_pending_overflow")?;
        println!(
            "{NAME}: {LASTS:?} of {} requests at once: {lookups} lookups, {refused} not sent; the \
             known key was renewed {renewals} times; {polled} polls were answered, {failed} failed; \
             {overflows} times the circuit breaker was full",
            CONNECTIONS * STREAMS
        );
        ensure!(refused > 0, "no lookup was over the limit");
        ensure!(failed == 0 && overflows == 0, "no room for polls");
        ensure!(polled >= 10, "only {polled} polls");
        ensure!(renewals >= 5, "only {renewals} renewals");
        let ends = counters.ends(KIND);
        let expected = [401, 503].map(End::Answered);
        ensure!(ends.keys().all(|end| expected.contains(end)), "{ends:?}");
        Ok(())
    })
}

/// The registry issues the known key.
fn with_tags() -> Result<()> {
    const NAME: &str = "flood: made-up keys with tags";
    const MADE_UP: &str = "a made-up key";
    const MALFORMED: &str = "a malformed key";
    const ROUNDS: usize = 4;
    const ROUND: Duration = Duration::from_millis(750);

    let folder = tempfile::tempdir()?;
    let registry = Registry::new(&folder.path().join("keystile.db"), None).tagged(TAG_SECRET);
    let known = registry.create(&["--account", "acct_1"])?;
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (_server, address) = registry.serve(any_port, &folder.path().join("registry.log"))?;
    let plugin = plugin(&json!({
        "credential": {"formats": [{"prefix": "aw_", "tag": {"secrets": [TAG_SECRET]}}]},
    }));
    let range = Range::start(Setup {
        launch: Launch::workers(2),
        fallback: Fallback::Registry(address),
        ..range::setup(vec![Listener::new(LISTENER, &plugin)])
    })?;
    range.case(NAME, Steady::default(), |counters| {
        let to = range.envoy.listener(LISTENER)?;
        let with_known = {
            let known = known.clone();
            move || request(to, &[("x-api-key", &known.key), (ENTITLED, &known.key_id)])
        };
        let traffic = Traffic::of(&range.runtime, to, RATE, with_known)?;
        until(Instant::now() + 2 * ROUND);
        let looked_up = range.auth.lookups_about("hashes");
        let began = Instant::now();
        let (mut malformed, mut made_up) = (Vec::new(), Vec::new());
        // In turns, so that whatever else the machine does slows down both.
        for _ in 0..ROUNDS {
            let since = Instant::now();
            flood(&range, counters, MALFORMED, ROUND, 1, || "aw_short".to_owned())?;
            malformed.push(since..Instant::now());
            let since = Instant::now();
            flood(&range, counters, MADE_UP, ROUND, 1, made_up_key)?;
            made_up.push(since..Instant::now());
        }
        let lookups = range.auth.lookups_about("hashes") - looked_up;
        let seen = traffic.finish(&range.runtime)?;
        counters.seen("a known key", &seen);
        let among = |spans: &[std::ops::Range<Instant>]| {
            let sent = seen.iter();
            let sent = sent.filter(|one| spans.iter().any(|span| span.contains(&one.sent)));
            p99(&sent.collect::<Vec<_>>())
        };
        let first = seen.first().context("no request with the known key")?;
        let quiet = among(&[first.sent..began])?;
        let (malformed, made_up) = (among(&malformed)?, among(&made_up)?);
        println!(
            "{NAME}: {lookups} lookups; p99 of a known key {quiet:.1?} without a flood, \
             {malformed:.1?} in one of malformed keys, {made_up:.1?} in one of made-up keys, which is \
             {:.2} times as much",
            made_up.as_secs_f64() / malformed.as_secs_f64()
        );
        ensure!(lookups == 0, "{lookups} lookups");
        for kind in [MALFORMED, MADE_UP] {
            let ends = counters.ends(kind);
            let refused = ends.keys().all(|end| *end == End::Answered(401));
            ensure!(refused && !ends.is_empty(), "{kind}: {ends:?}");
        }
        let refused = [MALFORMED, MADE_UP].map(|kind| counters.ends(kind).values().sum::<u64>());
        let invalid = "wasmcustom.keystile.requests.api_key_invalid.total";
        range
            .envoy
            .wait_for_counter(invalid, refused.iter().sum())?;
        ensure!(made_up <= MOST * malformed, "p99 {made_up:?}, not {malformed:?}");
        Ok(())
    })
}
