//! The provenance statement: from what, with what, and by whom the module was built.
//!
//! It is an in-toto Statement v1 (<https://in-toto.io/Statement/v1>) with SLSA's predicate
//! (<https://slsa.dev/spec/v1.0/provenance>). It deliberately has neither the times nor the
//! invocation ID that SLSA allows, so that the same sources and toolchain give the same bytes. It
//! is not signed itself; `scripts/sign-release.sh` signs the file.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::Options;

/// The build type of `make release`. docs/releases.md describes its parameters.
const BUILD_TYPE: &str = "urn:keystile:make-release:v1";

/// Returns the statement about a module.
///
/// `beside` are the other files of the release, by name, with their contents.
///
/// # Errors
/// If an option is invalid: the commit is not a Git hash, the module's digest is not a SHA-256, or
/// the builder is not a URI.
pub(crate) fn of(options: &Options, beside: &[(&str, String)]) -> Result<Value> {
    ensure!(
        is_hex(&options.sha256, &[64]),
        "--sha256 {:?} is not 64 lowercase hex digits",
        options.sha256
    );
    let mut dependencies = vec![source(options)?];
    for file in &options.lock_file {
        dependencies.push(lock_file(file)?);
    }
    for package in &options.deb {
        dependencies.push(json!({"uri": deb(package)?}));
    }
    let byproducts = beside.iter().map(
        |(name, content)| json!({"name": name, "digest": {"sha256": sha256(content.as_bytes())}}),
    );
    Ok(json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "keystile.wasm", "digest": {"sha256": options.sha256}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "package": "keystile",
                    "target": crate::cargo::TARGET,
                    "profile": "wasm",
                    "features": [],
                },
                "resolvedDependencies": dependencies,
            },
            "runDetails": {
                "builder": {"id": uri("--builder-id", &options.builder_id)?},
                "byproducts": byproducts.collect::<Vec<_>>(),
            },
        },
    }))
}

/// Returns the SHA-256 of some bytes, in hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    const_hex::encode(Sha256::digest(bytes))
}

fn source(options: &Options) -> Result<Value> {
    let commit = &options.commit;
    ensure!(
        is_hex(commit, &[40, 64]),
        "--commit {commit:?} is not a Git commit's full hash"
    );
    let mut source = json!({"name": "keystile", "digest": {"gitCommit": commit}});
    if let Some(object) = source.as_object_mut() {
        if let Some(at) = &options.source_uri {
            object.insert("uri".to_owned(), json!(uri("--source-uri", at)?));
        }
        if options.dirty {
            object.insert("annotations".to_owned(), json!({"dirty": true}));
        }
    }
    Ok(source)
}

fn lock_file(file: &str) -> Result<Value> {
    let (name, path) = file
        .split_once('=')
        .with_context(|| format!("--lock-file {file:?} is not NAME=PATH"))?;
    let content = std::fs::read(Path::new(path)).with_context(|| path.to_owned())?;
    Ok(json!({"name": name, "digest": {"sha256": sha256(&content)}}))
}

/// Returns the purl of a Debian package, <https://github.com/package-url/purl-spec>.
fn deb(package: &str) -> Result<String> {
    let Some((name, version)) = package.split_once('=').filter(|(name, version)| {
        !name.is_empty() && version.starts_with(|first: char| first.is_ascii_digit())
    }) else {
        bail!("--deb {package:?} is not NAME=VERSION");
    };
    // Of the characters that a version may have, only these have another meaning in a purl.
    let version = version.replace('+', "%2B").replace(':', "%3A");
    Ok(format!("pkg:deb/debian/{name}@{version}"))
}

/// Checks that a text is what SLSA accepts as a URI: a scheme, and something that is not empty.
fn uri<'a>(option: &str, text: &'a str) -> Result<&'a str> {
    let scheme = |scheme: &str| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    let well = text.bytes().all(|byte| byte.is_ascii_graphic())
        && text
            .split_once(':')
            .is_some_and(|(before, after)| scheme(before) && !after.is_empty());
    ensure!(
        well,
        "{option} {text:?} is not a URI such as https://example.com/release-machine"
    );
    Ok(text)
}

