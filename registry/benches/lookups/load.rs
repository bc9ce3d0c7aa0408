//! Runs wrk in short bursts.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Deserialize;
use tokio::process::Command;

use crate::server::Server;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/lookups/load.lua");

/// How to generate load.
pub(crate) struct Load<'a> {
    pub(crate) burst: Duration,
    pub(crate) connections: u32,
    /// A file of hashes, one per line.
    pub(crate) hashes: &'a Path,
    /// How many of them, starting with the first, have a record.
    pub(crate) known: u32,
}

/// The results of a burst.
pub(crate) struct Burst {
    /// Responses per second.
    pub(crate) rate: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    /// The fraction of one processor that the server used.
    pub(crate) busy: f64,
}

/// The summary that the script prints.
#[derive(Deserialize)]
struct Summary {
    answers: u32,
    microseconds: u32,
    p50: u64,
    p99: u64,
    refused: u32,
    asked_unknown: u32,
    failed: u32,
}

impl Load<'_> {
    /// Requests the constant response of `GET /healthz`.
    pub(crate) async fn constant(&self, server: &Server) -> anyhow::Result<Burst> {
        let url = format!("http://{}/healthz", server.address);
        self.run(server, &[&url]).await
    }

    /// Looks up random hashes.
    pub(crate) async fn lookups(&self, server: &Server, seed: usize) -> anyhow::Result<Burst> {
        let url = format!("http://{}", server.address);
        let hashes = self.hashes.to_str().context("a path that is no text")?;
        let arguments = [
            &url,
            "--",
            hashes,
            &self.known.to_string(),
            &seed.to_string(),
        ];
        self.run(server, &arguments).await
    }

    async fn run(&self, server: &Server, arguments: &[&str]) -> anyhow::Result<Burst> {
        let before = processor_time(server.pid)?;
        let output = Command::new("wrk")
            .args(["--threads=1", "--script", SCRIPT])
            .arg(format!("--connections={}", self.connections))
            .arg(format!("--duration={}s", self.burst.as_secs()))
            .args(arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .context("cannot start wrk; `make setup` installs it")?;
        let busy = processor_time(server.pid)?.saturating_sub(before);
        let stdout = String::from_utf8_lossy(&output.stdout);
        let summary = stdout.lines().last().unwrap_or_default();
        let summary: Summary =
            serde_json::from_str(summary).with_context(|| format!("{output:?}"))?;
        summary.check(self.connections)?;
        let seconds = f64::from(summary.microseconds) / 1e6;
        Ok(Burst {
            rate: f64::from(summary.answers) / seconds,
            p50: Duration::from_micros(summary.p50),
            p99: Duration::from_micros(summary.p99),
            busy: busy.as_secs_f64() / seconds,
        })
    }
}

impl Summary {
    /// Checks that exactly the hashes without a record were refused. Responses still in flight at
    /// the end may be missing, and wrk asks its script for one extra request before it starts.
    fn check(&self, connections: u32) -> anyhow::Result<()> {
        ensure!(
            self.answers > 0 && self.failed == 0,
            "there were {} failures",
            self.failed
        );
        let missing = self.asked_unknown.checked_sub(self.refused);
        ensure!(
            missing.is_some_and(|missing| missing <= connections + 1),
            "{} answers were refusals, for {} hashes without a record",
            self.refused,
            self.asked_unknown,
        );
        Ok(())
    }
}

/// Returns the processor time that a process has used so far.
fn processor_time(pid: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // After the name, which may hold anything, the 12th and 13th fields are the time in user mode
    // and in the kernel, in hundredths of a second.
    let (_, fields) = stat.rsplit_once(')').context("no name")?;
    let times: Vec<u64> = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    Ok(Duration::from_millis(times.iter().sum::<u64>() * 10))
}
