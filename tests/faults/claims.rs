//! Checks that the tests that `SECURITY.md` names for its claims exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use keystile_e2e::root;
use keystile_e2e::trials::{suites, trial};

keystile_e2e::suite!(Together, || vec![trial(
    "security: each claim has its tests",
    each_claim_has_its_tests
)]);

fn each_claim_has_its_tests() -> Result<()> {
    let names: BTreeSet<_> = suites()
        .into_iter()
        // Not this one, which would create itself again and again.
        .filter(|suite| suite.module != module_path!())
        .flat_map(|suite| (suite.trials)())
        .map(|trial| trial.name().to_owned())
        .collect();
    let page = fs::read_to_string(root().join("SECURITY.md")).context("SECURITY.md")?;
    let (_, page) = page
        .split_once("## What is defended")
        .context("SECURITY.md has no section \"What is defended\"")?;
    let (page, _) = page
        .split_once("## What is left")
        .context("SECURITY.md has no section \"What is left\"")?;
    let end_to_end = sources("tests/e2e")?;
    let native = [
        "src",
        "fuzz/oracles",
        "registry/src",
        "registry/tests",
        "tests/supply",
    ];
    let native = native
        .map(sources)
        .into_iter()
        .collect::<Result<Vec<_>>>()?
        .concat();
    let mut claims = 0;
    for row in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").collect();
        let [claim, tests] = cells[..] else {
            anyhow::bail!("not a claim and its tests: {row}");
        };
        if claim.trim() == "claim" {
            continue;
        }
        claims += 1;
        let mut named = 0;
        for (at, test) in tests.split('`').enumerate().skip(1).step_by(2) {
            let is_there = if test.contains(": ") || test == "soak" {
                let of_e2e = end_to_end.contains(&format!("\"{test}\""));
                let says_so = tests.split('`').nth(at + 1).unwrap_or_default();
                let is_e2e = says_so.starts_with(" (e2e)");
                names.contains(test) && !is_e2e || of_e2e && is_e2e
            } else if test.starts_with("make ") || test.starts_with("#!") {
                continue;
            } else {
                let function = test.rsplit("::").next().unwrap_or_default();
                native.contains(&format!("fn {function}("))
            };
            ensure!(is_there, "{}: there is no test {test:?}", claim.trim());
            named += 1;
        }
        let by_compiler = tests.contains("the compiler");
        ensure!(named > 0 || by_compiler, "{}: no test", claim.trim());
    }
    ensure!(claims > 30, "only {claims} claims");
    println!("security: {claims} claims");
    Ok(())
}

/// Returns all Rust sources below a folder as one string.
fn sources(folder: &str) -> Result<String> {
    fn add(folder: &Path, text: &mut String) -> Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                add(&path, text)?;
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text.push_str(&fs::read_to_string(&path)?);
            }
        }
        Ok(())
    }
    let mut text = String::new();
    add(&root().join(folder), &mut text).with_context(|| folder.to_owned())?;
    Ok(text)
}
