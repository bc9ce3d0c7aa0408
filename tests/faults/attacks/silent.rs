//! Connections that send nothing, or only the beginning of a request, as many as Envoy accepts.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use keystile_e2e::client;
use keystile_e2e::envoy::{self, Launch};
use keystile_e2e::flood::is_open;
use keystile_e2e::open_files::raise_limit;
use keystile_e2e::process::wait_until;
use keystile_e2e::registry::Registry;
use keystile_e2e::root;
use keystile_e2e::trials::trial;
use libtest_mimic::Trial;
use serde_json::{Value, json};

/// More than the shipped limit of 10,000.
const CONNECTIONS: usize = 10_200;

/// What the connections send, in turn.
const BEGINNINGS: [(&str, &[u8]); 4] = [
    ("nothing", b""),
    ("a letter", b"G"),
    ("a line", b"GET /v1/x HTTP/1.1\r\n"),
    (
        "HTTP/2, without a stream",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    ),
];

/// How long it may take until Envoy has closed all of them.
const LONGEST: Duration = Duration::from_secs(25);

/// How long a probe or a scrape may take.
const PATIENCE: Duration = Duration::from_secs(2);

keystile_e2e::suite!(Alone, trials);

fn trials() -> Vec<Trial> {
    vec![trial("attack: silent connections", silent)]
}

/// Probes and Prometheus get through during the attack, on the admin page and, in a container, on the
/// listener `stats`. The connections do not last long.
fn silent() -> Result<()> {
    let (needed, files) = (CONNECTIONS as u64 + 1_000, raise_limit()?);
    ensure!(
        files >= needed,
        "this needs {needed} open files, and may have {files}: raise the limit (ulimit -Hn)"
    );
    let folder = tempfile::tempdir()?;
    let registry = Registry::new(&folder.path().join("keystile.db"), None);
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let (_server, auth) = registry.serve(any, &folder.path().join("registry.log"))?;
    let envoy = Launch::all_processors().start(in_container(auth)?, folder.path())?;

    let (api, stats) = (envoy.listener("api")?, envoy.listener("stats")?);
    let rejected = || envoy.counter("listener.127.0.0.1_0.downstream_global_cx_overflow");
    let before = rejected()?;
    let mut silent = Vec::with_capacity(CONNECTIONS);
    let opened = Instant::now();
    for (name, beginning) in BEGINNINGS.into_iter().cycle().take(CONNECTIONS) {
        let mut stream = TcpStream::connect(api).context("no connection")?;
        // A connection beyond the limit may already be closed.
        let _ = stream.write_all(beginning);
        stream.set_nonblocking(true)?;
        silent.push((name, stream));
    }
    let took = opened.elapsed();
    let all_open = Instant::now();
    wait_until(|| Ok(rejected()? > before))
        .context("Envoy rejected no connection: the limit was not reached")?;
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
    let refused = rejected()? - before;
    // A client that gets through would prove nothing. While all places are taken, Envoy counts a place
    // as free whenever a connection ends that did not need one.
    wait_until(|| {
        silent.retain_mut(|(_, stream)| is_open(stream));
        Ok(silent.is_empty())
    })
    .with_context(|| {
        let open: BTreeSet<_> = silent.iter().map(|(name, _)| name).collect();
        format!("{} are still open, which sent {open:?}", silent.len())
    })?;
    let ended = all_open.elapsed();
    let answer = client::get(api, "/v1/x", [])?;
    ensure!(answer.status == 401, "a client: {answer:?}");
    println!(
        "attack: silent connections: {CONNECTIONS} opened in {took:?}, {refused} of them \
         beyond the limit; probes and scrapes took up to {slowest:?}; all were ended after {ended:?}"
    );
    ensure!(slowest < PATIENCE, "a probe or a scrape took {slowest:?}");
    ensure!(ended < LONGEST, "all were ended after {ended:?}");
    Ok(())
}

/// Returns `envoy/envoy-docker.yaml` with its registry at this address and its listeners on free ports.
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
