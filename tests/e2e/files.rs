//! The shipped files, and how Envoy reacts to broken ones.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use keystile_e2e::client;
use keystile_e2e::envoy::{self, Listener, cluster};
use keystile_e2e::log_entry::without_key_id;
use keystile_e2e::process::wait_until;
use keystile_e2e::root;
use keystile_e2e::shipped::{FREE, Stack};
use serde_json::{Value, json};

use crate::world::World;

trials! { Together:
    "files: shipped configurations are valid" => shipped_configurations_are_valid,
    "files: broken configurations are refused" => broken_configurations_are_refused,
    "files: shipped stack" => shipped_stack,
    "files: a taken port is named" => a_taken_port_is_named,
}

/// Envoy, and with it the filter, accepts every shipped configuration.
fn shipped_configurations_are_valid(_: &World) -> Result<()> {
    let mut checked = 0;
    for entry in std::fs::read_dir(root().join("envoy"))? {
        let path = entry?.path();
        // These are not for Envoy, or have the module elsewhere.
        let others = ["docker-compose.yaml", "envoy-docker.yaml"];
        if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
            && !others.iter().any(|other| path.ends_with(other))
        {
            envoy::validate(&path).with_context(|| format!("{path:?}"))?;
            checked += 1;
        }
    }
    ensure!(checked > 0, "no configuration in envoy/");
    Ok(())
}

/// Envoy refuses what the filter refuses, and its log names the field.
fn broken_configurations_are_refused(world: &World) -> Result<()> {
    let folder = world.folder.path();
    let cases = [
        ("empty", "", "lookup.cluster: is required"),
        ("no cluster", "{}", "lookup.cluster: is required"),
        ("not JSON", "{", "configuration: is not JSON"),
        (
            "unknown field",
            r#"{"lookup":{"cluster":"a","retries":3}}"#,
            "lookup.retries: is not a known field",
        ),
        (
            "timeout of 0",
            r#"{"lookup":{"cluster":"a","timeout":"0ms"}}"#,
            "lookup.timeout: must be from",
        ),
        (
            "repeated field",
            r#"{"lookup":{"cluster":"a"},"lookup":{"cluster":"b"}}"#,
            "lookup: is given more than once",
        ),
        (
            "wildcard in an exempt path",
            r#"{"lookup":{"cluster":"a"},"exempt":{"paths":["/files/*"]}}"#,
            "exempt.paths[0]: has no wildcards",
        ),
        (
            "wildcard in an exempt prefix",
            r#"{"lookup":{"cluster":"a"},"exempt":{"path_prefixes":["/a","/files/*"]}}"#,
            "exempt.path_prefixes[1]: has no wildcards",
        ),
    ];
    for (name, plugin, expected) in cases {
        let listener = Listener {
            plugin: plugin.to_owned(),
            ..Listener::new("broken", &Value::Null)
        };
        refused(folder, &envoy::config(&[listener], &clusters()), expected).context(name)?;
    }

    // A Struct, which is tempting to write in YAML.
    let listener = Listener::new("struct", &Value::Null);
    let mut config = envoy::config(&[listener], &clusters());
    let plugin = envoy::http_settings(&mut config)?
        .pointer_mut("/http_filters/0/typed_config/config/configuration")
        .context("no plugin configuration")?;
    *plugin = json!({
        "@type": "type.googleapis.com/google.protobuf.Struct",
        "value": {"lookup": {"cluster": "upstream"}},
    });
    refused(folder, &config, "google.protobuf.StringValue").context("Struct")
}

fn clusters() -> [Value; 1] {
    [cluster("upstream", None)]
}

fn refused(folder: &Path, config: &Value, expected: &str) -> Result<()> {
    let file = folder.join("broken.json");
    std::fs::write(&file, config.to_string())?;
    match envoy::validate(&file) {
        Ok(()) => bail!("accepted"),
        Err(error) => {
            let error = error.to_string();
            ensure!(error.contains(expected), "no {expected:?} in {error}");
            Ok(())
        }
    }
}

