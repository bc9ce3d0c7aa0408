//! The registry as its users run it: the binary, its command line and its server.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::process::Process;
use crate::root;

/// A database, and the command line on it.
pub struct Registry {
    database: PathBuf,
    pepper: Option<&'static str>,
}

/// A key as `create` printed it.
#[derive(Clone, Debug)]
pub struct Created {
    /// The key's public name.
    pub key_id: String,
    /// The key.
    pub key: String,
}

impl Registry {
    /// A registry on a database file, which need not be there yet.
    pub fn new(database: &Path, pepper: Option<&'static str>) -> Self {
        Self {
            database: database.to_owned(),
            pepper,
        }
    }

    fn command(&self) -> Command {
        let program = std::env::var_os("KEYSTILE_REGISTRY").map_or_else(
            || root().join("target/debug/keystile-registry"),
            PathBuf::from,
        );
        let mut command = Command::new(program);
        command
            .env_remove("KEYSTILE_PEPPER")
            .arg("--database-url")
            .arg(format!("sqlite://{}", self.database.display()))
            .arg("--json");
        if let Some(pepper) = self.pepper {
            command.env("KEYSTILE_PEPPER", pepper);
        }
        command
    }

    /// Serves lookups; gives the address that it really listens on.
    ///
    /// # Errors
    /// When the server does not get ready, with what it wrote.
    pub fn serve(&self, listen: SocketAddr, log: &Path) -> Result<(Process, SocketAddr)> {
        let mut command = self.command();
        command
            .args(["serve", "--listen", &listen.to_string()])
            .env("RUST_LOG", "trace");
        let mut server = Process::start("registry", &mut command, log, false)?;
        let address = server.wait_for_line(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            line["listening"].as_str()?.parse().ok()
        })?;
        Ok((server, address))
    }

    /// Creates a key.
    ///
    /// # Errors
    /// When the command fails, with what it wrote.
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

    /// Runs a command and gives the JSON value that it printed.
    ///
    /// # Errors
    /// When the command fails, with what it wrote.
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
