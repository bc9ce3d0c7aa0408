//! A real Prometheus: its start, and what it is asked.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::client;
use crate::process::Process;

/// A series, as a query gives it.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its labels, the name among them where it has one.
    pub labels: BTreeMap<String, String>,
    /// Seconds since 1970, and values.
    pub points: Vec<(f64, f64)>,
}

impl Series {
    /// Whether there is any value but NaN.
    pub fn says_something(&self) -> bool {
        self.points.iter().any(|(_, value)| value.is_finite())
    }
}

/// A running Prometheus. Dropping it ends it.
pub struct Prometheus {
    /// Where it answers.
    pub address: SocketAddr,
    _process: Process,
}

/// A span of time, in seconds since 1970, and how far apart its points are.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The first point.
    pub start: f64,
    /// The last point, or up to a step before it.
    pub end: f64,
    /// From one point to the next.
    pub step: f64,
}

/// Now, in seconds since 1970, as in a [`Span`].
///
/// # Errors
/// When the clock is before that.
pub fn now() -> Result<f64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64())
}

impl Prometheus {
    /// Starts Prometheus on a configuration file and waits until it is ready. `folder` gets its
    /// log and its data.
    ///
    /// # Errors
    /// When it does not get ready, with what it wrote.
    pub fn start(config: &Path, folder: &Path) -> Result<Self> {
        let mut command = Command::new("prometheus");
        command
            .arg("--config.file")
            .arg(config)
            .arg("--storage.tsdb.path")
            .arg(folder.join("prometheus"))
            .arg("--web.listen-address=127.0.0.1:0");
        let log = folder.join("prometheus.log");
        let mut process = Process::start("Prometheus", &mut command, &log, false)
            .context("is Prometheus installed? `make setup` does it")?;
        let address = process.wait_until(|| {
            let written = std::fs::read_to_string(&log).ok()?;
            let line = written
                .lines()
                .find(|line| line.contains("\"Listening on\""))?;
            let address: SocketAddr = line.rsplit_once("address=")?.1.parse().ok()?;
            let ready = client::get(address, "/-/ready", []).ok()?;
            (ready.status == 200).then_some(address)
        })?;
        Ok(Self {
            address,
            _process: process,
        })
    }

    /// The `data` of an answer of its API.
    ///
    /// # Errors
    /// When it refuses, with what it says.
    pub fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value> {
        let mut target = format!("/api/v1/{path}");
        for (place, (name, value)) in parameters.iter().enumerate() {
            target.push(if place == 0 { '?' } else { '&' });
            target.push_str(&encoded(name));
            target.push('=');
            target.push_str(&encoded(value));
        }
        let answer = client::get(self.address, &target, [])?;
        let mut said: Value =
            serde_json::from_slice(&answer.body).with_context(|| format!("{answer:?}"))?;
        if said["status"] != "success" {
            bail!("{}", said["error"].as_str().unwrap_or("no reason given"));
        }
        Ok(said["data"].take())
    }

    /// What an expression gives now.
    ///
    /// # Errors
    /// When it cannot be read, with what is wrong.
    pub fn now(&self, expression: &str) -> Result<Vec<Series>> {
        series(&self.ask("query", &[("query", expression)])?)
    }

    /// What an expression gives over a span of time.
    ///
    /// # Errors
    /// When it cannot be read, with what is wrong.
    pub fn over(&self, expression: &str, span: Span) -> Result<Vec<Series>> {
        let (start, end, step) = (
            span.start.to_string(),
            span.end.to_string(),
            span.step.to_string(),
        );
        series(&self.ask(
            "query_range",
            &[
                ("query", expression),
                ("start", &start),
                ("end", &end),
                ("step", &step),
            ],
        )?)
    }

    /// The values of a label in the series that a selector chooses.
    ///
    /// # Errors
    /// When the selector cannot be read, with what is wrong.
    pub fn label_values(&self, selector: &str, label: &str) -> Result<Vec<String>> {
        let data = self.ask(&format!("label/{label}/values"), &[("match[]", selector)])?;
        Ok(serde_json::from_value(data)?)
    }

    /// Scrape targets that are not up, with the reason.
    ///
    /// # Errors
    /// When Prometheus does not answer.
    pub fn targets_down(&self) -> Result<Vec<String>> {
        let targets = self.ask("targets", &[])?;
        let targets = targets["activeTargets"].as_array().context("no targets")?;
        if targets.is_empty() {
            return Ok(vec!["none is known yet".to_owned()]);
        }
        let down = targets.iter().filter(|target| target["health"] != "up");
        Ok(down
            .map(|target| format!("{}: {}", target["scrapeUrl"], target["lastError"]))
            .collect())
    }
}

/// Runs `promtool` in a folder.
///
/// # Errors
/// With what it wrote, when it is not content.
pub fn promtool(folder: &Path, arguments: &[&str]) -> Result<()> {
    let output = Command::new("promtool")
        .current_dir(folder)
        .args(arguments)
        .output()
        .context("is Prometheus installed? `make setup` does it")?;
    ensure!(
        output.status.success(),
        "promtool {arguments:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn series(data: &Value) -> Result<Vec<Series>> {
    let all = data["result"].as_array().context("no result")?;
    all.iter()
        .map(|one| {
            let points = match one["values"].as_array() {
                Some(values) => values.iter().map(point).collect::<Option<_>>(),
                None => point(&one["value"]).map(|point| vec![point]),
            };
            Ok(Series {
                labels: serde_json::from_value(one["metric"].clone())?,
                points: points.with_context(|| format!("no values in {one}"))?,
            })
        })
        .collect()
}

fn point(pair: &Value) -> Option<(f64, f64)> {
    Some((pair[0].as_f64()?, pair[1].as_str()?.parse().ok()?))
}

fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
