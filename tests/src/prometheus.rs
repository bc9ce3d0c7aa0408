//! A real Prometheus: its start and its queries.

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

/// A series in the result of a query.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its labels, including the name if it has one.
    pub labels: BTreeMap<String, String>,
    /// Times in seconds since 1970, and values.
    pub points: Vec<(f64, f64)>,
}

impl Series {
    /// Returns true if any value is finite.
    pub fn says_something(&self) -> bool {
        self.points.iter().any(|(_, value)| value.is_finite())
    }
}

/// A running Prometheus. Dropping it ends it.
pub struct Prometheus {
    /// The address that it listens on.
    pub address: SocketAddr,
    _process: Process,
}

/// A range of time, in seconds since 1970, and the step between its points.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The first point.
    pub start: f64,
    /// The last point, or up to a step before it.
    pub end: f64,
    /// The time from one point to the next, in seconds.
    pub step: f64,
}

/// Returns the current time in seconds since 1970, as in a [`Span`].
///
/// # Errors
/// When the clock is before 1970.
pub fn now() -> Result<f64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64())
}

impl Prometheus {
    /// Starts Prometheus on a configuration file and waits until it is ready. Its log and its data go
    /// to `folder`.
    ///
    /// # Errors
    /// When it does not become ready. The error includes its output.
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

    /// Returns the `data` of a response from the API.
    ///
    /// # Errors
    /// When Prometheus refuses the request; says why.
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

    /// Evaluates an expression now.
    ///
    /// # Errors
    /// When Prometheus refuses the expression; says why.
    pub fn now(&self, expression: &str) -> Result<Vec<Series>> {
        series(&self.ask("query", &[("query", expression)])?)
    }

    /// Evaluates an expression over a range of time.
    ///
    /// # Errors
    /// When Prometheus refuses the expression; says why.
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

    /// Returns the values of a label in the series that a selector matches.
    ///
    /// # Errors
    /// When Prometheus refuses the selector; says why.
    pub fn label_values(&self, selector: &str, label: &str) -> Result<Vec<String>> {
        let data = self.ask(&format!("label/{label}/values"), &[("match[]", selector)])?;
        Ok(serde_json::from_value(data)?)
    }

    /// Returns the scrape targets that are not up, with the reasons.
    ///
    /// # Errors
    /// When Prometheus does not answer.
    pub fn targets_down(&self) -> Result<Vec<String>> {
        let targets = self.ask("targets", &[])?;
        let targets = targets["activeTargets"].as_array().context("no targets")?;
        if targets.is_empty() {
            return Ok(vec!["no targets yet".to_owned()]);
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
/// When it fails. The error includes its output.
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
