//! That modules depend on each other in one direction only.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// For each module at the top, those that it uses, tests aside.
type Uses = BTreeMap<String, BTreeSet<String>>;

#[test]
fn modules_form_no_cycle() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut uses = Uses::new();
    for entry in fs::read_dir(&folder).expect("src") {
        let path = entry.expect("an entry").path();
        let module = path.file_stem().expect("a name").to_string_lossy();
        if module != "main" && module != "layers" && !module.starts_with("test_") {
            add(&path, uses.entry(module.into_owned()).or_default());
        }
    }
    for (module, used) in &mut uses {
        used.remove(module);
    }
    // So that it does not pass because nothing is found.
    for (module, used) in [("keys", "record"), ("routes", "http"), ("http", "server")] {
        assert!(uses[module].contains(used), "{module}: {:?}", uses[module]);
    }
    // A module that uses none of those left, or that none of them uses, is in no cycle.
    loop {
        let used: BTreeSet<_> = uses.values().flatten().cloned().collect();
        let free =
            |(module, uses): &(&String, &BTreeSet<_>)| uses.is_empty() || !used.contains(*module);
        let Some(module) = uses.iter().find(free).map(|(module, _)| module.clone()) else {
            break;
        };
        uses.remove(&module);
        for used in uses.values_mut() {
            used.remove(&module);
        }
    }
    assert!(uses.is_empty(), "a cycle: {uses:#?}");
}

/// Adds the modules that a file names, or the files in a folder.
fn add(path: &Path, uses: &mut BTreeSet<String>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.file_stem().is_some_and(|name| name != "tests") {
                add(&path, uses);
            }
        }
        return;
    }
    let text = fs::read_to_string(path).expect("a file");
    let (code, _) = text.split_once("\nmod tests {").unwrap_or((&text, ""));
    let code = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    for line in code {
        for name in line.split("crate::").skip(1) {
            let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            uses.insert(name[..end.unwrap_or(name.len())].to_owned());
        }
    }
}
