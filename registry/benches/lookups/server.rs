//! Runs the registry's binary.

use std::net::SocketAddr;
use std::process::Stdio;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// A registry that serves until it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) pid: u32,
    _child: Child,
}

impl Server {
    /// Starts the registry on a free port, pinned to one processor.
    pub(crate) async fn start(url: &str, processor: &str) -> anyhow::Result<Self> {
        // `taskset` replaces itself with the program, so the process ID is the registry's.
        let mut command = Command::new("taskset");
        command.args([
            "--cpu-list",
            processor,
            env!("CARGO_BIN_EXE_keystile-registry"),
        ]);
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        let mut child = on(command, url)
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start taskset")?;
        let pid = child.id().context("it has ended")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no stdout")?)
            .read_line(&mut line)
            .await?;
        let address = line.trim_end().strip_prefix("listening on ");
        let address = address.context("the registry did not start; see above")?;
        Ok(Self {
            address: address.parse()?,
            pid,
            _child: child,
        })
    }
}

/// Creates the tables.
pub(crate) async fn migrate(url: &str) -> anyhow::Result<()> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keystile-registry"));
    command.arg("list");
    let status = on(command, url).stdout(Stdio::null()).status().await?;
    if !status.success() {
        bail!("the registry made no tables; see above");
    }
    Ok(())
}

/// Sets the database, and removes settings that this process may have in its environment.
fn on(mut command: Command, url: &str) -> Command {
    command
        .env("KEYSTILE_DATABASE_URL", url)
        .env("RUST_LOG", "warn")
        .env_remove("KEYSTILE_ADMIN_TOKEN")
        .env_remove("KEYSTILE_PEPPER")
        .env_remove("KEYSTILE_SERVICE_TOKEN")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}
