//! Three kinds of outages of the registry, and a restart of Envoy.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use keystile_e2e::log_entry::without_key_id;
use serde_json::Value;

use crate::compose::{Project, docker};
use crate::decisions::{Expect, Keys, holds, made_up};
use crate::wait_until;

/// A lookup's timeout, with a margin for a busy machine.
const BOUND: Duration = Duration::from_secs(3);

/// One row: how the outage begins and ends, and how a key is revoked meanwhile.
pub(crate) struct Outage {
    pub(crate) name: &'static str,
    begin: fn(&Project) -> Result<()>,
    end: fn(&Project) -> Result<()>,
    /// The compose command to run the registry's command line. It uses a new container with the
    /// same volume if the server's own is unusable.
    run: &'static [&'static str],
    /// Whether it lasts until the verdicts of known keys have expired (after a minute, while the
    /// feed is stale) and grace begins.
    until_grace: bool,
}

pub(crate) const OUTAGES: &[Outage] = &[
    Outage {
        name: "stopped",
        begin: |project| {
            project.compose(&["stop", "registry"])?;
            let code = project.inspect("registry", "{{.State.ExitCode}}")?;
            ensure!(code == "0", "it exited with {code} after SIGTERM");
            Ok(())
        },
        end: |project| project.compose(&["start", "registry"]).map(drop),
        run: &["run", "--rm", "-T", "registry"],
        until_grace: true,
    },
    Outage {
        name: "cut off",
        begin: |project| {
            let (network, id) = (project.network("auth"), project.container("registry")?);
            docker(&["network", "disconnect", &network, &id]).map(drop)
        },
        end: |project| {
            let (network, id) = (project.network("auth"), project.container("registry")?);
            let alias = ["network", "connect", "--alias", "registry"];
            docker(&[&alias[..], &[&network, &id]].concat()).map(drop)
        },
        run: &["exec", "-T", "registry", "keystile-registry"],
        until_grace: false,
    },
    Outage {
        name: "silent",
        begin: |project| project.compose(&["pause", "registry"]).map(drop),
        end: |project| project.compose(&["unpause", "registry"]).map(drop),
        run: &["run", "--rm", "-T", "registry"],
        until_grace: false,
    },
];

impl Outage {
    /// Known keys keep working and unknown ones get a 503, all of them in time. Afterwards,
    /// everything works again.
    pub(crate) fn test(&self, project: &Project, keys: &Keys) -> Result<()> {
        let known = format!("x-api-key: {}", keys.key("active"));
        let to_revoke = Keys::create(project)?;
        for keys in [keys, &to_revoke] {
            known_to_all_workers(project, &keys.key("active"))?;
        }
        (self.begin)(project).context("begin")?;
        let during = self.during(project, keys, &known);
        let revoked = [self.run, &["--json", "revoke", to_revoke.id("active")]].concat();
        let revoked = project.compose(&revoked).context("revoke, meanwhile");
        (self.end)(project).context("end")?;
        during?;
        revoked?;

        wait_until("an unknown key gets a 401 again", || {
            let header = format!("x-api-key: {}", made_up(self.name));
            Ok(project.get("/v1/x", &[&header])?.status == 401)
        })?;
        let old = format!("x-api-key: {}", to_revoke.key("active"));
        // On every worker.
        wait_until("a key that was revoked in the outage is refused", || {
            for _ in 0..20 * workers() {
                let response = project.get("/v1/x", &[&old])?;
                if response.status == 200 {
                    return Ok(false);
                }
                let refused = Expect::Refused(401, "api_key_revoked", "revoked");
                holds(&response, refused, "/v1/x", keys)?;
            }
            Ok(true)
        })?;
        let response = project.get("/v1/x", &[&known])?;
        holds(&response, Expect::Allowed("active"), "/v1/x", keys)
    }

