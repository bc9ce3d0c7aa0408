//! Connections on which nothing is said, as many as Envoy takes.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use keystile_e2e::client;
use keystile_e2e::envoy::{self, Envoy};
use keystile_e2e::process::wait_until;
use keystile_e2e::registry::Registry;
use keystile_e2e::{root, shipped};
use libtest_mimic::Trial;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};

use crate::range::trial;

/// More than the shipped limit of 10,000.
const CONNECTIONS: usize = 10_200;

/// What a probe or a scrape may take.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn trials() -> Vec<Trial> {
    vec![trial("attack: silent connections", silent)]
}

/// Probes and Prometheus get through while they last, on the admin page and, in a container, on
/// the listener `stats`; and they do not last for long.
fn silent() -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let needed = CONNECTIONS as u64 + 1_000;
    ensure!(
        hard >= needed,
        "this needs {needed} open files, and may have {hard}: raise the limit (ulimit -Hn)"
    );
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(needed), hard)?;
    let folder = tempfile::tempdir()?;
    let registry = Registry::new(&folder.path().join("keystile.db"), None);
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let (_server, auth) = registry.serve(any, &folder.path().join("registry.log"))?;
    let file = folder.path().join("envoy.json");
    std::fs::write(&file, in_container(auth)?.to_string())?;
    let envoy = Envoy::start(&file, folder.path(), shipped::OPTIONS, false)?;
    let (api, stats) = (envoy.listener("api")?, envoy.listener("stats")?);

    let mut silent = Vec::with_capacity(CONNECTIONS);
    let opened = Instant::now();
    while silent.len() < CONNECTIONS {
        silent.push(TcpStream::connect(api).context("no connection")?);
    }
    let took = opened.elapsed();
    let all_open = Instant::now();
    let rejected = || envoy.counter("listener.127.0.0.1_0.downstream_global_cx_overflow");
    wait_until(|| Ok(rejected()? > 0)).context("they are not too many")?;
    let mut slowest = Duration::ZERO;
    for (name, to, path) in [
        ("probe of the admin page", envoy.admin(), "/ready"),
        (
            "scrape of the admin page",
            envoy.admin(),
            "/stats/prometheus",
        ),
        ("probe in a container", stats, "/ready"),
        ("scrape in a container", stats, "/stats/prometheus"),
    ] {
        let asked = Instant::now();
        let answer = client::get(to, path, []).with_context(|| name.to_owned())?;
        slowest = slowest.max(asked.elapsed());
        ensure!(answer.status == 200, "{name}: {answer:?}");
    }
    let refused = rejected()?;
    wait_until(|| Ok(client::get(api, "/v1/x", []).is_ok_and(|answer| answer.status == 401)))
        .context("clients are locked out")?;
    println!(
        "attack: silent connections: {CONNECTIONS} opened in {took:?}, {refused} of them beyond \
         the limit; probes and scrapes took up to {slowest:?}; clients got through after {:?}",
        all_open.elapsed()
    );
    ensure!(slowest < PATIENCE, "a probe or a scrape took {slowest:?}");
    Ok(())
}

/// `envoy/envoy-docker.yaml` with its registry there, on free ports.
fn in_container(registry: SocketAddr) -> Result<Value> {
    let text = std::fs::read_to_string(root().join("envoy/envoy-docker.yaml"))?;
    let admin = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let text = text
        .replace(
            "/etc/envoy/keystile.wasm",
            &envoy::module().to_string_lossy(),
        )
        .replace("port_value: 9901 ", &format!("port_value: {admin} "))
        .replace(
            "address: registry, port_value: 8081 ",
            &format!("address: 127.0.0.1, port_value: {} ", registry.port()),
        )
        .replace("address: upstream, ", "address: 127.0.0.1, ")
        .replace("address: 0.0.0.0, ", "address: 127.0.0.1, ");
    let mut config: Value = serde_saphyr::from_str(&text)?;
    let listeners = config["static_resources"]["listeners"].as_array_mut();
    for listener in listeners.into_iter().flatten() {
        listener["address"]["socket_address"]["port_value"] = json!(0);
    }
    Ok(config)
}
