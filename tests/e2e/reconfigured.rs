//! A new configuration while Envoy runs: the old one's counts and verdicts go with it.

use anyhow::{Context, Result, ensure};
use keystile_e2e::client;
use keystile_e2e::discovery::listeners_apart;
use keystile_e2e::envoy::{self, Envoy, Listener, cluster};
use keystile_e2e::keys::{hash, made_up_key};
use keystile_e2e::process::wait_until;
use keystile_e2e::scripted_auth::{Script, ScriptedAuth, answer};
use serde_json::{Value, json};

use crate::world::World;

trials! { Alone:
    "reconfigured: nothing stays behind" => nothing_stays_behind,
}

/// The gauges show only current configurations, and the old one's feed is no longer read.
fn nothing_stays_behind(world: &World) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let auth = ScriptedAuth::default();
    // There is no registry to forward to: all answers are scripted.
    let nobody = ([127, 0, 0, 1], 1).into();
    let serving = world.runtime.block_on(auth.serve(nobody))?;
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
    let config = |more: Value| {
        let mut plugin = json!({
            "lookup": {"cluster": "auth", "timeout": "10s"},
            "cache": {"allow_ttl": "1h"},
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            plugin[name] = value.clone();
        }
        let clusters = [
            cluster("auth", Some(serving.address)),
            cluster("upstream", None),
        ];
        let mut config = envoy::config(&[Listener::new("stage", &plugin)], &clusters);
        listeners_apart(&mut config, &listeners)?;
        anyhow::Ok(config)
    };
    let feed = |path: &str| json!({"feed": {"path": path, "interval": "100ms"}});
    let file = folder.path().join("envoy.json");
    std::fs::write(&file, config(feed("/first?{cursor}"))?.to_string())?;
    let options = [
        "--concurrency",
        "1",
        "--log-level",
        "warning",
        "--drain-time-s",
        "1",
    ];
    let envoy = Envoy::start(&file, folder.path(), &options, false)?;
    let of = |name: &str| envoy.counter(&format!("wasmcustom.keystile.{name}"));
    let wait_for = |name: &str, expected: u64| {
        envoy.wait_for_counter(&format!("wasmcustom.keystile.{name}"), expected)
    };

    wait_for("feed_polls.reset.total", 2)?;
    wait_for("feed.stale", 0)?;
    let line = format!("x-api-key: {key}");
    client::get(envoy.listener("stage")?, "/v1/x", [line.as_str()])?;
    wait_for("cache.allow.entries", 1)?;

    config(feed("/second?{cursor}"))?;
    wait_until(|| Ok(of("feed_polls.failed.total")? > 10)).context("the second feed")?;
    // One of the worker, and one of the main thread.
    wait_for("feed.stale", 2)?;
    wait_for("cache.allow.entries", 0)?;
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

    config(json!({}))?;
    wait_for("feed.stale", 0)?;
    envoy.no_vm_died()
}