    fn during(&self, project: &Project, keys: &Keys, known: &str) -> Result<()> {
        // A new key without a record each time: Envoy must never answer 401.
        for number in 0..5 {
            let path = format!("/v1/{}/{number}", self.name.replace(' ', "-"));
            let unknown = format!("x-api-key: {}", made_up(&format!("{}-{number}", self.name)));
            let internal = Expect::Refused(503, "internal_error", "Please try again");
            for (header, expect) in [(known, Expect::Allowed("active")), (&unknown, internal)] {
                let asked = Instant::now();
                let response = project.get(&path, &[header])?;
                let took = asked.elapsed();
                holds(&response, expect, &path, keys)
                    .with_context(|| format!("{path}, {expect:?}: {response:?}"))?;
                ensure!(took < BOUND, "{path}, {expect:?}: took {took:?}");
            }
            let logged = logged(project, &path, 2)?;
            let expected = [
                "outcome=allowed source=cache",
                "outcome=allowed source=stale",
            ];
            let known = logged
                .iter()
                .any(|entry| expected.contains(&entry.as_str()));
            ensure!(known, "{path}: the access log has {logged:?}");
            let unknown = |entry: &String| entry.starts_with("outcome=internal_error");
            ensure!(logged.iter().any(unknown), "{path}: the log has {logged:?}");
        }
        if self.until_grace {
            on_grace(project, keys, known)?;
        }
        Ok(())
    }
}

/// A known key keeps working, first from the cache and then on grace.
fn on_grace(project: &Project, keys: &Keys, known: &str) -> Result<()> {
    let mut number = 0;
    wait_until("a known key is on grace", || {
        number += 1;
        let path = format!("/v1/grace/{number}");
        let response = project.get(&path, &[known])?;
        holds(&response, Expect::Allowed("active"), &path, keys).context("before grace")?;
        Ok(logged(project, &path, 1)? == ["outcome=allowed source=stale"])
    })
}

/// Returns the access log's entries about the requests for a path, once there are at least `requests`.
fn logged(project: &Project, path: &str, requests: usize) -> Result<Vec<String>> {
    let mut entries = Vec::new();
    wait_until("the access log has the requests", || {
        let log = project.compose(&["logs", "--no-color", "--tail", "200", "envoy"])?;
        let lines = log.lines().filter_map(|line| line.get(line.find('{')?..));
        let lines = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let ours = lines.filter(|line| line["path"] == path);
        entries = ours
            .map(|line| without_key_id(line["keystile"].as_str().unwrap_or_default()))
            .collect::<Result<_>>()?;
        Ok(entries.len() >= requests)
    })?;
    Ok(entries)
}

/// Sends a key so often that each worker has very likely had it: the system decides which one gets
/// a connection.
fn known_to_all_workers(project: &Project, key: &str) -> Result<()> {
    let header = format!("x-api-key: {key}");
    for _ in 0..40 * workers() {
        let response = project.get("/v1/x", &[&header])?;
        ensure!(response.status == 200, "before the outage: {response:?}");
    }
    Ok(())
}

/// Returns the number of Envoy's workers, one for each processor.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

/// Envoy needs nothing from before a restart to let a key work.
pub(crate) fn envoy_restarts(project: &Project, keys: &Keys) -> Result<()> {
    let header = format!("x-api-key: {}", keys.key("active"));
    project.compose(&["restart", "envoy"])?;
    let mut last = None;
    let again = wait_until("the key works again", || {
        // A connection is refused while Envoy is not up yet. A 401 would be wrong.
        let Ok(response) = project.get("/v1/x", &[&header]) else {
            return Ok(false);
        };
        ensure!([200, 503].contains(&response.status), "{response:?}");
        let works = response.status == 200;
        last = Some(response);
        Ok(works)
    });
    if let Err(problem) = again {
        bail!("{problem:#}: {last:?}");
    }
    let response = project.get("/v1/x", &[&header])?;
    holds(&response, Expect::Allowed("active"), "/v1/x", keys)
}
