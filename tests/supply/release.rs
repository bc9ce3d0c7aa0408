//! A release as `make release` makes it: it has the same bytes each time, and its provenance is
//! checked. This takes minutes, so only `make test-release` runs it, not `cargo test` alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use keystile_e2e::root;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::signing::{FILES, Keys};
use crate::{Ran, script};

fn make(keys: &Keys) -> Result<Ran> {
    let mut release = script("release.sh");
    release
        .env("SIGN", "minisign")
        .env("MINISIGN_KEY", &keys.secret)
        .env("MINISIGN_PUBLIC_KEY", &keys.public)
        .env("BUILDER_ID", "urn:test:builder")
        .env_remove("SOURCE_URI")
        // During development, there are uncommitted changes.
        .env("ALLOW_DIRTY", "1");
    Ran::of(&mut release)
}

/// Returns all files of the release, and their signatures.
fn bytes() -> Result<BTreeMap<String, Vec<u8>>> {
    let mut bytes = BTreeMap::new();
    for file in FILES {
        for name in [file.to_owned(), format!("{file}.minisig")] {
            let content = fs::read(root().join("dist").join(&name)).context(name.clone())?;
            bytes.insert(name, content);
        }
    }
    Ok(bytes)
}

const SAYS: [&str; 2] = ["their licences and the provenance", "signed 5 files"];

#[test]
#[ignore = "builds the module: make test-release"]
fn a_release_is_checked_and_signed() -> Result<()> {
    let keys = Keys::generate()?;
    make(&keys)?.check(true, &SAYS)?;
    for file in FILES {
        keys.verify(&root().join("dist").join(file))?
            .check(true, &["verified"])
            .context(file)?;
    }
    changed_files_are_found()?;
    changed_provenance_is_found()
}

#[test]
#[ignore = "builds the module twice: make test-release"]
fn a_release_has_the_same_bytes_each_time() -> Result<()> {
    let keys = Keys::generate()?;
    make(&keys)?.check(true, &SAYS)?;
    let first = bytes()?;
    // Nothing of the first build is used in the second.
    fs::remove_dir_all(root().join("target/wasm"))?;
    make(&keys)?.check(true, &SAYS)?;
    for (name, bytes) in bytes()? {
        ensure!(
            first[&name] == bytes,
            "{name}: the bytes differ the second time"
        );
    }
    Ok(())
}

/// Copies the release into a folder, so that a test can change it.
fn copy() -> Result<TempDir> {
    let folder = TempDir::new()?;
    for file in FILES {
        fs::copy(root().join("dist").join(file), folder.path().join(file))?;
    }
    Ok(folder)
}

fn check(folder: &Path) -> Result<Ran> {
    Ran::of(script("check-release.sh").arg(folder))
}

fn changed_files_are_found() -> Result<()> {
    let copied = copy()?;
    check(copied.path())?.check(true, &[])?;
    for file in FILES {
        let path = copied.path().join(file);
        let original = fs::read(&path)?;
        fs::write(&path, [&original[..], b"x"].concat())?;
        check(copied.path())?
            .check(false, &[])
            .with_context(|| format!("{file}, longer"))?;
        fs::remove_file(&path)?;
        check(copied.path())?
            .check(false, &[])
            .with_context(|| format!("without {file}"))?;
        fs::write(&path, original)?;
    }
    Ok(())
}

struct Change {
    /// The JSON pointer to change in the statement; `value` is the new value.
    at: &'static str,
    value: Value,
    says: &'static str,
}

fn changed_provenance_is_found() -> Result<()> {
    const DEPENDENCIES: &str = "/predicate/buildDefinition/resolvedDependencies";
    let at = |at, value, says| Change { at, value, says };
    let other = "b".repeat(64);
    let changes = [
        at("/_type", json!("another"), "its type"),
        at(
            "/predicateType",
            json!("https://slsa.dev/provenance/v0.2"),
            "its predicate's type",
        ),
        at("/subject/0/name", json!("other.wasm"), "its subject"),
        at("/subject/0/digest/sha256", json!(other), "its subject"),
        at("/subject", json!([]), "its subject"),
        at(
            "/predicate/buildDefinition/buildType",
            json!("urn:other"),
            "its build type",
        ),
        at(
            "/predicate/buildDefinition/externalParameters/features",
            json!(["failpoints"]),
            "its build parameters",
        ),
        at(
            "/predicate/buildDefinition/resolvedDependencies/0/digest/gitCommit",
            json!("c".repeat(40)),
            "the commit",
        ),
        at(
            "/predicate/buildDefinition/resolvedDependencies/0/annotations",
            json!({"dirty": "perhaps"}),
            "whether the sources differ",
        ),
        at(
            "/predicate/buildDefinition/resolvedDependencies/1/digest/sha256",
            json!(other),
            "Cargo.lock",
        ),
        at(
            "/predicate/buildDefinition/resolvedDependencies/2/digest/sha256",
            json!(other),
            "std's Cargo.lock",
        ),
        at(
            "/predicate/buildDefinition/resolvedDependencies/3/uri",
            json!("pkg:deb/debian/rustc-web@0.1"),
            "this machine's toolchain",
        ),
        at(
            "/predicate/runDetails/builder/id",
            json!("somebody"),
            "the builder's ID",
        ),
        at(
            "/predicate/runDetails/byproducts/0/digest/sha256",
            json!(other),
            "its list of other files",
        ),
        at(
            "/predicate/runDetails/byproducts",
            json!([]),
            "its list of other files",
        ),
        at(
            "/predicate/runDetails/metadata",
            json!({"startedOn": "2026-01-01T00:00:00Z"}),
            "the metadata of the run",
        ),
    ];
    let copied = copy()?;
    let file = copied.path().join("keystile.provenance.json");
    let original = fs::read_to_string(&file)?;
    let statement: Value = serde_json::from_str(&original)?;
    // The commit, both lock files, and the Debian packages of the toolchain.
    let dependencies = statement.pointer(DEPENDENCIES).and_then(Value::as_array);
    ensure!(
        dependencies.is_some_and(|all| all.len() >= 10),
        "{original}"
    );
    for Change { at, value, says } in changes {
        let mut changed = statement.clone();
        let (parent, field) = at.rsplit_once('/').context(at)?;
        let parent = changed.pointer_mut(parent).context(at)?;
        parent[field] = value.clone();
        fs::write(&file, changed.to_string())?;
        check(copied.path())?
            .check(false, &["keystile.provenance.json", says])
            .with_context(|| format!("{at} is {value}"))?;
    }
    fs::write(&file, original)?;
    check(copied.path())?.check(true, &[])?;
    // The jq command that the documentation gives users.
    let mut ask = Command::new("jq");
    ask.args(["-r", ".subject[0].digest.sha256"]).arg(&file);
    let printed = Ran::of(&mut ask)?.printed;
    let checksum = fs::read_to_string(copied.path().join("keystile.wasm.sha256"))?;
    ensure!(
        checksum.starts_with(printed.trim()),
        "{printed}, not {checksum}"
    );
    Ok(())
}
