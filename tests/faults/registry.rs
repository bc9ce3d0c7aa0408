//! Floods of the real registry behind an Envoy with the filter: how lookups, probes and Prometheus
//! fare meanwhile.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use keystile_e2e::client;
use keystile_e2e::counters::{Counters, End};
use keystile_e2e::envoy::{Listener, http2_cluster};
use keystile_e2e::flood::{Flood, Reached, unread_answers};
use keystile_e2e::open_files::raise_limit;
use keystile_e2e::process::{Process, wait_until};
use keystile_e2e::recording_upstream::ENTITLED;
use keystile_e2e::registry::{Created, Listening, Registry};
use keystile_e2e::stack::Setup;
use keystile_e2e::trials::trial;
use libtest_mimic::Trial;
use serde_json::json;
use tempfile::TempDir;

use crate::range::{self, Range, Steady, plugin, request, uncached, unknown_key};

/// How many files the registry may open.
const FILES: u32 = 1024;

/// The connections of a flood, more than [`FILES`].
const CONNECTIONS: usize = 1100;

/// How long a flood lasts.
const FLOOD: Duration = Duration::from_secs(1);

/// How long an answer of the registry may take during a flood.
const BOUND: Duration = Duration::from_secs(1);

/// The same while the registry, which may be a debug build, writes the unread answers.
const BUSY: Duration = Duration::from_secs(5);

/// How many answers are requested and never read.
const UNREAD: usize = 20_000;

/// How much the registry may grow for them, in bytes.
const GROWTH: u64 = 40 << 20;

keystile_e2e::suite!(Alone, trials);

fn trials() -> Vec<Trial> {
    vec![
        trial("registry: silent connections", silent_connections),
        trial("registry: unread answers", unread),
    ]
}

/// A registry and a range that sends its lookups to it.
struct Site {
    range: Range,
    server: Process,
    to: Listening,
    known: Created,
    _folder: TempDir,
}

impl Site {
    fn start(options: &[&str]) -> Result<Self> {
        raise_limit()?;
        let folder = tempfile::tempdir()?;
        let registry = Registry::new(&folder.path().join("keystile.db"), None);
        let registry = registry.quiet().with_files(FILES);
        let known = registry.create(&["--account", "acct_1"])?;
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let log = folder.path().join("registry.log");
        let (server, to) = registry.serve_with(free, options, &log)?;
        // Each request makes a lookup.
        let plugin = plugin(&json!({"cache": uncached()}));
        let range = Range::start(Setup {
            clusters: vec![http2_cluster("auth", to.main)],
            ..range::setup(vec![Listener::new("site", &plugin)])
        })?;
        Ok(Self {
            range,
            server,
            to,
            known,
            _folder: folder,
        })
    }

    /// Returns requests with a key that the registry knows, and with keys that it does not know.
    fn steady(&self) -> Steady {
        let Created { key_id, key } = self.known.clone();
        Steady::default()
            .with("site", "a known key", &[End::Answered(200)], move |to| {
                request(to, &[("x-api-key", &key), (ENTITLED, &key_id)])
            })
            .with("site", "an unknown key", &[End::Answered(401)], |to| {
                request(to, &[("x-api-key", &unknown_key())])
            })
    }

    /// Sends the requests that reach the registry without Envoy, on new connections, until `until`.
    /// Returns how long the slowest answer took, which must be less than `bound`.
    fn probe(&self, counters: &Counters, until: Instant, bound: Duration) -> Result<Duration> {
        let mut slowest = Duration::ZERO;
        let unknown = format!("/v1/key-hashes/{:064}", 0);
        while Instant::now() < until {
            for (to, path, status) in [
                (self.to.main, &unknown[..], 404),
                (self.to.main, "/healthz", 200),
                (self.to.main, "/readyz", 200),
                (self.to.metrics, "/healthz", 200),
                (self.to.metrics, "/readyz", 200),
                (self.to.metrics, "/metrics", 200),
            ] {
                let began = Instant::now();
                let got = client::get(to, path, [])
                    .with_context(|| path.to_owned())?
                    .status;
                let took = began.elapsed();
                counters.count("the registry itself", End::Answered(got));
                ensure!(got == status, "{path}: {got}, not {status}");
                ensure!(took < bound, "{path} took {took:?}");
                slowest = slowest.max(took);
            }
            thread::park_timeout(Duration::from_millis(50));
        }
        Ok(slowest)
    }
}

