//! Tests of the project itself: locked crates, pinned downloads, base images, advisories, limits of
//! containers, the order of modules, the module's exports and imports, documents, and releases.
//! Scripts run unchanged, with fakes of everything external: no test needs a network, Docker or Envoy.

mod advisories;
mod base_images;
mod compose_file;
mod documents;
mod envoy_wheels;
mod layers;
mod locked;
mod module;
mod release;
mod signing;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use keystile_e2e::root;

/// The result of a script.
struct Ran {
    success: bool,
    /// Standard output and standard error.
    said: String,
    /// Standard output alone.
    printed: String,
}

impl Ran {
    fn of(command: &mut Command) -> Result<Self> {
        let Output {
            status,
            stdout,
            stderr,
        } = command
            .output()
            .with_context(|| format!("{:?}", command.get_program()))?;
        let printed = String::from_utf8_lossy(&stdout).into_owned();
        let said = format!("{printed}{}", String::from_utf8_lossy(&stderr));
        Ok(Self {
            success: status.success(),
            said,
            printed,
        })
    }

    /// Checks whether it succeeded, and that its output has all these parts.
    fn check(&self, success: bool, says: &[&str]) -> Result<()> {
        ensure!(
            self.success == success,
            "{}: {}",
            if self.success { "succeeded" } else { "failed" },
            self.said
        );
        for expected in says {
            ensure!(
                self.said.contains(expected),
                "no {expected:?} in {}",
                self.said
            );
        }
        Ok(())
    }
}

/// Returns a command for one of the project's scripts.
fn script(name: &str) -> Command {
    Command::new(root().join("scripts").join(name))
}

/// Runs a program in a folder. It must succeed.
fn run(folder: &Path, program: &str, arguments: &[&str]) -> Result<()> {
    let ran = Ran::of(Command::new(program).args(arguments).current_dir(folder))?;
    ran.check(true, &[])
        .with_context(|| format!("{program} {arguments:?}"))
}

/// Writes an executable file into a folder.
fn program(folder: &Path, name: &str, text: &str) -> Result<()> {
    let file = folder.join(name);
    fs::write(&file, text)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Returns `PATH` with a folder put first.
fn path_with(folder: &Path) -> Result<std::ffi::OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let others = std::env::split_paths(&path);
    Ok(std::env::join_paths(
        [folder.to_owned()].into_iter().chain(others),
    )?)
}

/// Makes a folder a Git repository with everything committed.
fn commit(folder: &Path) -> Result<()> {
    run(folder, "git", &["init", "--quiet", "--initial-branch=main"])?;
    run(folder, "git", &["add", "--all"])?;
    let identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"];
    let commit = ["commit", "--quiet", "--message=test"];
    run(folder, "git", &[&identity[..], &commit[..]].concat())
}

/// Returns the files below the project's root that are not results of a build, relative to it.
fn project_files() -> Result<Vec<PathBuf>> {
    const NOT_SOURCES: [&str; 6] = [
        ".git",
        ".tools",
        "dist",
        "target",
        "fuzz/artifacts",
        "fuzz/corpus",
    ];
    let root = root();
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            if NOT_SOURCES.iter().any(|other| path == Path::new(other)) {
                continue;
            }
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}
