//! What the module costs besides CPU time: memory, disk space, and time to load.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keystile_e2e::client;
use keystile_e2e::envoy::{Envoy, module};
use keystile_e2e::load::{self, Request};
use keystile_e2e::process::wait_until;

use crate::cpu::Cores;
use crate::figures::median;
use crate::options::Options;
use crate::servers::Servers;
use crate::variants::{Subject, Variant, key};
use crate::{Interrupted, envoy};

/// Workers of the larger Envoy. The memory per worker is the difference to an Envoy with one
/// worker, so that what Envoy's main thread needs for the module does not count.
const WORKERS: u32 = 3;

/// Sizes in bytes, times in milliseconds, as medians over several starts.
pub(crate) struct Footprint {
    /// The module's file.
    pub(crate) module: u64,
    /// What the module adds to Envoy's private memory with one worker, including the main thread's
    /// own VM and the compiled code.
    pub(crate) first: f64,
    /// What it adds to Envoy's resident memory, which includes Envoy's own code for WebAssembly.
    pub(crate) resident: f64,
    /// What the VM of each further worker adds to Envoy's private memory.
    pub(crate) worker: f64,
    /// What `--keys` verdicts add in the cache of one worker.
    pub(crate) verdicts: f64,
    /// What the module adds to the time that Envoy takes to start with one worker.
    pub(crate) load_time: f64,
}

/// Starts Envoy with and without the module, several times each, and returns the medians.
pub(crate) fn measure(
    options: &Options,
    cores: &Cores,
    servers: &Servers,
    interrupted: &Interrupted,
) -> Result<Footprint> {
    let (mut first, mut resident, mut worker) = (Vec::new(), Vec::new(), Vec::new());
    let (mut verdicts, mut load_time) = (Vec::new(), Vec::new());
    for start in 0..options.starts {
        eprintln!("bench: start {} of {}", start + 1, options.starts);
        let started = |variant, workers| {
            interrupted.check()?;
            Started::new(variant, workers, cores, servers)
        };
        let mut with = started(Variant::Cached, 1)?;
        let before = with.private;
        verdicts.push(with.fill(options.keys)? - before);
        let without = started(Variant::NoFilter, 1)?;
        first.push(before - without.private);
        resident.push(with.resident - without.resident);
        load_time.push(with.took - without.took);
        let more_with = started(Variant::Cached, WORKERS)?.private - before;
        let more_without = started(Variant::NoFilter, WORKERS)?.private - without.private;
        worker.push((more_with - more_without) / f64::from(WORKERS - 1));
    }
    Ok(Footprint {
        module: std::fs::metadata(module())?.len(),
        first: median(&first)?,
        resident: median(&resident)?,
        worker: median(&worker)?,
        verdicts: median(&verdicts)?,
        load_time: median(&load_time)?,
    })
}

/// Sends a request with each of `keys` keys, which puts their verdicts into the cache.
pub(crate) fn fill(to: SocketAddr, keys: u32) -> Result<()> {
    send(to, (0..keys).map(key))
}

fn send(to: SocketAddr, keys: impl ExactSizeIterator<Item = String> + Send) -> Result<()> {
    let expected = keys.len();
    let requests = keys.map(|key| Request::new("/v1/numerology/x", key));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let outcomes = runtime.block_on(load::run(to, 4, 16, requests))?;
    ensure!(
        outcomes.by_status == [(200, expected)].into(),
        "filling the cache: {outcomes:?}"
    );
    Ok(())
}

struct Started {
    envoy: Envoy,
    to: SocketAddr,
    /// Private memory in bytes, after some requests.
    private: f64,
    /// Resident memory in bytes, at the same time.
    resident: f64,
    /// How long the start took, in milliseconds.
    took: f64,
    _folder: tempfile::TempDir,
}

impl Started {
    fn new(variant: Variant, workers: u32, cores: &Cores, servers: &Servers) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let envoy = envoy::start(
            &[Subject::of(variant)],
            workers,
            cores,
            servers,
            folder.path(),
        )?;
        let to = envoy.listener(variant.name())?;
        // First on enough connections for each worker to get some, then many requests on a few.
        let credential = format!("authorization: Bearer {}", key(0));
        for _ in 0..16 * workers {
            let response = client::get(to, "/v1/numerology/x", [credential.as_str()])?;
            ensure!(response.status == 200, "{response:?}");
        }
        send(to, std::iter::repeat_n(key(0), 2000))?;
        Ok(Self {
            private: settled(&envoy)?,
            resident: envoy.resident_bytes()? as f64,
            took: start_time(&envoy)?,
            envoy,
            to,
            _folder: folder,
        })
    }

    /// Fills the cache with `keys` verdicts, and returns the private memory in bytes.
    fn fill(&mut self, keys: u32) -> Result<f64> {
        fill(self.to, keys)?;
        let kept = "wasmcustom.keystile.cache.allow.insertions.total";
        self.envoy.wait_for_counter(kept, u64::from(keys))?;
        settled(&self.envoy)
    }
}

/// Returns Envoy's private memory in bytes, after its allocator has released what it can. It
/// releases some each second.
fn settled(envoy: &Envoy) -> Result<f64> {
    const STEADY: u64 = 200_000;
    let mut before = envoy.private_bytes()?;
    for _ in 0..30 {
        std::thread::sleep(Duration::from_secs(2));
        let now = envoy.private_bytes()?;
        if now.saturating_add(STEADY) > before {
            return Ok(now as f64);
        }
        before = now;
    }
    Ok(before as f64)
}

/// Returns how long Envoy's start took by its own log, in milliseconds: from the first line to the
/// main loop, which begins after the workers have been started.
fn start_time(envoy: &Envoy) -> Result<f64> {
    const LAST: &str = "starting main dispatch loop";
    let mut log = String::new();
    wait_until(|| {
        log = envoy.written();
        Ok(log.contains(LAST))
    })?;
    let time = |line: &str| line.split(' ').next()?.parse::<f64>().ok();
    let first = log.lines().find(|line| line.contains("initializing epoch"));
    let last = log.lines().find(|line| line.contains(LAST));
    let times = first.and_then(time).zip(last.and_then(time));
    let (first, last) = times.context("Envoy's log does not say when it started")?;
    Ok((last - first) * 1000.0)
}
