//! The layers of the modules in the filter and in the registry: each module uses only those of the
//! layers below its own, so that there are no cycles. Tests may use any.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use keystile_e2e::root;

struct Crate {
    sources: &'static str,
    /// From the top down.
    layers: &'static [&'static [&'static str]],
    /// Uses that must be found, so that the test does not pass because it finds none.
    known: &'static [(&'static str, &'static str)],
}

const CRATES: [Crate; 2] = [
    Crate {
        sources: "src",
        layers: &[
            &["wasm"],
            &["config"],
            &["engine"],
            &["decision"],
            &["auth"],
            &["request"],
            &["json", "clock", "throttle"],
        ],
        known: &[("engine", "decision"), ("auth", "json")],
    },
    Crate {
        sources: "registry/src",
        layers: &[
            &["commands"],
            &["cli"],
            &["routes"],
            &["keys"],
            &["lookup", "feed"],
            &["record"],
            &["http"],
            &["database", "server"],
            &["logs", "defaults", "duration", "timestamp"],
        ],
        known: &[("keys", "record"), ("routes", "http"), ("http", "server")],
    },
];

impl Crate {
    fn layer(&self, module: &str) -> usize {
        let layer = self
            .layers
            .iter()
            .position(|modules| modules.contains(&module));
        layer.unwrap_or_else(|| panic!("{}: {module} is in no layer", self.sources))
    }

    fn modules_use_only_those_below(&self) {
        let files = files(&root().join(self.sources), None);
        let modules: BTreeSet<_> = files.iter().map(|(module, _)| module.as_str()).collect();
        let known: BTreeSet<_> = self.layers.iter().copied().flatten().copied().collect();
        assert_eq!(modules, known);
        let mut found = BTreeSet::new();
        for (module, path) in &files {
            let code = code(&fs::read_to_string(path).unwrap());
            // Such paths may lead to the crate's root, which this test would not notice.
            let is_root = path.ends_with(format!("src/{module}.rs")) || path.ends_with("mod.rs");
            let above = if is_root { "super::" } else { "super::super" };
            for unread in [above, "crate::{"] {
                assert!(!code.contains(unread), "{}: {unread}", path.display());
            }
            for used in used(&code).into_iter().filter(|used| used != module) {
                assert!(
                    self.layer(module) < self.layer(used),
                    "{}: {module} must not use {used}",
                    path.display()
                );
                found.insert((module.clone(), used.to_owned()));
            }
        }
        for (module, used) in self.known {
            let known = ((*module).to_owned(), (*used).to_owned());
            assert!(found.contains(&known), "{module} uses {used}: {found:?}");
        }
    }
}

/// Returns the source files without tests, each with the top-level module that it belongs to.
fn files(folder: &Path, module: Option<&str>) -> Vec<(String, PathBuf)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let module = module.unwrap_or(name);
        if ["lib", "main", "tests"].contains(&name) || name.starts_with("test_") {
            continue;
        } else if path.is_dir() {
            files.extend(self::files(&path, Some(module)));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push((module.to_owned(), path));
        }
    }
    files
}

/// Returns the code without comments, and without the tests at its end.
fn code(text: &str) -> String {
    let mut lines = text.lines().map(str::trim).peekable();
    let mut code = String::new();
    while let Some(line) = lines.next() {
        let mut next_is_module = || lines.peek().is_some_and(|next| next.ends_with('{'));
        if line == "#[cfg(test)]" && next_is_module() {
            break;
        }
        if !line.starts_with("//") {
            code.push_str(line);
        }
    }
    code
}

/// Returns the top-level modules that the code names: `crate::auth::…`.
fn used(code: &str) -> BTreeSet<&str> {
    let paths = code.split("crate::").skip(1);
    let is_end = |c: char| !c.is_alphanumeric() && c != '_';
    paths.filter_map(|path| path.split(is_end).next()).collect()
}

#[test]
fn modules_use_only_those_below() {
    for each in CRATES {
        each.modules_use_only_those_below();
    }
}

#[test]
fn all_ways_to_name_a_module_are_found() {
    let code = code(
        "// use crate::wasm;\nuse crate::auth::feed;\nlet x = crate::config::parse(crate::clock);\n\
         #[cfg(test)]\nmod tests {\n    use crate::engine;\n}\n",
    );
    let expected = ["auth", "clock", "config"];
    assert_eq!(used(&code).into_iter().collect::<Vec<_>>(), expected);
}
