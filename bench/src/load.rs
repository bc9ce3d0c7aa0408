//! Bursts of load from wrk.

use std::io::Write;
use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use tempfile::NamedTempFile;

use crate::options::Options;
use crate::variants::Variant;

/// A path as long as a real one, below the record's endpoints.
const TARGET: &str = "/v1/numerology/life-path?birth_date=1990-05-17";

/// What wrk reports about a burst.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Burst {
    /// How many requests were answered.
    pub(crate) requests: u64,
    /// How long the burst took, in microseconds.
    pub(crate) micros: u64,
    /// How many answers had a status of 400 or more.
    refused: u64,
    /// How many connections or requests failed otherwise.
    broken: u64,
    /// Median latency in microseconds.
    pub(crate) p50: u64,
    /// 99th percentile of latency in microseconds.
    pub(crate) p99: u64,
}

/// wrk with its script.
pub(crate) struct Wrk {
    script: NamedTempFile,
}

impl Wrk {
    /// Writes the script to a temporary file.
    pub(crate) fn new() -> Result<Self> {
        let mut script = NamedTempFile::with_suffix(".lua")?;
        script.write_all(include_bytes!("load.lua"))?;
        Ok(Self { script })
    }

    /// Runs one burst, all of whose requests must get the variant's status, as far as wrk can tell:
    /// it cannot tell a 401 from a 503.
    pub(crate) fn burst(
        &self,
        to: SocketAddr,
        variant: Variant,
        first_key: u32,
        options: &Options,
    ) -> Result<Burst> {
        let keys = variant.keys();
        let output = Command::new("wrk")
            .args(["--threads", "1", "--timeout", "10s"])
            .args(["--connections", &options.connections.to_string()])
            .args(["--duration", &format!("{}s", options.burst)])
            .arg("--script")
            .arg(self.script.path())
            .args([&format!("http://{to}{TARGET}"), "--", keys.prefix()])
            .args([keys.count(options.keys), first_key].map(|number| number.to_string()))
            .output()
            .context("cannot start wrk; run `make setup`")?;
        let written = String::from_utf8_lossy(&output.stdout);
        let Some(burst) = written.lines().find(|line| line.starts_with('{')) else {
            bail!(
                "wrk failed: {written}{}",
                String::from_utf8_lossy(&output.stderr)
            );
        };
        let burst: Burst = serde_json::from_str(burst)?;
        let refused = if variant.status() < 400 {
            0
        } else {
            burst.requests
        };
        ensure!(
            burst.requests > 0 && burst.broken == 0 && burst.refused == refused,
            "{}: not every response was a {}: {burst:?}",
            variant.name(),
            variant.status()
        );
        Ok(burst)
    }
}

/// Returns wrk's name and version.
pub(crate) fn version() -> Result<String> {
    // wrk also prints its usage, and exits with an error.
    let output = Command::new("wrk").arg("--version").output();
    let output = output.context("cannot start wrk; run `make setup`")?;
    let written = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = written.split(" [").next().unwrap_or_default();
    Ok(version.to_owned())
}
