//! `make release`: writes what is in the module, as a bill of materials (CycloneDX) and as licence
//! texts, and how it was made, as a provenance statement (SLSA).
//!
//! The contents are taken from Cargo's messages about the build that made the module. They leave
//! out what only the registry or the tests need, and what only runs during the build. The same
//! build gives the same bytes: the files have no time, no random number and no path of the machine.

mod cargo;
mod contents;
mod notices;
mod provenance;
mod sbom;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use crate::contents::Contents;
use crate::notices::Notices;

/// Writes keystile.cdx.json, THIRD-PARTY-LICENSES and keystile.provenance.json for a build of the module.
#[derive(Parser)]
pub(crate) struct Options {
    /// Cargo's messages about the build, from `--message-format json`.
    #[arg(long)]
    messages: PathBuf,
    /// Keystile's repository.
    #[arg(long, default_value = ".")]
    root: PathBuf,
    /// The module's SHA-256, in hex.
    #[arg(long)]
    sha256: String,
    /// The version of Rust whose std is in the module.
    #[arg(long)]
    rust: String,
    /// The version of the wasi-libc that is in the module.
    #[arg(long)]
    wasi_libc: String,
    /// The full hash of the Git commit that was built.
    #[arg(long)]
    commit: String,
    /// The sources differ from the commit.
    #[arg(long)]
    dirty: bool,
    /// Where to get the commit, such as `git+https://example.com/keystile`.
    #[arg(long)]
    source_uri: Option<String>,
    /// Who built it, as a URI.
    #[arg(long)]
    builder_id: String,
    /// A lock file that says which crates were used, as NAME=PATH.
    #[arg(long)]
    lock_file: Vec<String>,
    /// A Debian package that the module was built with, as NAME=VERSION.
    #[arg(long)]
    deb: Vec<String>,
    /// The folder to write to.
    #[arg(long, default_value = "dist")]
    out: PathBuf,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("keystile-release: {problem:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let messages = fs::read_to_string(&options.messages)
        .with_context(|| format!("{}", options.messages.display()))?;
    let contents = Contents::of(&messages, options)?;
    let notices = Notices::read(&contents.components)?.to_string();
    let sbom = sbom::of(&contents, &options.sha256);
    let sbom = serde_json::to_string_pretty(&sbom)? + "\n";
    let mut files = vec![
        ("keystile.cdx.json", sbom),
        ("THIRD-PARTY-LICENSES", notices),
    ];
    let provenance = provenance::of(options, &files)?;
    let provenance = serde_json::to_string_pretty(&provenance)? + "\n";
    files.push(("keystile.provenance.json", provenance));
    for (name, text) in files {
        let path = options.out.join(name);
        fs::write(&path, text).with_context(|| format!("{}", path.display()))?;
    }
    println!(
        "{}: {} components",
        options.out.display(),
        contents.components.len()
    );
    Ok(())
}
