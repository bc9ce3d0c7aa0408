//! What is in the module, according to Cargo.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::Options;
use crate::cargo::{self, Lock, Manifest, RawPackage, TARGET, parse};

const RUST_LICENSE: &str =
    "(Apache-2.0 OR MIT) AND Apache-2.0 WITH LLVM-exception AND MIT AND Unicode-3.0";
const WASI_LIBC_LICENSE: &str =
    "(Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT) AND MIT AND BSD-2-Clause AND CC0-1.0";

/// A part of the module with its own licence.
#[derive(Debug)]
pub(crate) struct Component {
    pub(crate) name: String,
    pub(crate) version: String,
    /// An SPDX expression.
    pub(crate) license: String,
    /// Its package URL, <https://github.com/package-url/purl-spec>, which is unique.
    pub(crate) purl: String,
    /// The SHA-256 of its package.
    pub(crate) checksum: Option<String>,
    /// The files with its licence texts.
    pub(crate) texts: Vec<PathBuf>,
}

/// All components of the module.
pub(crate) struct Contents {
    pub(crate) version: String,
    /// Sorted by `purl`.
    pub(crate) components: Vec<Component>,
    /// Which other components each `purl` depends on. Keystile's own is [`Contents::purl`].
    pub(crate) needs: BTreeMap<String, BTreeSet<String>>,
}

impl Contents {
    pub(crate) fn of(messages: &str, options: &Options) -> Result<Self> {
        let root = &options.root;
        let metadata = cargo::metadata(root)?;
        let lock: Lock = parse(&root.join("Cargo.lock"))?;
        let compiled = cargo::compiled(messages)?;
        let filter = metadata.package("keystile")?;
        ensure!(
            compiled.contains(&filter.manifest_path),
            "Cargo did not compile keystile for {TARGET}: the messages are from another build"
        );
        let of_filter = metadata.needed_by(filter);
        let mut this = Self {
            version: filter.version.clone(),
            components: Vec::new(),
            needs: BTreeMap::new(),
        };

        // The filter's crates, and what each depends on.
        let own = format!("{} {}", filter.name, filter.version);
        let mut purls = BTreeMap::from([(own, this.purl())]);
        let mut left = compiled;
        left.remove(&filter.manifest_path);
        for package in of_filter {
            if left.remove(&package.manifest_path) {
                let component = from_crates_io(&package.manifest_path, &lock)?;
                let name = format!("{} {}", component.name, component.version);
                purls.insert(name, component.purl.clone());
                this.components.push(component);
            }
        }
        let purl = |name: &String| {
            let purl = purls.get(name).cloned();
            purl.with_context(|| format!("Cargo's tree has {name}, but it was not compiled"))
        };
        for (name, needs) in cargo::needs(&cargo::tree(root)?)? {
            let needs = needs.iter().map(purl).collect::<Result<_>>()?;
            this.needs.insert(purl(&name)?, needs);
        }

        // Everything else that was compiled is std, and what std depends on.
        let std = rust_std(options);
        let libc = wasi_libc(options);
        let mut std_needs = BTreeSet::from([libc.purl.clone()]);
        let (in_registry, of_rust): (Vec<_>, Vec<_>) =
            left.iter().partition(|path| is_package(path));
        ensure!(
            of_rust.iter().any(|path| path.ends_with("std/Cargo.toml")),
            "Cargo did not compile std: a release must build std from its sources"
        );
        for path in in_registry {
            let component = from_crates_io(path, &lock)?;
            std_needs.insert(component.purl.clone());
            this.components.push(component);
        }
        this.needs
            .entry(this.purl())
            .or_default()
            .insert(std.purl.clone());
        this.needs.insert(std.purl.clone(), std_needs);
        this.components.extend([std, libc]);
        this.components.sort_by(|a, b| a.purl.cmp(&b.purl));
        Ok(this)
    }

    pub(crate) fn purl(&self) -> String {
        format!("pkg:generic/keystile@{}", self.version)
    }
}

fn rust_std(options: &Options) -> Component {
    Component {
        name: "rust-std".to_owned(),
        version: options.rust.clone(),
        license: RUST_LICENSE.to_owned(),
        purl: format!("pkg:generic/rust-std@{}", options.rust),
        checksum: None,
        texts: ["release/licenses/rust-std.txt", "LICENSE"]
            .map(|file| options.root.join(file))
            .into(),
    }
}

fn wasi_libc(options: &Options) -> Component {
    Component {
        name: "wasi-libc".to_owned(),
        version: options.wasi_libc.clone(),
        license: WASI_LIBC_LICENSE.to_owned(),
        purl: format!("pkg:deb/debian/wasi-libc@{}", options.wasi_libc),
        checksum: None,
        texts: ["release/licenses/wasi-libc.txt", "LICENSE"]
            .map(|file| options.root.join(file))
            .into(),
    }
}

/// Returns the component of a package from crates.io, given its manifest there.
fn from_crates_io(manifest: &Path, lock: &Lock) -> Result<Component> {
    let Manifest { package } = parse(manifest)?;
    let RawPackage {
        name,
        version,
        license,
    } = package;
    let license = license.with_context(|| format!("{name} {version} does not name a licence"))?;
    let folder = manifest.parent().unwrap_or(manifest);
    let texts = license_files(folder)?;
    ensure!(
        !texts.is_empty(),
        "{name} {version} ({license}) comes without a licence text"
    );
    // What only std depends on is in Rust's own lock file instead.
    let checksum = lock
        .package
        .iter()
        .find(|package| package.name == name && package.version == version)
        .and_then(|package| package.checksum.clone());
    // `+` has another meaning in a purl.
    let purl = format!("pkg:cargo/{name}@{}", version.replace('+', "%2B"));
    Ok(Component {
        name,
        version,
        // Older crates separate licences by a slash, as was usual before SPDX.
        license: license.replace('/', " OR "),
        purl,
        checksum,
        texts,
    })
}

fn license_files(folder: &Path) -> Result<Vec<PathBuf>> {
    const BEGINNINGS: [&str; 6] = [
        "LICENSE",
        "LICENCE",
        "COPYING",
        "COPYRIGHT",
        "NOTICE",
        "UNLICENSE",
    ];
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("{}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.to_uppercase();
        if path.is_file()
            && BEGINNINGS
                .iter()
                .any(|beginning| name.starts_with(beginning))
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Returns true if this is the manifest of a package from crates.io, and not one among Rust's sources.
fn is_package(manifest: &Path) -> bool {
    manifest.parent().is_some_and(|folder| {
        folder.join(".cargo-ok").exists() || folder.join(".cargo-checksum.json").exists()
    })
}
