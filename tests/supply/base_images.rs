//! Base images are pinned if a digest is known, each is named in one place, and a stand-in never
//! passes for an official image.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, ensure};
use keystile_e2e::root;
use tempfile::TempDir;

use crate::{Ran, path_with, program, script};

const STAND_INS: &str = "localhost/keystile-stand-in";

/// A fake Docker Engine that has the images in `$IMAGES` and the stand-ins with official names in
/// `$MISNAMED`, and can pull those in `$PULLABLE`. It prints what it removes.
const FAKE_DOCKER: &str = r#"#!/bin/sh
has() { case " $1 " in *" $2 "*) return 0 ;; esac; return 1; }
for last; do :; done
case "$1 $2" in
"version "*) ;;
"image inspect")
    [ -e "$REMOVED/$(echo "$last" | tr / _)" ] && exit 1
    has "$IMAGES $MISNAMED" "$last" || exit 1
    case $* in
    *--format*) has "$MISNAMED" "$last" && echo true || echo "<no value>" ;;
    esac ;;
"pull "*) has "$PULLABLE" "$last" || { echo "no such host" >&2; exit 1; } ;;
"image rm") echo "removed $last" >&2; touch "$REMOVED/$(echo "$last" | tr / _)" ;;
*) echo "docker $*: not expected" >&2; exit 1 ;;
esac
"#;

/// Returns the images as the shipped files name them, by variable.
fn shipped() -> Result<BTreeMap<String, String>> {
    let ran = Ran::of(script("base-images.sh").arg("--list"))?;
    ran.check(true, &[])?;
    let mut images = BTreeMap::new();
    for line in ran.printed.lines() {
        let (variable, rest) = line.split_once('=').with_context(|| line.to_owned())?;
        let image = rest.split(' ').next().unwrap_or(rest);
        let again = images.insert(variable.to_owned(), image.to_owned());
        ensure!(again.is_none(), "{variable} has two defaults");
    }
    Ok(images)
}

/// Each image is named in one place, with a tag, and those that are not pinned are reported.
#[test]
fn images_are_listed_with_whether_they_are_pinned() -> Result<()> {
    let images = shipped()?;
    let variables: Vec<_> = images.keys().map(String::as_str).collect();
    let expected = [
        "DEBIAN_IMAGE",
        "ENVOY_IMAGE",
        "POSTGRES_IMAGE",
        "PROMETHEUS_IMAGE",
        "RUST_IMAGE",
    ];
    ensure!(variables == expected, "{variables:?}");
    let files = ["registry/Dockerfile", "envoy/docker-compose.yaml"];
    let mut texts = String::new();
    for file in files {
        texts += &fs::read_to_string(root().join(file)).context(file)?;
    }
    let said = Ran::of(script("base-images.sh").arg("--list"))?.said;
    for (variable, image) in &images {
        let times = texts.matches(image.as_str()).count();
        ensure!(times == 1, "{image} is named {times} times in {files:?}");
        let (name, digest) = image.split_once("@sha256:").unwrap_or((image, ""));
        ensure!(
            name.rsplit('/')
                .next()
                .is_some_and(|name| name.contains(':')),
            "{variable}={image} has no tag"
        );
        let well = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        ensure!(digest.is_empty() || well, "{image}: no SHA-256");
        let line = format!("{variable}={image} is NOT PINNED");
        ensure!(
            said.contains(&line) == digest.is_empty(),
            "{variable}: {said}"
        );
    }
    Ok(())
}

/// Every Dockerfile starts from images that can be replaced, and so pinned, from outside.
#[test]
fn dockerfiles_start_from_variables() -> Result<()> {
    let mut found = 0;
    for file in crate::project_files()? {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        if !name.contains("Dockerfile") {
            continue;
        }
        let text = fs::read_to_string(root().join(&file))?;
        for line in text.lines().filter(|line| line.starts_with("FROM ")) {
            let image = line.split_whitespace().nth(1).unwrap_or_default();
            let variable = image.starts_with("${") && image.contains("_IMAGE:-");
            ensure!(variable || image == "scratch", "{file:?}: {line}");
            found += 1;
        }
    }
    ensure!(found >= 3, "only {found} images in Dockerfiles");
    Ok(())
}

