//! The configuration for containers equals the one for a bare Envoy, except in a few places.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use keystile_e2e::{envoy, root};

use crate::world::World;

trials! { Together:
    "files: as without containers" => as_without_containers,
    "files: the documented .env is private" => env_is_private,
    "files: valid in containers" => valid,
}

/// Text in `envoy/envoy-docker.yaml`, and the text in its place in `envoy/envoy.yaml`.
const OTHERWISE: &[(&str, &str)] = &[
    (
        "address: 0.0.0.0, port_value: 10000 ",
        "address: 127.0.0.1, port_value: 10000 ",
    ),
    (MODULE, "filename: dist/keystile.wasm "),
    (
        "address: upstream, port_value: 8080 ",
        "address: 127.0.0.1, port_value: 8080 ",
    ),
    (
        "address: registry, port_value: 8081 ",
        "address: 127.0.0.1, port_value: 8081 ",
    ),
];

const MODULE: &str = "filename: /etc/envoy/keystile.wasm ";

/// Sections of `envoy/envoy-docker.yaml` alone: how they begin, and how the line after them begins.
const MORE: &[(&str, &str)] = &[
    (
        "    # For Prometheus and probes. The rest of the admin page",
        "  clusters:",
    ),
    ("    - name: admin", "    - name: upstream"),
    (
        "          # Shows the registry its service token",
        "      load_assignment:",
    ),
];

/// What only `envoy/envoy.yaml` has.
const LESS: &str = "        # In a container: 0.0.0.0\n";

/// `envoy/envoy-docker.yaml` equals `envoy/envoy.yaml`, except for the above and the introduction.
fn as_without_containers(_: &World) -> Result<()> {
    let read = |name: &'static str| std::fs::read_to_string(root().join(name)).context(name);
    let expected = read("envoy/envoy.yaml")?;
    let mut found = read("envoy/envoy-docker.yaml")?;
    let expected = replaced(&expected, LESS, "").context("envoy/envoy.yaml")?;
    for (from, to) in MORE {
        found = without(&found, from, to).context("envoy/envoy-docker.yaml")?;
    }
    for (from, to) in OTHERWISE {
        found = replaced(&found, from, to).context("envoy/envoy-docker.yaml")?;
    }
    let (expected, found) = (after_introduction(&expected), after_introduction(&found));
    for (expected, found) in expected.lines().zip(found.lines()) {
        ensure!(
            expected == found,
            "envoy/envoy-docker.yaml has\n{found}\nwhere envoy/envoy.yaml has\n{expected}\n\
             Make the same change to both, or list the difference in tests/e2e/docker_files.rs"
        );
    }
    ensure!(
        expected == found,
        "one of the two files has extra lines at the end"
    );
    Ok(())
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

fn replaced(text: &str, from: &str, to: &str) -> Result<String> {
    let times = text.matches(from).count();
    ensure!(times == 1, "found {from:?} {times} times, expected once");
    Ok(text.replace(from, to))
}

fn without(text: &str, from: &str, to: &str) -> Result<String> {
    let start = text.find(&format!("\n{from}"));
    let (kept, rest) =
        text.split_at(start.with_context(|| format!("no line starts with {from:?}"))?);
    let end = rest.find(&format!("\n{to}"));
    let end = end.with_context(|| format!("no line after {from:?} starts with {to:?}"))?;
    Ok(format!("{kept}{}", &rest[end..]))
}

fn after_introduction(text: &str) -> &str {
    text.split_once("\n\n").map_or(text, |(_, rest)| rest)
}
