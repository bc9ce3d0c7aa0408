//! The files that are shipped, and how Envoy takes broken ones.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use keystile_e2e::client;
use keystile_e2e::envoy::{self, Listener, cluster};
use keystile_e2e::root;
use keystile_e2e::shipped::{FREE, Stack};
use serde_json::{Value, json};

use crate::world::World;

/// Envoy, and with it the filter, accepts every configuration that is shipped.
pub(crate) fn shipped_configurations_are_valid() -> Result<()> {
    let mut checked = 0;
    for entry in std::fs::read_dir(root().join("envoy"))? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            envoy::validate(&path).with_context(|| format!("{path:?}"))?;
            checked += 1;
        }
    }
    ensure!(checked > 0, "no configuration in envoy/");
    Ok(())
}

/// Envoy refuses what the filter refuses, and its log says which field.
pub(crate) fn broken_configurations_are_refused(folder: &Path) -> Result<()> {
    let cases = [
        ("empty", "", "lookup.cluster: is required"),
        ("no cluster", "{}", "lookup.cluster: is required"),
        ("not JSON", "{", "configuration: is not JSON"),
        (
            "unknown field",
            r#"{"lookup":{"cluster":"a","retries":3}}"#,
            "lookup.retries: is unknown here",
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
    ];
    for (name, plugin, expected) in cases {
        let listener = Listener {
            plugin: plugin.to_owned(),
            ..Listener::new("broken", &Value::Null)
        };
        refused(folder, &envoy::config(&[listener], &clusters()), expected).context(name)?;
    }

    // A Struct, as YAML invites to write it.
    let listener = Listener::new("struct", &Value::Null);
    let mut config = envoy::config(&[listener], &clusters());
    let plugin = config
        .pointer_mut(
            "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters/0/\
             typed_config/config/configuration",
        )
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

/// The stack of `make run`: its keys get what is printed, its access log tells the outcomes, and
/// its statistics count them.
pub(crate) fn shipped_stack(world: &World) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let database = folder.path().join("keystile.db");
    let mut stack = world
        .runtime
        .block_on(Stack::start(FREE, &database, false))?;
    let keys = stack.keys()?;
    for key in [&keys.active, &keys.revoked, &keys.deleted] {
        world.keep_secret(&key.key);
    }
    let to = stack.listener;
    let bearer = |key: &str| format!("authorization: Bearer {key}");
    let cases = [
        ("/v1/a", bearer(&keys.active.key), 200, "allowed"),
        (
            "/v1/b?key=nobodys",
            bearer(&keys.deleted.key),
            401,
            "api_key_not_found",
        ),
        ("/v1/c", bearer(&keys.revoked.key), 401, "api_key_revoked"),
        ("/v1/d", "x-y: z".to_owned(), 401, "api_key_missing"),
        ("/v1/e", bearer("aw_short"), 401, "api_key_invalid"),
        ("/healthz", "x-y: z".to_owned(), 200, "exempt"),
    ];
    let mut replies = Vec::new();
    for (path, header, status, outcome) in &cases {
        let response = client::get(to, path, [header.as_str()])?;
        ensure!(response.status == *status, "{path}: {response:?}");
        if *status == 401 {
            ensure!(
                response.text().contains(outcome),
                "{path}: {}",
                response.text()
            );
        }
        replies.push(
            response
                .header("x-request-id")?
                .unwrap_or_default()
                .to_owned(),
        );
    }
    for ((path, _, status, outcome), reply) in cases.iter().zip(replies) {
        let path = path.split('?').next().unwrap_or_default();
        let line: Value = stack.envoy.process().wait_for_line(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            (line["path"] == path).then_some(line)
        })?;
        ensure!(
            line["outcome"] == *outcome && line["status"] == *status,
            "{path}: {line}"
        );
        let expected = if *status == 401 {
            json!(reply)
        } else {
            Value::Null
        };
        ensure!(
            line["reply_id"] == expected,
            "{path}: {line}, reply {reply}"
        );
        ensure!(
            !line.to_string().contains("nobodys"),
            "{path}: the query is logged: {line}"
        );
        let counted = format!("keystile_requests_{outcome}_total{{}} 1\n");
        let statistics = stack.envoy.prometheus()?;
        ensure!(
            statistics.contains(&counted),
            "no {counted} in {statistics}"
        );
    }
    for (verdict, count) in [
        ("active", 1),
        ("revoked", 1),
        ("not_found", 1),
        ("indeterminate", 0),
    ] {
        let name = format!("wasmcustom.keystile.lookups.{verdict}.total");
        let counted = stack.envoy.counter(&name)?;
        ensure!(counted == count, "{name}: {counted}, not {count}");
    }
    drop(stack);
    let left: Vec<_> = std::fs::read_dir(folder.path())?
        .flatten()
        .map(|e| e.file_name())
        .collect();
    ensure!(left == ["keystile.db"], "left behind: {left:?}");
    Ok(())
}

/// `make run` with a port that is taken says which, and what to do.
pub(crate) fn a_taken_port_is_named() -> Result<()> {
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