struct Case {
    name: &'static str,
    /// What the engine has: any of `official` and `stand-in`.
    has: &'static [&'static str],
    pullable: bool,
    /// A stand-in has the official name, which an earlier version gave it.
    misnamed: bool,
    /// The image that the environment names.
    given: Option<&'static str>,
    /// The image that the command gets.
    gets: &'static str,
    says: &'static [&'static str],
    says_not: &'static [&'static str],
}

#[test]
fn a_stand_in_is_used_only_where_the_official_image_cannot_be_had() -> Result<()> {
    let cases = [
        Case {
            name: "there",
            has: &["official", "stand-in"],
            pullable: false,
            misnamed: false,
            given: None,
            gets: "official",
            says: &[],
            says_not: &["STAND-IN", "docker pull prom"],
        },
        Case {
            name: "pulled, though there is a stand-in",
            has: &["stand-in"],
            pullable: true,
            misnamed: false,
            given: None,
            gets: "official",
            says: &["docker pull prom"],
            says_not: &["STAND-IN"],
        },
        Case {
            name: "neither there nor pulled",
            has: &["stand-in"],
            pullable: false,
            misnamed: false,
            given: None,
            gets: "stand-in",
            says: &[
                "cannot be pulled: no such host",
                "PROMETHEUS_IMAGE is a STAND-IN",
                "does not test the official image",
            ],
            says_not: &[],
        },
        Case {
            name: "misnamed, and pulled",
            has: &["stand-in"],
            pullable: true,
            misnamed: true,
            given: None,
            gets: "official",
            says: &["removed prom/prometheus:", "docker pull prom"],
            says_not: &["is a STAND-IN"],
        },
        Case {
            name: "misnamed, and not pulled",
            has: &["stand-in"],
            pullable: false,
            misnamed: true,
            given: None,
            gets: "stand-in",
            says: &["removed prom/prometheus:", "is a STAND-IN"],
            says_not: &[],
        },
        Case {
            name: "named by the environment",
            has: &[],
            pullable: false,
            misnamed: false,
            given: Some("mirror.test/prometheus@sha256:00"),
            gets: "mirror.test/prometheus@sha256:00",
            says: &[],
            says_not: &["docker pull prom"],
        },
    ];
    let images = shipped()?;
    for case in cases {
        with(&images, &case).context(case.name)?;
    }
    Ok(())
}

fn with(images: &BTreeMap<String, String>, case: &Case) -> Result<()> {
    let folder = TempDir::new()?;
    program(folder.path(), "docker", FAKE_DOCKER)?;
    let official = images.get("PROMETHEUS_IMAGE").context("no Prometheus")?;
    let name = official.split('@').next().unwrap_or_default();
    let stand_in = format!("{STAND_INS}/{name}");
    let image = |what: &'static str| match what {
        "official" => official.clone(),
        "stand-in" => stand_in.clone(),
        other => other.to_owned(),
    };
    // All other images are there.
    let others = images.values().filter(|other| *other != official).cloned();
    let has: Vec<_> = others.chain(case.has.iter().copied().map(image)).collect();
    let mut command = script("base-images.sh");
    command
        .args(["printenv", "PROMETHEUS_IMAGE", "RUST_IMAGE"])
        .env("PATH", path_with(folder.path())?)
        .env("IMAGES", has.join(" "))
        .env("MISNAMED", if case.misnamed { name } else { "" })
        .env("PULLABLE", if case.pullable { official } else { "" })
        .env("REMOVED", folder.path());
    for variable in images.keys() {
        command.env_remove(variable);
    }
    if let Some(given) = case.given {
        command.env("PROMETHEUS_IMAGE", given);
    }
    let ran = Ran::of(&mut command)?;
    ran.check(true, case.says)?;
    let expected = [image(case.gets), images["RUST_IMAGE"].clone()];
    let got: Vec<_> = ran.printed.lines().collect();
    ensure!(got == expected, "got {got:?}, not {expected:?}");
    for unexpected in case.says_not {
        ensure!(
            !ran.said.contains(unexpected),
            "{unexpected:?}: {}",
            ran.said
        );
    }
    Ok(())
}
