//! The files for containers, as far as they can be tested without any.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use keystile_e2e::{envoy, root};

use crate::copies::{MODULE, replaced};
use crate::world::World;

trials! { Together:
    "files: the documented .env is private" => env_is_private,
    "files: valid in containers" => valid,
}

/// Envoy accepts `envoy/envoy-docker.yaml`.
fn valid(world: &World) -> Result<()> {
    let folder = world.folder.path();
    let shipped = root().join("envoy/envoy-docker.yaml");
    let module = format!("filename: {:?} ", envoy::module());
    let here = replaced(&std::fs::read_to_string(shipped)?, MODULE, &module)?;
    let file = folder.join("envoy-docker.yaml");
    std::fs::write(&file, here)?;
    envoy::validate(&file).context("envoy/envoy-docker.yaml")
}

/// The documented commands make `.env` private to its owner, whatever the umask.
fn env_is_private(_: &World) -> Result<()> {
    let page = std::fs::read_to_string(root().join("docs/docker.md"))?;
    let lines: Vec<_> = page
        .lines()
        .filter(|line| line.contains("envoy/.env") && !line.starts_with('|'))
        .collect();
    ensure!(lines.len() >= 2, "how .env is made: {lines:#?}");
    for umask in ["000", "022", "077"] {
        let folder = tempfile::tempdir()?;
        std::fs::create_dir(folder.path().join("envoy"))?;
        let script = format!("set -e\numask {umask}\n{}", lines.join("\n"));
        let status = Command::new("sh")
            .args(["-c", &script])
            .current_dir(folder.path())
            .status()?;
        ensure!(status.success(), "{script}: {status}");
        let file = folder.path().join("envoy/.env");
        let mode = std::fs::metadata(&file)?.permissions().mode() & 0o777;
        ensure!(mode == 0o600, "umask {umask}: mode {mode:o}");
        let content = std::fs::read_to_string(&file)?;
        let mut lines = content.lines();
        let token = lines.find_map(|line| line.strip_prefix("KEYSTILE_SERVICE_TOKEN="));
        let token = token.with_context(|| format!("{} characters", content.len()))?;
        ensure!(token.len() >= 32, "a token of {} characters", token.len());
    }
    Ok(())
}
