//! The files in `envoy/prometheus`, checked with a real Prometheus that watches the real stack during
//! each outcome and an outage.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keystile_e2e::client;
use keystile_e2e::dashboard::Dashboard;
use keystile_e2e::keys::made_up_key;
use keystile_e2e::load::{self, Request};
use keystile_e2e::process::wait_until;
use keystile_e2e::prometheus::{Prometheus, Series, Span, now};
use keystile_e2e::watched::{Setup, Watched};

use crate::world::World;

trials! { Together:
    "observed: real Prometheus" => real_prometheus,
}

const SETUP: Setup = Setup {
    cache: r#"{"allow_ttl": "1s", "not_found_ttl": "1s", "refresh_ahead": 1}"#,
    feed: r#"{"path": "/v1/changes?after={cursor}", "interval": "500ms", "stale_after": "1s"}"#,
    interval: Duration::from_secs(1),
    plain: true,
};

/// Queries of the dashboard that should be empty here: alerts take minutes to fire.
const EMPTY: &[&str] = &["Alerts"];

/// All that the dashboard and the rules query is there, with and without labels from Envoy.
fn real_prometheus(world: &World) -> Result<()> {
    let begin = now()?;
    let mut stack = world.runtime.block_on(Watched::start(&SETUP))?;
    each_outcome(world, &mut stack).context("traffic")?;
    let prometheus = &stack.prometheus;
    everything_is_counted(prometheus).context("traffic")?;

    let down = prometheus.targets_down()?;
    ensure!(down.is_empty(), "targets that are not up: {down:?}");
    rules_are_healthy(prometheus)?;
    same_names_without_labels(&stack)?;
    let end = now()?;
    let span = Span {
        // So that the last step is now.
        start: end - (end - begin).floor(),
        end,
        step: 1.0,
    };
    let problems = Dashboard::shipped()?.problems(prometheus, span, EMPTY)?;
    ensure!(problems.is_empty(), "dashboard:\n{}", problems.join("\n"));
    broken_queries_are_named(prometheus, span)
}

fn each_outcome(world: &World, stack: &mut Watched) -> Result<()> {
    let create = |options: &[&str]| {
        let created = stack
            .registry
            .create(&[&["--account", "acct_1"], options].concat())?;
        world.keep_secret(&created.key);
        anyhow::Ok(created)
    };
    let (active, revoked) = (create(&[])?, create(&[])?);
    let limited = create(&["--endpoint", "/v1/astro"])?;
    stack.registry.run(&["revoke", &revoked.key_id])?;
    let to = stack.listener;
    let get = |path: &str, key: &str| -> Result<u16> {
        let line = format!("x-api-key: {key}");
        let lines = (!key.is_empty()).then_some(line.as_str());
        Ok(client::get(to, path, lines)?.status)
    };
    let cases = [
        ("/v1/a", active.key.as_str(), 200),
        ("/v1/keys/me", &active.key, 200),
        ("/healthz", "", 200),
        ("/v1/a", "", 401),
        ("/v1/a", "aw_short", 401),
        ("/v1/a", &made_up_key(), 401),
        ("/v1/a", &revoked.key, 401),
        ("/v1/a", &limited.key, 403),
    ];
    for (path, key, status) in cases {
        let got = get(path, key)?;
        ensure!(got == status, "{path} with {key:?}: {got}, not {status}");
    }
    // First requests share lookups on any worker. Later ones are answered from the cache.
    for _ in 0..3 {
        let key = create(&[])?.key;
        let requests = std::iter::repeat_n(Request::new("/v1/a", key), 300);
        let outcomes = load::run(to, 4, 75, requests);
        let outcomes = world.runtime.block_on(outcomes)?;
        ensure!(outcomes.by_status.get(&200) == Some(&300), "{outcomes:?}");
    }

    // A new key's verdict is dropped once more when the feed reports the key. Then it is kept.
    let current = || {
        stack
            .envoy
            .counter("wasmcustom.keystile.feed_polls.current.total")
    };
    let before = current()?;
    let readers = u64::try_from(std::thread::available_parallelism()?.get())? + 1;
    wait_until(|| Ok(current()? >= before + 2 * readers)).context("polls of the feed")?;
    let requests = std::iter::repeat_n(Request::new("/v1/a", active.key.clone()), 200);
    world.runtime.block_on(load::run(to, 20, 1, requests))?;

    stack.begin_outage()?;
    let counter = |name: &str| stack.envoy.counter(&format!("wasmcustom.keystile.{name}"));
    let fresh = counter("feed.stale.milliseconds.total")?;
    wait_until(|| {
        let (known, unknown) = (get("/v1/a", &active.key)?, get("/v1/a", &made_up_key())?);
        // A worker that has not seen the key has no verdict to serve.
        ensure!([200, 503].contains(&known), "in the outage: {known}");
        ensure!(unknown == 503, "an unknown key in the outage: {unknown}");
        let stale = counter("feed.stale.milliseconds.total")?;
        Ok(counter("verdicts.stale.total")? > 0 && stale > fresh)
    })
    .context("no grace in the outage, or no stale feed")?;
    let stale = "rate(keystile_feed_stale_milliseconds_total[1m]) > 0";
    wait_until(|| Ok(!stack.prometheus.now(stale)?.is_empty())).context(stale)?;
    stack.end_outage()
}

