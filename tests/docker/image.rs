//! The module's OCI image, made in each possible way.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use keystile_e2e::envoy::module;
use keystile_e2e::root;

/// The engines that `scripts/image.sh` can use.
pub(crate) const ENGINES: [&str; 2] = ["docker", "umoci"];

/// The script's check passes on its image, and fails on one that is not as it should be.
pub(crate) fn made_by(engine: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let layout = folder.path().join("layout");
    let mut make = Command::new(root().join("scripts/image.sh"));
    make.env("ENGINE", engine)
        .env("IMAGE", "keystile:test")
        .env("LAYOUT", &layout);
    let output = make.output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let problem = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}{problem}");
    let digest = said.split_once("image:  ").map(|(_, rest)| rest);
    let digest = digest.and_then(|rest| rest.split(' ').next());
    let digest = digest.with_context(|| format!("no digest in {said}"))?;
    let index = std::fs::read_to_string(layout.join("index.json"))?;
    ensure!(index.contains(digest), "{digest} is not in {index}");

    let other = folder.path().join("other.wasm");
    std::fs::write(&other, "another module")?;
    refused(&layout, "test", &other, "plugin.wasm is not")?;
    refused(&layout, "latest", &module(), "no such tag")?;
    for blob in std::fs::read_dir(layout.join("blobs/sha256"))? {
        let path = blob?.path();
        let bytes = std::fs::read(&path)?;
        std::fs::write(&path, [&bytes[..], b"\n"].concat())?;
        refused(&layout, "test", &module(), "is not sha256:")?;
        std::fs::write(&path, bytes)?;
    }
    Ok(())
}

fn refused(layout: &Path, tag: &str, module: &Path, expected: &str) -> Result<()> {
    let mut check = Command::new(root().join("scripts/check-image.sh"));
    let output = check.args([layout, Path::new(tag), module]).output()?;
    let problem = String::from_utf8_lossy(&output.stderr);
    ensure!(
        !output.status.success() && problem.contains(expected),
        "{tag}, {module:?}: no {expected:?} in {problem:?}"
    );
    Ok(())
}