fn silent_connections() -> Result<()> {
    let floods = [
        Flood::silent(),
        Flood::dribbling(),
        Flood::http2(),
        Flood::unfinished(),
        Flood::unread(),
        Flood::idle(),
    ];
    // One flood is enough for a separate metrics listener: no flood reaches that listener.
    let apart = &["--metrics-listen", "127.0.0.1:0"][..];
    for (place, options, floods) in [
        ("one listener", &[][..], &floods[..]),
        ("metrics apart", apart, &floods[..1]),
    ] {
        let site = Site::start(options)?;
        for flood in floods {
            let name = format!("registry: silent connections, {}, {place}", flood.name);
            let steady = site.steady();
            site.range.case(&name, steady, |counters| {
                flooded(&site, counters, &name, flood)
            })?;
        }
    }
    Ok(())
}

fn flooded(site: &Site, counters: &Counters, name: &str, flood: &Flood) -> Result<()> {
    let (stop, reached) = (AtomicBool::new(false), Reached::default());
    let before = site.server.resident_bytes()?;
    thread::scope(|scope| {
        scope.spawn(|| flood.run(site.to.main, CONNECTIONS, &stop, &reached));
        let outcome = wait_until(|| Ok(reached.opened.load(Ordering::Relaxed) >= CONNECTIONS))
            .and_then(|()| site.probe(counters, Instant::now() + FLOOD, BOUND));
        stop.store(true, Ordering::Relaxed);
        let slowest = outcome?;
        println!(
            "{name}: {} connections, {} at once with {FILES} files; slowest answer {slowest:?}; \
             {} KiB before, {} KiB then",
            reached.opened.load(Ordering::Relaxed),
            reached.most.load(Ordering::Relaxed),
            before / 1024,
            site.server.resident_bytes()? / 1024
        );
        Ok(())
    })
}

fn unread() -> Result<()> {
    for (path, http2, connections) in [
        ("/metrics", true, 200),
        ("/metrics", false, 200),
        ("/openapi.json", true, 200),
        // As many streams on each as the registry accepts.
        ("/healthz", true, 80),
    ] {
        let site = Site::start(&[])?;
        let version = if http2 { "HTTP/2" } else { "HTTP/1" };
        let name = format!("registry: unread answers, {path}, {version}");
        site.range.case(&name, site.steady(), |counters| {
            // Afterwards, buffers and everything else that is allocated once exist.
            site.probe(counters, Instant::now() + Duration::from_secs(1), BOUND)?;
            let before = site.server.resident_bytes()?;
            let each = u32::try_from(UNREAD / connections)?;
            let streams = unread_answers(site.to.main, path, http2, connections, each)?;
            let stop = AtomicBool::new(false);
            let (slowest, most) = thread::scope(|scope| {
                let watch = scope.spawn(|| {
                    let mut most = 0;
                    while !stop.load(Ordering::Relaxed) {
                        most = site.server.resident_bytes()?.max(most);
                        thread::park_timeout(Duration::from_millis(5));
                    }
                    anyhow::Ok(most)
                });
                let slowest = site.probe(counters, Instant::now() + FLOOD, BUSY);
                stop.store(true, Ordering::Relaxed);
                let most = watch.join().map_err(|_| anyhow!("the watch panicked"))??;
                anyhow::Ok((slowest?, most))
            })?;
            drop(streams);
            println!(
                "{name}: {UNREAD} answers over {connections} connections; slowest answer \
                 {slowest:?}; {} KiB before, {} KiB at most",
                before / 1024,
                most / 1024
            );
            let grown = most.saturating_sub(before);
            ensure!(grown < GROWTH, "it grew by {} KiB", grown / 1024);
            Ok(())
        })?;
    }
    Ok(())
}