/// Waits until Prometheus has seen each outcome.
fn everything_is_counted(prometheus: &Prometheus) -> Result<()> {
    let counted = [
        (
            "keystile_requests_total",
            "outcome",
            "allowed exempt introspected api_key_missing api_key_invalid api_key_not_found \
             api_key_revoked endpoint_restricted internal_error",
        ),
        (
            "keystile_verdicts_total",
            "source",
            "lookup cache stale coalesced",
        ),
        (
            "keystile_lookups_total",
            "result",
            "active revoked not_found indeterminate",
        ),
        (
            "keystile_feed_polls_total",
            "result",
            "current changes reset failed",
        ),
    ];
    for (metric, label, values) in counted {
        for value in values.split(' ') {
            let query = format!("{metric}{{{label}=\"{value}\"}} > 0");
            wait_until(|| Ok(!prometheus.now(&query)?.is_empty())).context(query)?;
        }
    }
    // Envoy publishes histograms every 5 s, and the registry must be up again.
    let query = "job:keystile_lookup_duration_milliseconds:p99_rate5m";
    wait_until(|| {
        let known = prometheus.now(query)?.iter().any(Series::says_something);
        Ok(known && prometheus.targets_down()?.is_empty())
    })
    .context(query)
}

/// Prometheus evaluates each rule, and each recording rule has a value.
fn rules_are_healthy(prometheus: &Prometheus) -> Result<()> {
    let groups = prometheus.ask("rules", &[])?;
    let groups = groups["groups"].as_array().context("no groups")?;
    let rules = groups.iter().flat_map(|group| group["rules"].as_array());
    let mut checked = 0;
    for rule in rules.flatten() {
        let name = rule["name"].as_str().context("no name")?;
        ensure!(rule["health"] == "ok", "{name}: {}", rule["lastError"]);
        if rule["type"] == "recording" {
            let says = || Ok(prometheus.now(name)?.iter().any(Series::says_something));
            wait_until(says).with_context(|| format!("{name}: no series with a value"))?;
        }
        checked += 1;
    }
    ensure!(checked > 0, "no rules");
    Ok(())
}

/// An Envoy without `stats_config` has the same series after relabelling.
fn same_names_without_labels(stack: &Watched) -> Result<()> {
    let plain = stack.plain.as_ref().context("no plain Envoy")?;
    // If it had labels itself, this would test nothing.
    let as_is = plain.prometheus()?;
    ensure!(
        as_is.contains("keystile_requests_allowed_total{} "),
        "the plain Envoy has labels"
    );
    let of = |envoy: std::net::SocketAddr| {
        let names = "keystile_.+|envoy_wasm_vm_reloads_total";
        let query = format!("{{__name__=~\"{names}\", instance=\"{envoy}\"}}");
        let series = stack.prometheus.now(&query)?;
        let labels = series.into_iter().map(|mut one| {
            one.labels.remove("instance");
            one.labels
        });
        anyhow::Ok(labels.collect::<BTreeSet<_>>())
    };
    let (labelled, relabelled) = (of(stack.envoy.admin())?, of(plain.admin())?);
    ensure!(labelled.len() > 40, "few series: {labelled:?}");
    let differ: Vec<_> = labelled.symmetric_difference(&relabelled).collect();
    ensure!(
        differ.is_empty(),
        "series that only one of the two Envoys has: {differ:?}"
    );
    Ok(())
}

/// The check of the dashboard finds each kind of problem and names the panel.
fn broken_queries_are_named(prometheus: &Prometheus, span: Span) -> Result<()> {
    let panel = |title: &str, expression: &str, legend: &str| {
        let target = serde_json::json!({"expr": expression, "legendFormat": legend});
        let panel = serde_json::json!({"type": "timeseries", "title": title, "targets": [target]});
        Dashboard::read(&serde_json::json!({"panels": [panel]}).to_string())
    };
    let cases = [
        (
            "Misspelt",
            "rate(keystile_request_total[$__rate_interval])",
            "",
            "no series",
        ),
        (
            "No such label value",
            "keystile_requests_total{outcome=\"refused\"}",
            "",
            "no series",
        ),
        (
            "Cut off",
            "sum(rate(keystile_requests_total[1m])",
            "",
            "parse error",
        ),
        (
            "No such variable",
            "keystile_requests_total{job=\"$jobs_all\"}",
            "",
            "unknown variable",
        ),
        (
            "Nothing but NaN",
            "0 * keystile_feed_stale_milliseconds_total / 0",
            "",
            "no series",
        ),
        (
            "Legend",
            "keystile_requests_total",
            "{{outcomes}}",
            "no such label",
        ),
    ];
    for (title, expression, legend, expected) in cases {
        let problems = panel(title, expression, legend)?.problems(prometheus, span, &[])?;
        let named = problems.len() == 1
            && problems[0].starts_with(&format!("{title}: "))
            && problems[0].contains(expected);
        ensure!(named, "{title}: {problems:?}, not {expected:?}");
    }
    let variable = serde_json::json!({
        "type": "query",
        "name": "nothing",
        "query": {"query": "label_values(keystile_request_total, job)"},
    });
    let variable = serde_json::json!({"templating": {"list": [variable]}}).to_string();
    let problems = Dashboard::read(&variable)?.problems(prometheus, span, &[])?;
    let named = problems.len() == 1 && problems[0].starts_with("nothing: returns no series");
    ensure!(named, "a variable without values: {problems:?}");
    let full = panel("Full", "keystile_requests_total", "")?;
    let problems = full.problems(prometheus, span, &["Full"])?;
    ensure!(problems.len() == 1, "Full, said to be empty: {problems:?}");
    Ok(())
}
