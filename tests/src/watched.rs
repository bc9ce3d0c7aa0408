//! The shipped stack, and a Prometheus that watches it with the files in `envoy/prometheus`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::envoy::{Envoy, Launch};
use crate::process::{Process, wait_until};
use crate::prometheus::Prometheus;
use crate::recording_upstream::RecordingUpstream;
use crate::registry::Registry;
use crate::root;
use crate::serving::Serving;
use crate::shipped::{FREE, Ports, config_on};

/// What differs from the shipped files, so that nothing takes an hour.
pub struct Setup {
    /// Replaces `cache` in `envoy/envoy.yaml`. An object in JSON.
    pub cache: &'static str,
    /// Replaces `feed`, likewise.
    pub feed: &'static str,
    /// The interval of scrapes and of rule evaluations.
    pub interval: Duration,
    /// Whether there is a second Envoy, without `stats_config`, as in a mesh.
    pub plain: bool,
}

/// The running stack. Dropping it ends it.
pub struct Watched {
    /// Prometheus, which watches all the others.
    pub prometheus: Prometheus,
    /// Envoy as shipped.
    pub envoy: Envoy,
    /// The address of its listener.
    pub listener: SocketAddr,
    /// The Envoy without `stats_config`, if there is one.
    pub plain: Option<Envoy>,
    /// The command line for the registry's database.
    pub registry: Registry,
    registry_at: SocketAddr,
    /// `None` during an outage.
    server: Option<Process>,
    folder: TempDir,
    _upstream: Serving,
}

impl Watched {
    /// Starts everything, and waits until all of Prometheus' targets are up.
    ///
    /// # Errors
    /// When a part does not become ready; says which.
    pub async fn start(setup: &Setup) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let registry = Registry::new(&folder.path().join("keystile.db"), None);
        let (server, registry_at) = registry.serve(any, &folder.path().join("registry.log"))?;
        let upstream = RecordingUpstream::default().serve().await?;
        let ports = Ports {
            upstream: upstream.address.port(),
            registry: registry_at.port(),
            ..FREE
        };
        let start = |name: &str, edit: fn(&str) -> Result<String>| {
            let config = edit(&edited(&config_on(ports)?, setup)?)?;
            Launch::all_processors().start(config, &folder.path().join(name))
        };
        let envoy = start("envoy", |text| Ok(text.to_owned()))?;
        let plain = setup.plain.then(|| start("plain", without_labels));
        let plain = plain.transpose()?;
        let envoys = [Some(&envoy), plain.as_ref()].into_iter().flatten();
        let envoys: Vec<_> = envoys.map(Envoy::admin).collect();
        let config = scraping(folder.path(), &envoys, registry_at, setup.interval)?;
        let prometheus = Prometheus::start(&config, folder.path())?;
        // The first scrape comes seconds later, and rates do not count what happened before it.
        let mut down = Vec::new();
        wait_until(|| {
            down = prometheus.targets_down()?;
            Ok(down.is_empty())
        })
        .with_context(|| format!("targets that are not up: {down:?}"))?;
        Ok(Self {
            prometheus,
            listener: envoy.listener("api")?,
            envoy,
            plain,
            registry,
            registry_at,
            server: Some(server),
            folder,
            _upstream: upstream,
        })
    }

    /// Kills the registry.
    ///
    /// # Errors
    /// When it is already down.
    pub fn begin_outage(&mut self) -> Result<()> {
        self.server.take().context("it is down already")?.crash()
    }

    /// Starts the registry again at the same address.
    ///
    /// # Errors
    /// When it does not become ready. The error includes its output.
    pub fn end_outage(&mut self) -> Result<()> {
        let log = self.folder.path().join("registry-again.log");
        let (server, _) = self.registry.serve(self.registry_at, &log)?;
        self.server = Some(server);
        Ok(())
    }
}

/// Returns the folder with Prometheus' files.
pub fn files() -> PathBuf {
    root().join("envoy/prometheus")
}

fn edited(envoy: &str, setup: &Setup) -> Result<String> {
    let mut envoy = envoy.to_owned();
    for (field, value) in [("cache", setup.cache), ("feed", setup.feed)] {
        let field = format!("\"{field}\": ");
        let line = envoy.lines().find(|line| line.trim().starts_with(&field));
        let line = line.with_context(|| format!("envoy/envoy.yaml has no {field}"))?;
        envoy = envoy.replace(
            line,
            &format!("                              {field}{value},"),
        );
    }
    Ok(envoy)
}

/// Returns Envoy's configuration without its `stats_config`.
fn without_labels(envoy: &str) -> Result<String> {
    let (head, block) = envoy
        .split_once("\nstats_config:\n")
        .context("envoy/envoy.yaml has no stats_config")?;
    let rest = block.lines().skip_while(|line| line.starts_with(' '));
    Ok(rest.fold(head.to_owned(), |text, line| text + "\n" + line))
}

/// Writes the shipped `prometheus.yml` with other targets and intervals, and returns its path.
fn scraping(
    folder: &Path,
    envoys: &[SocketAddr],
    registry: SocketAddr,
    interval: Duration,
) -> Result<PathBuf> {
    let quoted = |all: &[SocketAddr]| {
        let all: Vec<_> = all.iter().map(|one| format!("\"{one}\"")).collect();
        all.join(", ")
    };
    let interval = format!("_interval: {}ms", interval.as_millis());
    let mut config = std::fs::read_to_string(files().join("prometheus.yml"))?;
    for (from, to) in [
        ("\"envoy:9902\"", quoted(envoys).as_str()),
        ("\"registry:8083\"", &quoted(&[registry])),
        ("_interval: 15s", &interval),
    ] {
        ensure!(config.contains(from), "prometheus.yml has no {from}");
        config = config.replace(from, to);
    }
    std::fs::copy(files().join("rules.yml"), folder.join("rules.yml"))?;
    let file = folder.join("prometheus.yml");
    std::fs::write(&file, config)?;
    Ok(file)
}
