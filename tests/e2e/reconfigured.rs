//! A new configuration while Envoy runs: the old one's counts and verdicts go with it.

use anyhow::{Context, Result, ensure};
use keystile_e2e::client;
use keystile_e2e::discovery::listeners_apart;
use keystile_e2e::envoy::{self, Launch, Listener};
use keystile_e2e::keys::{hash, made_up_key};
use keystile_e2e::process::wait_until;
use keystile_e2e::scripted_auth::{Script, ScriptedAuth, answer};
use keystile_e2e::stack::{Setup, Stack};
use serde_json::{Value, json};

trials! { Together:
    "reconfigured: nothing stays behind" => nothing_stays_behind,
}

/// The gauges show only current configurations, and the old one's feed is no longer read.
fn nothing_stays_behind() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let auth = ScriptedAuth::default();
    let page = json!({"cursor": "c1", "changes": [], "reset": false}).to_string();
    auth.script("/first?", Script::Answer(answer("200 OK", &page)));
    auth.script(
        "/second?",
        Script::Answer(answer("500 Internal Server Error", "")),
    );
    let (key, record) = (
        made_up_key(),
        json!({"key_id": "key_1", "status": "active"}),
    );
    auth.script(
        &hash(&key)?,
        Script::Answer(answer("200 OK", &record.to_string())),
    );

    let listeners = folder.path().join("listeners.json");
    let listener = |more: Value| {
        let mut plugin = json!({
            "lookup": {"cluster": "auth", "timeout": "10s"},
            "cache": {"allow_ttl": "1h"},
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            plugin[name] = value.clone();
        }
        vec![Listener::new("stage", &plugin)]
    };
    let publish =
        |more: Value| listeners_apart(&mut envoy::config(&listener(more), &[]), &listeners);
    let feed = |path: &str| json!({"feed": {"path": path, "interval": "100ms"}});
    let first = listeners.clone();
    let Stack { envoy, .. } = &Stack::start(Setup {
        edit: Box::new(move |config| listeners_apart(config, &first)),
        launch: Launch::default().with(&["--drain-time-s", "1"]),
        auth,
        ..Setup::new(listener(feed("/first?{cursor}")))
    })?;
    let of = |name: &str| envoy.counter(&format!("wasmcustom.keystile.{name}"));
    let wait_for = |name: &str, expected: u64| {
        envoy.wait_for_counter(&format!("wasmcustom.keystile.{name}"), expected)
    };

    wait_for("feed_polls.reset.total", 2)?;
    let line = format!("x-api-key: {key}");
    client::get(envoy.listener("stage")?, "/v1/x", [line.as_str()])?;
    wait_for("cache.allow.insertions.total", 1)?;

    publish(feed("/second?{cursor}"))?;
    wait_until(|| Ok(of("feed_polls.failed.total")? > 10)).context("the second feed")?;
    let mut before = 0;
    wait_until(|| {
        let now = of("feed_polls.current.total")?;
        let failed = of("feed_polls.failed.total")?;
        let quiet = now == before && failed > 30;
        before = now;
        Ok(quiet)
    })
    .context("the first feed is still read")?;
    let (polls, failed) = (before, of("feed_polls.failed.total")?);
    wait_until(|| Ok(of("feed_polls.failed.total")? > failed + 20))?;
    ensure!(
        of("feed_polls.current.total")? == polls,
        "the first feed is still read"
    );

    publish(json!({}))?;
    envoy.wait_until_constant("wasmcustom.keystile.feed.stale.milliseconds.total")?;
    envoy.no_vm_died()
}
