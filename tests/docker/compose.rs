//! The shipped compose file as a separate project. Its containers, networks and volumes belong to
//! no other project, and are removed with it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail, ensure};
use keystile_e2e::client::{self, Response};
use keystile_e2e::root;
use serde_json::Value;
use tempfile::NamedTempFile;

/// The token that Envoy must present to the registry.
pub(crate) const SERVICE_TOKEN: &str = "service-token-of-the-tests-in-containers";

/// The password that the registry uses for PostgreSQL.
pub(crate) const REGISTRY_PASSWORD: &str = "test-docker-registry";

const SUPERUSER_PASSWORD: &str = "test-docker-superuser";

const BUILT: &str = "keystile-registry:test";

/// A started project. Dropping it removes everything that it created.
pub(crate) struct Project {
    name: String,
    compose: &'static [&'static str],
    variables: Vec<(&'static str, String)>,
    /// An empty file in place of a developer's own .env, which is not tested.
    no_variables: NamedTempFile,
    /// The address of the API's listener.
    pub(crate) to: SocketAddr,
}

/// Where the registry keeps its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Database {
    /// A file in a volume.
    Sqlite,
    /// The profile `postgres`.
    Postgres,
}

impl Project {
    /// Builds the registry's image unless `REGISTRY_IMAGE` names one, starts all containers, and
    /// waits until a request is answered.
    ///
    /// # Errors
    /// If there is no engine or no compose, or if a container does not become ready. The error has
    /// the logs.
    pub(crate) fn start(database: Database) -> Result<Self> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let compose = engine()?;
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("keystile-test-{}-{number}", std::process::id());
        let to = free_port()?;
        let image = std::env::var("REGISTRY_IMAGE").ok();
        let mut variables = vec![
            ("COMPOSE_PROJECT_NAME", name.clone()),
            ("KEYSTILE_SERVICE_TOKEN", SERVICE_TOKEN.to_owned()),
            ("LISTENER_PORT", to.port().to_string()),
            (
                "REGISTRY_IMAGE",
                image.clone().unwrap_or_else(|| BUILT.to_owned()),
            ),
        ];
        match database {
            Database::Sqlite => {
                variables.push(("COMPOSE_PROFILES", "observability".to_owned()));
            }
            Database::Postgres => variables.extend([
                ("COMPOSE_PROFILES", "postgres".to_owned()),
                (
                    "KEYSTILE_DATABASE_URL",
                    "postgres://keystile@postgres/keystile".to_owned(),
                ),
                ("POSTGRES_PASSWORD", SUPERUSER_PASSWORD.to_owned()),
                ("KEYSTILE_POSTGRES_PASSWORD", REGISTRY_PASSWORD.to_owned()),
            ]),
        }
        let project = Self {
            name,
            compose,
            variables,
            no_variables: NamedTempFile::new()?,
            to,
        };
        if image.is_none() {
            project.compose(&["build"])?;
        }
        project.compose(&["up", "--detach", "--no-build"])?;
        project.wait_until_ready().with_context(|| project.logs())?;
        Ok(project)
    }

    fn wait_until_ready(&self) -> Result<()> {
        // The database may have to be created first.
        crate::wait_until("the registry is healthy", || {
            Ok(self.inspect("registry", "{{.State.Health.Status}}")? == "healthy")
        })?;
        crate::wait_until("Envoy answers", || {
            Ok(self.get("/healthz", &[]).is_ok_and(|r| r.status == 200))
        })
    }

    /// Sends a `GET` request to the API.
    pub(crate) fn get(&self, path: &str, headers: &[&str]) -> Result<Response> {
        client::get(self.to, path, headers.iter().copied())
    }

    /// Runs compose on this project, and returns what it printed.
    pub(crate) fn compose(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.command();
        command.args(arguments);
        printed(&mut command).with_context(|| format!("compose {arguments:?}"))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.compose[0]);
        command
            .args(&self.compose[1..])
            .arg("--env-file")
            .arg(self.no_variables.path())
            .arg("--file")
            .arg(root().join("envoy/docker-compose.yaml"))
            .current_dir(root());
        for variable in [
            "COMPOSE_FILE",
            "KEYSTILE_ADMIN_TOKEN",
            "KEYSTILE_DATABASE_URL",
            "KEYSTILE_PEPPER",
            "KEYSTILE_POSTGRES_PASSWORD",
            "KEYSTILE_TAG_SECRET",
            "POSTGRES_PASSWORD",
            "RUST_LOG",
        ] {
            command.env_remove(variable);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command in a service's container, and returns what it printed.
    pub(crate) fn exec(&self, service: &str, command: &[&str]) -> Result<String> {
        self.compose(&[&["exec", "-T", service], command].concat())
    }

    /// Runs the registry's command line beside its server. Returns null if it prints no JSON.
    pub(crate) fn registry(&self, arguments: &[&str]) -> Result<Value> {
        let command = [&["keystile-registry", "--json"], arguments].concat();
        let printed = self.exec("registry", &command)?;
        Ok(serde_json::from_str(&printed).unwrap_or_default())
    }

    /// Returns the ID of a service's container, whether it is running or not.
    pub(crate) fn container(&self, service: &str) -> Result<String> {
        let project = format!("label=com.docker.compose.project={}", self.name);
        let service_is = format!("label=com.docker.compose.service={service}");
        let ids = docker(&["ps", "-aq", "--filter", &project, "--filter", &service_is])?;
        ensure!(ids.split_whitespace().count() == 1, "{service}: {ids:?}");
        Ok(ids)
    }

    /// Returns what `docker inspect` prints about a service's container.
    pub(crate) fn inspect(&self, service: &str, format: &str) -> Result<String> {
        docker(&["inspect", "--format", format, &self.container(service)?])
    }

    /// Returns the full name of one of the compose file's networks.
    pub(crate) fn network(&self, name: &str) -> String {
        format!("{}_{name}", self.name)
    }

    /// Returns the last log lines of all containers.
    pub(crate) fn logs(&self) -> String {
        self.compose(&["logs", "--no-color", "--tail", "40"])
            .unwrap_or_else(|problem| format!("no logs: {problem:#}"))
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if let Err(problem) = self.compose(&["down", "--volumes", "--timeout", "15"]) {
            eprintln!("project {} was not removed: {problem:#}", self.name);
        }
    }
}

/// Runs docker, and returns what it printed.
pub(crate) fn docker(arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("docker");
    printed(command.args(arguments)).with_context(|| format!("docker {arguments:?}"))
}

/// Returns the command for compose on this machine. `COMPOSE` may choose one of the two.
fn engine() -> Result<&'static [&'static str]> {
    docker(&["version", "--format", "{{.Server.Version}}"])
        .context("no Docker Engine answers: start one, or set DOCKER_HOST")?;
    let both: [&'static [&'static str]; 2] = [&["docker", "compose"], &["docker-compose"]];
    let wanted = std::env::var("COMPOSE").unwrap_or_default();
    for compose in both {
        let mut version = Command::new(compose[0]);
        version.args(&compose[1..]).arg("version");
        if (wanted.is_empty() || wanted == compose.join(" ")) && printed(&mut version).is_ok() {
            return Ok(compose);
        }
    }
    bail!("no compose: install Docker's plugin `docker compose`, or docker-compose 1.29 or later")
}

fn printed(command: &mut Command) -> Result<String> {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output()?;
    let (stdout, stderr) = (
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr),
    );
    ensure!(status.success(), "{status}: {stdout}{stderr}");
    Ok(stdout.trim().to_owned())
}

fn free_port() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?)
}