/// The stack of `make run`: its keys get the printed results, its access log has the outcomes, and its
/// statistics count them.
fn shipped_stack(world: &World) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let database = folder.path().join("keystile.db");
    let mut stack = world
        .runtime
        .block_on(Stack::start(FREE, &database, false))?;
    let keys = stack.keys()?;
    for key in [&keys.active, &keys.revoked, &keys.deleted] {
        world.keep_secret(&key.key);
    }
    // Wait until all readers have seen these keys, so that no verdict is dropped later. The readers
    // are the workers and the main thread. Each polls about once a second.
    let readers = std::thread::available_parallelism()?.get() + 1;
    let polls = || polls_without_news(&stack);
    let before = polls()?;
    wait_until(|| Ok(polls()? >= before + 2 * readers))?;
    let to = stack.listener;
    let bearer = |key: &str| format!("authorization: Bearer {key}");
    let cases = [
        (
            "/v1/a",
            bearer(&keys.active.key),
            200,
            "outcome=allowed source=lookup",
        ),
        (
            "/v1/b?key=nobodys",
            bearer(&keys.deleted.key),
            401,
            "outcome=api_key_not_found source=lookup",
        ),
        (
            "/v1/c",
            bearer(&keys.revoked.key),
            401,
            "outcome=api_key_revoked source=lookup",
        ),
        ("/v1/d", "x-y: z".to_owned(), 401, "outcome=api_key_missing"),
        ("/v1/e", bearer("aw_short"), 401, "outcome=api_key_invalid"),
        ("/healthz", "x-y: z".to_owned(), 200, "outcome=exempt"),
    ];
    // Whether the filter runs or Envoy answers before it, a client cannot choose the key ID in the
    // log.
    let spoofed = "x-keystile-key-id: key_evil";
    for (path, header, status, entry) in &cases {
        let response = client::get(to, path, [header.as_str(), spoofed])?;
        ensure!(response.status == *status, "{path}: {response:?}");
        let mut expected = (*entry).to_owned();
        let known = [&keys.active, &keys.revoked]
            .into_iter()
            .find(|key| *header == bearer(&key.key));
        if let Some(key) = known {
            expected.push_str(&format!(" key_id={}", key.key_id));
        }
        if *status == 401 {
            let body: Value = serde_json::from_slice(&response.body)?;
            let outcome = body["error"].as_str().unwrap_or_default();
            ensure!(entry.contains(outcome), "{path}: {body}");
            let id = response.header("x-request-id")?.context("no id")?;
            expected.push_str(&format!(" request_id={id}"));
        }
        let path = path.split('?').next().unwrap_or_default();
        let line = entry_of(&mut stack, path)?;
        ensure!(
            line["keystile"] == expected && line["status"] == *status,
            "{path}: {line}, not {expected}"
        );
        for hidden in ["nobodys", "key_evil"] {
            ensure!(
                !line.to_string().contains(hidden),
                "{path}: {hidden} is logged: {line}"
            );
        }
    }
    // Each worker has its own cache, and the system decides which worker gets a connection.
    let (mut asked, mut cached) = (1, 0);
    while cached == 0 {
        ensure!(asked < 100, "never from the cache");
        asked += 1;
        let path = format!("/v1/f/{asked}");
        let key = bearer(&keys.active.key);
        let response = client::get(to, &path, [key.as_str()])?;
        ensure!(response.status == 200, "{path}: {response:?}");
        let entry = entry_of(&mut stack, &path)?["keystile"].clone();
        match &*without_key_id(entry.as_str().unwrap_or_default())? {
            "outcome=allowed source=cache" => cached += 1,
            "outcome=allowed source=lookup" => {}
            _ => bail!("{path}: {entry}"),
        }
    }
    // With the labels of `stats_config`.
    let counted = [
        (r#"requests_total{outcome="allowed"}"#, asked),
        (r#"requests_total{outcome="exempt"}"#, 1),
        (r#"requests_total{outcome="api_key_missing"}"#, 1),
        (r#"requests_total{outcome="api_key_invalid"}"#, 1),
        (r#"requests_total{outcome="api_key_not_found"}"#, 1),
        (r#"requests_total{outcome="api_key_revoked"}"#, 1),
        (r#"verdicts_total{source="lookup"}"#, asked - cached + 2),
        (r#"verdicts_total{source="cache"}"#, cached),
        (r#"lookups_total{result="active"}"#, asked - cached),
        (r#"lookups_total{result="revoked"}"#, 1),
        (r#"lookups_total{result="not_found"}"#, 1),
        ("lookup_duration_milliseconds_count{}", asked - cached + 2),
        (
            r#"lookup_duration_milliseconds_bucket{le="10000"}"#,
            asked - cached + 2,
        ),
        (r#"feed_polls_total{result="failed"}"#, 0),
        (r#"cache_insertions_total{pool="allow"}"#, asked - cached),
        (r#"cache_insertions_total{pool="deny"}"#, 2),
        (r#"cache_evictions_total{pool="deny"}"#, 0),
    ];
    for (name, count) in counted {
        wait_for(&stack, &format!("{name} {count}"))?;
    }
    // A revocation is seen soon, however long verdicts are kept.
    let active = bearer(&keys.active.key);
    let me = client::get(to, "/v1/keys/me", [active.as_str()])?;
    ensure!(
        me.status == 200 && me.text().contains(&keys.active.key_id),
        "{me:?}"
    );
    stack.registry.run(&["revoke", &keys.active.key_id])?;
    let revoked = Instant::now();
    while revoked.elapsed() < Duration::from_secs(2) {
        client::get(to, "/v1/g", [active.as_str()])?;
    }
    for path in ["/v1/g", "/v1/keys/me"] {
        let response = client::get(to, path, [active.as_str()])?;
        ensure!(
            response.text().contains("api_key_revoked"),
            "{path}: {response:?}"
        );
    }
    drop(stack);
    let left: Vec<_> = std::fs::read_dir(folder.path())?
        .flatten()
        .map(|e| e.file_name())
        .collect();
    ensure!(left == ["keystile.db"], "left behind: {left:?}");
    Ok(())
}

fn polls_without_news(stack: &Stack) -> Result<usize> {
    let metrics = stack.envoy.prometheus()?;
    let name = r#"keystile_feed_polls_total{result="current"} "#;
    let mut values = metrics.lines().filter_map(|line| line.strip_prefix(name));
    Ok(values.next().map_or(Ok(0), str::parse)?)
}

fn wait_for(stack: &Stack, metric: &str) -> Result<()> {
    let expected = format!("keystile_{metric}\n");
    wait_until(|| Ok(stack.envoy.prometheus()?.contains(&expected)))
        .with_context(|| format!("no {expected}"))
}

/// Returns the entry in the access log for a path.
fn entry_of(stack: &mut Stack, path: &str) -> Result<Value> {
    stack.envoy.process().wait_for_line(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        (line["path"] == path).then_some(line)
    })
}

/// If a port is taken, `make run` says which one and what to do.
fn a_taken_port_is_named(_: &World) -> Result<()> {
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port();
    let variables = [
        "LISTENER_PORT",
        "ADMIN_PORT",
        "REGISTRY_PORT",
        "UPSTREAM_PORT",
    ];
    for variable in variables {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keystile-stack"));
        command.envs(variables.map(|other| (other, "0")));
        let output = command.env(variable, port.to_string()).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success(), "{variable}: started");
        for word in [
            format!("port {port}"),
            "is taken".to_owned(),
            variable.to_owned(),
        ] {
            ensure!(said.contains(&word), "{variable}: no {word} in {said}");
        }
    }
    Ok(())
}
