//! `envoy/envoy.yaml` allows the module only what it needs. Without any one entry, no request gets in,
//! none hangs, and no valid key is called invalid.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use keystile_e2e::client;
use keystile_e2e::envoy::Launch;
use keystile_e2e::keys::made_up_key;
use keystile_e2e::recording_upstream::RecordingUpstream;
use keystile_e2e::registry::Registry;
use keystile_e2e::shipped::{FREE, Ports, config_on};
use keystile_module::{CALLBACKS, HOST_CALLS};

use crate::world::World;

trials! { Together:
    "capabilities: the table is complete" => the_table_is_complete,
    "capabilities: without an entry nothing gets in" => without_an_entry_nothing_gets_in,
}

/// What is left of the filter without one entry of the list.
#[derive(Clone, Copy, Debug)]
enum Without {
    /// Envoy does not start.
    NotLoaded,
    /// Every request gets a 503.
    Closed,
    /// There are no verdicts: requests that need one get a 503.
    NoVerdicts,
    /// Requests are decided as usual. Something else is lost: the cleanup after requests, the feed and
    /// the statistics, or the handling of trailers.
    Decides,
}
use Without::{Closed, Decides, NoVerdicts, NotLoaded};

const ENTRIES: &[(&str, Without)] = &[
    ("proxy_on_context_create", NotLoaded),
    ("proxy_on_configure", Closed),
    ("proxy_on_tick", Decides),
    ("proxy_on_request_headers", Closed),
    ("proxy_on_request_trailers", Decides),
    ("proxy_on_http_call_response", NoVerdicts),
    ("proxy_on_delete", Decides),
    ("proxy_log", NotLoaded),
    ("proxy_get_current_time_nanoseconds", NotLoaded),
    ("proxy_set_tick_period_milliseconds", NotLoaded),
    ("proxy_get_buffer_bytes", NotLoaded),
    ("proxy_get_header_map_pairs", NotLoaded),
    ("proxy_get_header_map_value", NotLoaded),
    ("proxy_add_header_map_value", NotLoaded),
    ("proxy_remove_header_map_value", NotLoaded),
    ("proxy_get_property", NotLoaded),
    ("proxy_set_property", NotLoaded),
    ("proxy_continue_stream", NotLoaded),
    ("proxy_send_local_response", NotLoaded),
    ("proxy_http_call", NotLoaded),
    ("proxy_set_effective_context", NotLoaded),
    ("proxy_define_metric", NotLoaded),
    ("proxy_increment_metric", NotLoaded),
    ("proxy_record_metric", NotLoaded),
    ("clock_time_get", NotLoaded),
    ("random_get", NotLoaded),
];

/// Returns an entry as written in the file.
fn line(entry: &str) -> String {
    format!("                            {entry}: {{}}\n")
}

/// Returns all capabilities that the module needs except one, in Envoy's format.
pub(crate) fn all_but(entry: &str) -> serde_json::Value {
    let others = ENTRIES.iter().filter(|(other, _)| *other != entry);
    others
        .map(|(other, _)| ((*other).to_owned(), serde_json::json!({})))
        .collect()
}

/// [`ENTRIES`] lists exactly what the module exports and calls.
fn the_table_is_complete(_: &World) -> Result<()> {
    let listed: BTreeSet<_> = CALLBACKS.into_iter().chain(HOST_CALLS).collect();
    let expected: BTreeSet<_> = ENTRIES.iter().map(|(entry, _)| *entry).collect();
    ensure!(
        listed == expected,
        "not in both module/src/lists.rs and this table: {:?}",
        listed.symmetric_difference(&expected)
    );
    Ok(())
}

/// Removes each entry in turn.
fn without_an_entry_nothing_gets_in(world: &World) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let registry = Registry::new(&folder.path().join("keystile.db"), None);
    let (_server, auth) = registry.serve(
        ([127, 0, 0, 1], 0).into(),
        &folder.path().join("registry.log"),
    )?;
    let recorder = RecordingUpstream::echoing();
    let upstream = world.runtime.block_on(recorder.serve())?;
    let key = registry.create(&["--account", "acct_1"])?.key;
    let config = config_on(Ports {
        upstream: upstream.address.port(),
        registry: auth.port(),
        ..FREE
    })?;
    for (entry, without) in ENTRIES {
        let line = line(entry);
        ensure!(config.matches(&line).count() == 1, "no line for {entry}");
        let config = config.replace(&line, "");
        check(folder.path(), &config, entry, *without, &key)
            .with_context(|| format!("without {entry}"))?;
        ensure!(
            !recorder.text().contains("nobody"),
            "without {entry}: the upstream got {}",
            recorder.text()
        );
    }
    Ok(())
}

fn check(folder: &Path, config: &str, entry: &str, without: Without, key: &str) -> Result<()> {
    let launch = Launch {
        log_level: "error",
        ..Launch::default()
    };
    let envoy = match launch.start(config, folder) {
        Ok(envoy) => envoy,
        Err(problem) => {
            ensure!(
                matches!(without, NotLoaded),
                "it is not loaded: {problem:#}"
            );
            let said = format!("{problem:#}");
            // Envoy does not log a callback that it has not called.
            let named = said.contains(&format!("capability: {entry}"));
            ensure!(
                named || entry.starts_with("proxy_on_"),
                "the error does not name the missing capability: {said}"
            );
            return Ok(());
        }
    };
    let to = envoy.listener("api")?;
    let (needs_key, needs_none) = match without {
        NotLoaded => bail!("Envoy started, but should not have"),
        Closed => (503, 503),
        NoVerdicts => (503, 200),
        Decides => (200, 200),
    };
    let nobody = match without {
        Closed => [503, 503],
        NoVerdicts => [401, 503],
        NotLoaded | Decides => [401, 401],
    };
    expect(to, "/nobody", "x-y: z", nobody[0])?;
    let unknown = format!("x-api-key: {}", made_up_key());
    expect(to, "/nobody", &unknown, nobody[1])?;
    let known = format!("x-api-key: {key}");
    expect(to, "/v1/x", &known, needs_key)?;
    // From the cache, if there is one.
    expect(to, "/v1/x", &known, needs_key)?;
    expect(to, "/v1/keys/me", &known, needs_key)?;
    expect(to, "/healthz", "x-y: z", needs_none)
}

fn expect(to: SocketAddr, path: &str, header: &str, status: u16) -> Result<()> {
    let response = client::get(to, path, [header])?;
    ensure!(
        response.status == status,
        "{path}: {response:?}, not {status}"
    );
    Ok(())
}
