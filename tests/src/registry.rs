//! The registry as its users run it: the binary, its command line and its server.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::process::Process;
use crate::{client, root};

/// The token that lookups must present to a [guarded](Registry::guarded) server.
pub const SERVICE_TOKEN: &str = "service-token-of-the-end-to-end-tests";

const ADMIN_TOKEN: &str = "admin-token-of-the-end-to-end-tests";

/// A database, and the command line for it.
pub struct Registry {
    database_url: String,
    pepper: Option<&'static str>,
    tag_secret: Option<&'static str>,
    guarded: bool,
    log_level: &'static str,
    files: Option<u32>,
}

/// The addresses that a server listens on.
#[derive(Clone, Copy, Debug)]
pub struct Listening {
    /// Lookups, and everything that has no listener of its own.
    pub main: SocketAddr,
    /// The admin API.
    pub admin: SocketAddr,
    /// The metrics.
    pub metrics: SocketAddr,
}

/// A key as printed by `create`.
#[derive(Clone, Debug)]
pub struct Created {
    /// The key's ID.
    pub key_id: String,
    /// The key itself.
    pub key: String,
}

impl Listening {
    /// Sends the requests of a pod's probes.
    ///
    /// # Errors
    /// When an answer is not 200.
    pub fn probe(&self) -> Result<()> {
        for path in ["/healthz", "/readyz"] {
            let answer = client::get(self.metrics, path, [])?;
            ensure!(answer.status == 200, "{path}: {answer:?}");
        }
        Ok(())
    }
}

impl Registry {
    /// Creates a registry on a database file, which need not exist yet.
    pub fn new(database: &Path, pepper: Option<&'static str>) -> Self {
        Self {
            database_url: format!("sqlite://{}", database.display()),
            pepper,
            tag_secret: None,
            guarded: false,
            log_level: "trace",
            files: None,
        }
    }

    /// Creates a registry on any database. Its servers require tokens and so have an admin API.
    pub fn guarded(database_url: String) -> Self {
        Self {
            database_url,
            pepper: None,
            tag_secret: None,
            guarded: true,
            log_level: "trace",
            files: None,
        }
    }

    /// Returns the same registry, with servers that log at the default level instead of everything.
    pub fn quiet(self) -> Self {
        Self {
            log_level: "info",
            ..self
        }
    }

    /// Returns the same registry, whose new keys have tags under this secret.
    pub fn tagged(self, secret: &'static str) -> Self {
        Self {
            tag_secret: Some(secret),
            ..self
        }
    }

    /// Returns the same registry, with servers that may have at most `files` files open.
    pub fn with_files(self, files: u32) -> Self {
        Self {
            files: Some(files),
            ..self
        }
    }

    fn command(&self) -> Command {
        let program = std::env::var_os("KEYSTILE_REGISTRY").map_or_else(
            || root().join("target/debug/keystile-registry"),
            PathBuf::from,
        );
        let mut command = match self.files {
            None => Command::new(program),
            Some(files) => {
                let mut shell = Command::new("sh");
                let script = format!("ulimit -n {files} && exec \"$@\"");
                shell.args(["-c", &script, "sh"]).arg(program);
                shell
            }
        };
        command.args(["--database-url", &self.database_url, "--json"]);
        for (variable, secret) in [
            ("KEYSTILE_PEPPER", self.pepper),
            ("KEYSTILE_TAG_SECRET", self.tag_secret),
        ] {
            match secret {
                Some(secret) => command.env(variable, secret),
                None => command.env_remove(variable),
            };
        }
        command
    }

    /// Serves lookups, and returns the actual address.
    ///
    /// # Errors
    /// When the server does not become ready. The error includes its output.
    pub fn serve(&self, listen: SocketAddr, log: &Path) -> Result<(Process, SocketAddr)> {
        let (server, listening) = self.serve_with(listen, &[], log)?;
        Ok((server, listening.main))
    }

    /// Does the same with further options, such as listeners for the admin API and the metrics.
    ///
    /// # Errors
    /// When the server does not become ready. The error includes its output.
    pub fn serve_with(
        &self,
        listen: SocketAddr,
        options: &[&str],
        log: &Path,
    ) -> Result<(Process, Listening)> {
        let listen = format!("--listen={listen}");
        self.serve_as(&[&["serve", &listen], options].concat(), log)
    }

    /// Does the same with all of the arguments, as in a pod.
    ///
    /// # Errors
    /// When the server does not become ready. The error includes its output.
    pub fn serve_as(
        &self,
        arguments: &[impl AsRef<OsStr>],
        log: &Path,
    ) -> Result<(Process, Listening)> {
        let mut command = self.command();
        command.args(arguments).env("RUST_LOG", self.log_level);
        if self.guarded {
            command
                .env("KEYSTILE_ADMIN_TOKEN", ADMIN_TOKEN)
                .env("KEYSTILE_SERVICE_TOKEN", SERVICE_TOKEN);
        }
        let mut server = Process::start("registry", &mut command, log, false)?;
        let listening = server.wait_for_line(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            let address = |name: &str| line[name].as_str()?.parse().ok();
            let main = address("listening")?;
            Some(Listening {
                main,
                admin: address("admin").unwrap_or(main),
                metrics: address("metrics").unwrap_or(main),
            })
        })?;
        Ok((server, listening))
    }

    /// Sends a request to the admin API of a guarded server at `to`. `path` follows `/admin/v1/keys`.
    /// Returns the JSON value in the response, or null if there is none.
    ///
    /// # Errors
    /// When the response is not a success. The error includes it.
    pub fn ask(to: SocketAddr, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let lines = [
            format!("authorization: Bearer {ADMIN_TOKEN}"),
            format!("content-length: {}", body.len()),
            "content-type: application/json".to_owned(),
        ];
        let lines = lines.iter().map(String::as_str);
        let head = client::head(method, &format!("/admin/v1/keys{path}"), lines);
        let answer = client::send(to, (head + &body).as_bytes())?.response()?;
        ensure!(
            (200..300).contains(&answer.status),
            "{method} {path}: {answer:?}"
        );
        Ok(serde_json::from_slice(&answer.body).unwrap_or_default())
    }

    /// Creates a key.
    ///
    /// # Errors
    /// When the command fails. The error includes its output.
    pub fn create(&self, options: &[&str]) -> Result<Created> {
        let created = self.run(&[&["create"], options].concat())?;
        let text = |field: &str| {
            let value = created[field].as_str();
            value
                .map(str::to_owned)
                .with_context(|| format!("no {field}"))
        };
        Ok(Created {
            key_id: text("key_id")?,
            key: text("key")?,
        })
    }

    /// Runs a command and returns the JSON value that it printed.
    ///
    /// # Errors
    /// When the command fails. The error includes its output.
    pub fn run(&self, arguments: &[&str]) -> Result<Value> {
        let output = self
            .command()
            .args(arguments)
            .output()
            .context("cannot start keystile-registry")?;
        ensure!(
            output.status.success(),
            "keystile-registry {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("keystile-registry {arguments:?}: not one JSON value"))
    }
}