fn is_hex(text: &str, lengths: &[usize]) -> bool {
    lengths.contains(&text.len())
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    /// Returns the options of a release, some of which `changed` replaces or adds.
    fn options(changed: &[&str]) -> Options {
        let commit = "c".repeat(40);
        let sha256 = "a".repeat(64);
        let all = [
            ["--messages", "none"],
            ["--rust", "1.96.0"],
            ["--wasi-libc", "0.0"],
            ["--sha256", &sha256],
            ["--commit", &commit],
            ["--builder-id", "urn:test:builder"],
        ];
        let kept = all
            .iter()
            .filter(|[name, _]| !changed.contains(name))
            .flatten();
        Options::parse_from(["test"].iter().chain(kept).chain(changed))
    }

    #[test]
    fn a_statement_says_what_was_built_from_what() {
        let folder = tempfile::tempdir().unwrap();
        let lock = folder.path().join("Cargo.lock");
        std::fs::write(&lock, "abc").unwrap();
        let lock = format!("Cargo.lock={}", lock.display());
        let options = options(&[
            "--lock-file",
            &lock,
            "--deb",
            "rustc-web=1:1.96.0+dfsg1-1~deb12u2",
            "--source-uri",
            "git+https://example.com/keystile",
        ]);
        let statement = of(&options, &[("keystile.cdx.json", "abc".to_owned())]).unwrap();
        // The example of FIPS 180-4.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let dependencies = "/predicate/buildDefinition/resolvedDependencies";
        let cases = [
            ("/_type", json!("https://in-toto.io/Statement/v1")),
            ("/predicateType", json!("https://slsa.dev/provenance/v1")),
            (
                "/subject",
                json!([{"name": "keystile.wasm", "digest": {"sha256": "a".repeat(64)}}]),
            ),
            (
                dependencies,
                json!([
                    {
                        "name": "keystile",
                        "uri": "git+https://example.com/keystile",
                        "digest": {"gitCommit": "c".repeat(40)},
                    },
                    {"name": "Cargo.lock", "digest": {"sha256": abc}},
                    {"uri": "pkg:deb/debian/rustc-web@1%3A1.96.0%2Bdfsg1-1~deb12u2"},
                ]),
            ),
            (
                "/predicate/runDetails",
                json!({
                    "builder": {"id": "urn:test:builder"},
                    "byproducts": [{"name": "keystile.cdx.json", "digest": {"sha256": abc}}],
                }),
            ),
        ];
        for (pointer, expected) in cases {
            assert_eq!(statement.pointer(pointer), Some(&expected), "{pointer}");
        }
    }

    #[test]
    fn changed_sources_are_marked() {
        let annotations = "/predicate/buildDefinition/resolvedDependencies/0/annotations";
        for (changed, expected) in [
            (&["--dirty"][..], Some(json!({"dirty": true}))),
            (&[], None),
        ] {
            let statement = of(&options(changed), &[]).unwrap();
            assert_eq!(
                statement.pointer(annotations),
                expected.as_ref(),
                "{changed:?}"
            );
        }
    }

    #[test]
    fn options_that_would_make_it_wrong_are_refused() {
        let short = "c".repeat(39);
        let upper = "C".repeat(40);
        let cases: [(&[&str], &str); 10] = [
            (&["--commit", "HEAD"], "is not a Git commit's full hash"),
            (&["--commit", &short], "is not a Git commit's full hash"),
            (&["--commit", &upper], "is not a Git commit's full hash"),
            (&["--sha256", "abc"], "is not 64 lowercase hex digits"),
            (&["--deb", "rustc-web"], "is not NAME=VERSION"),
            (&["--deb", "rustc-web="], "is not NAME=VERSION"),
            (&["--lock-file", "Cargo.lock"], "is not NAME=PATH"),
            (&["--builder-id", "somebody"], "is not a URI"),
            (&["--builder-id", "https:"], "is not a URI"),
            (&["--source-uri", "a b:c"], "is not a URI"),
        ];
        for (changed, expected) in cases {
            let problem = of(&options(changed), &[]).err().map(|p| p.to_string());
            let problem = problem.unwrap_or_default();
            assert!(problem.contains(expected), "{changed:?}: {problem:?}");
        }
    }
}
