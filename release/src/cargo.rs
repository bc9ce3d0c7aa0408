//! What Cargo says about a build and the workspace, and what its files say.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The target that the module is compiled for.
pub(crate) const TARGET: &str = "wasm32-wasip1";

/// Parses one of Cargo's files.
pub(crate) fn parse<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("{}", path.display()))
}

/// Returns the manifests of everything that was compiled for the module's target.
pub(crate) fn compiled(messages: &str) -> Result<BTreeSet<PathBuf>> {
    let mut manifests = BTreeSet::new();
    for line in messages.lines() {
        let message =
            serde_json::from_str(line).with_context(|| format!("not a Cargo message: {line}"))?;
        if let Message::CompilerArtifact {
            manifest_path,
            filenames,
        } = message
        {
            let of_target =
                |file: &PathBuf| file.components().any(|part| part.as_os_str() == TARGET);
            if filenames.iter().any(of_target) {
                manifests.insert(manifest_path);
            }
        }
    }
    Ok(manifests)
}

/// Returns what each crate of the filter depends on, as `name version`, from the output of [`tree`].
pub(crate) fn needs(tree: &str) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let mut needs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    // The crates from the root to the previous line.
    let mut above: Vec<String> = Vec::new();
    for line in tree.lines() {
        let strange = || format!("cargo tree printed a line that is not a crate: {line}");
        // `3hashbrown v0.16.1`; more may follow.
        let digits = line.find(|c: char| !c.is_ascii_digit());
        let (depth, rest) = line.split_at(digits.with_context(strange)?);
        let depth: usize = depth.parse().with_context(strange)?;
        let (name, rest) = rest.split_once(" v").with_context(strange)?;
        let version = rest.split(' ').next().unwrap_or(rest);
        let this = format!("{name} {version}");
        above.truncate(depth);
        if let Some(parent) = above.last() {
            needs
                .entry(parent.clone())
                .or_default()
                .insert(this.clone());
        }
        needs.entry(this.clone()).or_default();
        above.push(this);
    }
    Ok(needs)
}

/// Returns the tree of the filter's crates, with only the features that the filter enables.
pub(crate) fn tree(root: &Path) -> Result<String> {
    let filter = ["--package", "keystile", "--target", TARGET];
    let shape = [
        "--edges",
        "normal,no-proc-macro",
        "--prefix",
        "depth",
        "--no-dedupe",
    ];
    let arguments = [&["tree", "--locked"], &filter[..], &shape[..]].concat();
    run(root, &arguments)
}

/// Returns what Cargo knows about the workspace and its dependencies.
pub(crate) fn metadata(root: &Path) -> Result<Metadata> {
    let arguments = [
        "metadata",
        "--format-version",
        "1",
        "--locked",
        "--filter-platform",
        TARGET,
    ];
    Ok(serde_json::from_str(&run(root, &arguments)?)?)
}

fn run(root: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new("cargo")
        .args(arguments)
        .current_dir(root)
        .output()?;
    if !output.status.success() {
        bail!(
            "cargo {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8(output.stdout)?)
}

#[derive(Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
enum Message {
    CompilerArtifact {
        manifest_path: PathBuf,
        filenames: Vec<PathBuf>,
    },
    #[serde(other)]
    Other,
}

/// The workspace.
#[derive(Deserialize)]
pub(crate) struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

impl Metadata {
    pub(crate) fn package(&self, name: &str) -> Result<&Package> {
        let found = self.packages.iter().find(|package| package.name == name);
        found.with_context(|| format!("Cargo does not know the package {name}"))
    }

    /// Returns all packages that this one may need when it runs. Some are not compiled: the
    /// metadata has the enabled features only for the workspace as a whole.
    pub(crate) fn needed_by(&self, package: &Package) -> Vec<&Package> {
        let nodes: BTreeMap<_, _> = self
            .resolve
            .nodes
            .iter()
            .map(|node| (node.id.as_str(), node))
            .collect();
        let mut seen = BTreeSet::new();
        let mut next = vec![package.id.as_str()];
        while let Some(id) = next.pop() {
            if let Some(node) = nodes.get(id).filter(|_| seen.insert(id)) {
                next.extend(node.needs());
            }
        }
        let needed = self
            .packages
            .iter()
            .filter(|package| seen.contains(package.id.as_str()));
        needed.collect()
    }
}

#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) manifest_path: PathBuf,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

impl Node {
    /// Returns the dependencies, except those for tests and for the build.
    pub(crate) fn needs(&self) -> impl Iterator<Item = &str> {
        let normal =
            |dependency: &&Dependency| dependency.dep_kinds.iter().any(|kind| kind.kind.is_none());
        self.deps
            .iter()
            .filter(normal)
            .map(|dependency| dependency.pkg.as_str())
    }
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    kind: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct Manifest {
    pub(crate) package: RawPackage,
}

#[derive(Deserialize)]
pub(crate) struct RawPackage {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct Lock {
    pub(crate) package: Vec<Locked>,
}

#[derive(Deserialize)]
pub(crate) struct Locked {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) checksum: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_compiled_for_the_target_counts() {
        let line = |manifest: &str, file: &str| {
            serde_json::json!({"reason": "compiler-artifact", "manifest_path": manifest, "filenames": [file]}).to_string()
        };
        let cases = [
            (
                "for the target",
                line("/a/Cargo.toml", "/t/wasm32-wasip1/wasm/liba.rlib"),
                Some(1),
            ),
            (
                "a macro",
                line("/a/Cargo.toml", "/t/wasm/deps/liba.so"),
                Some(0),
            ),
            (
                "another message",
                r#"{"reason":"build-finished","success":true}"#.to_owned(),
                Some(0),
            ),
            ("not a message", "Compiling a".to_owned(), None),
        ];
        for (name, messages, expected) in cases {
            let found = compiled(&messages).ok().map(|found| found.len());
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn needs_are_read_from_the_tree() {
        let tree = "0a v1.0.0 (/x)\n1b v2.0.0\n2c v3.0.0+x (*)\n1d v4.0.0\n2b v2.0.0";
        let needs = needs(tree).unwrap();
        let cases = [
            ("a 1.0.0", vec!["b 2.0.0", "d 4.0.0"]),
            ("b 2.0.0", vec!["c 3.0.0+x"]),
            ("c 3.0.0+x", vec![]),
            ("d 4.0.0", vec!["b 2.0.0"]),
        ];
        for (name, expected) in cases {
            assert!(needs[name].iter().eq(expected), "{name}: {:?}", needs[name]);
        }
        assert!(
            super::needs("a v1.0.0").is_err(),
            "a line without its depth"
        );
    }
}
