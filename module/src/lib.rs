//! What the module exports and which of the host's calls it makes: the lists that the build, the
//! tests and the benchmark's floor share, and the build step that gives the module its exports.
//!
//! The filter has callbacks of its own, but the SDK exports all that the proxy-wasm ABI knows,
//! under the names that Envoy looks for. So the filter exports its callbacks as `keystile_on_…`,
//! and [`swap`] makes `proxy_on_…` of them in the place of the SDK's. Only the section of exports
//! is written again; all others are copied as they are.

mod lists;

use std::collections::BTreeSet;
use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};
use wasm_encoder::{ExportKind, ExportSection, RawSection};
use wasmparser::{Export, ExternalKind, Parser, Payload};

pub use lists::{CALLBACKS, HOST_CALLS, KEPT, PANIC_CALLS, exports};

/// What the names of the filter's own callbacks begin with.
const OURS: &str = "keystile_on_";
/// What the names of callbacks begin with in the ABI.
const ABI: &str = "proxy_on_";

/// The module with the filter's callbacks instead of the SDK's.
///
/// # Errors
/// When `module` is no module, or the result would not export exactly what is listed.
pub fn swap(module: &[u8]) -> Result<Vec<u8>> {
    let mut swapped = wasm_encoder::Module::new();
    for payload in payloads(module) {
        let payload = payload?;
        if let Payload::ExportSection(section) = payload {
            let before: Vec<_> = section.into_iter().collect::<Result<_, _>>()?;
            swapped.section(&chosen(&before)?);
        } else if let Some((id, range)) = payload.as_section() {
            let data = bytes(module, range).context("a section ends after the module")?;
            swapped.section(&RawSection { id, data });
        }
    }
    let swapped = swapped.finish();
    check(&swapped)?;
    Ok(swapped)
}

/// The section of exports as it is to be.
fn chosen(before: &[Export<'_>]) -> Result<ExportSection> {
    let mut section = ExportSection::new();
    for export in before {
        let ours = export.name.strip_prefix(OURS);
        // What the SDK has and no list names.
        if ours.is_none() && export.name.starts_with("proxy_") && !KEPT.contains(&export.name) {
            continue;
        }
        let name = ours.map_or_else(|| export.name.to_owned(), |rest| format!("{ABI}{rest}"));
        let kind = match export.kind {
            ExternalKind::Func => ExportKind::Func,
            ExternalKind::Memory => ExportKind::Memory,
            other => bail!("the export {name} is a {other:?}: only functions and memories can be"),
        };
        section.export(&name, kind, export.index);
    }
    Ok(section)
}

/// Checks that a module exports what is listed, each once, and nothing else.
///
/// # Errors
/// When it does not.
pub fn check(module: &[u8]) -> Result<()> {
    let mut found = BTreeSet::new();
    for name in exported(module)? {
        ensure!(
            exports().any(|listed| listed == name),
            "the module exports {name}, which is in no list of module/src/lists.rs"
        );
        let message = format!("the module exports {name} twice");
        ensure!(found.insert(name), message);
    }
    let missing: Vec<_> = exports()
        .filter(|listed| !found.contains(*listed))
        .collect();
    ensure!(
        missing.is_empty(),
        "the module does not export {}; the filter has to export its callbacks as {OURS}…",
        missing.join(", ")
    );
    Ok(())
}

/// The names of what a module exports, in its order.
///
/// # Errors
/// When it is no module.
pub fn exported(module: &[u8]) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for payload in payloads(module) {
        if let Payload::ExportSection(section) = payload? {
            for export in section {
                names.push(export?.name.to_owned());
            }
        }
    }
    Ok(names)
}

/// The names of what a module imports, in its order.
///
/// # Errors
/// When it is no module.
pub fn imported(module: &[u8]) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for payload in payloads(module) {
        if let Payload::ImportSection(section) = payload? {
            for import in section.into_imports() {
                names.push(import?.name.to_owned());
            }
        }
    }
    Ok(names)
}

fn payloads(module: &[u8]) -> impl Iterator<Item = Result<Payload<'_>>> {
    Parser::new(0)
        .parse_all(module)
        .map(|payload| payload.context("this is no WebAssembly module"))
}

fn bytes(module: &[u8], range: Range<u64>) -> Option<&[u8]> {
    module.get(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A module in which each exported function gives another number.
    fn module(exports: &[&str]) -> Vec<u8> {
        let mut text = String::from(
            "(module (import \"env\" \"proxy_log\" (func)) (memory (export \"memory\") 1)\n\
             (data (i32.const 8) \"proxy_on_tick\")\n",
        );
        for (number, name) in exports.iter().enumerate() {
            text += &format!("(func (export {name:?}) (result i32) (i32.const {number}))\n");
        }
        wat::parse_str(text + ")").unwrap()
    }

    /// As rustc makes it: the filter's callbacks beside all of the SDK's.
    fn built() -> Vec<String> {
        let ours = CALLBACKS.map(|name| name.replace(ABI, OURS));
        let kept = KEPT.into_iter().filter(|name| *name != "memory");
        let others = ["proxy_on_request_body", "proxy_on_log", "proxy_on_vm_start"];
        let all = ours.iter().map(String::as_str).chain(CALLBACKS);
        let all = all.chain(kept).chain(others);
        all.map(ToOwned::to_owned).collect()
    }

    /// The function that stands behind each export, by its number.
    fn behind(module: &[u8]) -> Vec<(String, u32)> {
        let mut found = Vec::new();
        for payload in payloads(module) {
            if let Payload::ExportSection(section) = payload.unwrap() {
                for export in section {
                    let export = export.unwrap();
                    found.push((export.name.to_owned(), export.index));
                }
            }
        }
        found
    }

    #[test]
    fn the_filters_callbacks_stand_for_the_sdks() {
        let names = built();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let before = module(&names);
        let after = swap(&before).unwrap();
        check(&after).unwrap();
        let old = behind(&before);
        let function = |name: &str| old.iter().find(|(other, _)| other == name).unwrap().1;
        for (name, index) in behind(&after) {
            let from = match CALLBACKS.contains(&&*name) {
                true => name.replace(ABI, OURS),
                false => name.clone(),
            };
            assert_eq!(index, function(&from), "{name}");
        }
        // All else is as it was.
        assert_eq!(imported(&after).unwrap(), ["proxy_log"]);
        let rest = |module: &[u8]| {
            let sections = payloads(module).filter_map(|payload| payload.unwrap().as_section());
            sections
                .filter(|(id, _)| *id != 7)
                .map(|(id, range)| (id, bytes(module, range).unwrap().to_vec()))
                .collect::<Vec<_>>()
        };
        assert_eq!(rest(&before), rest(&after));
    }

    #[test]
    fn what_would_not_be_as_listed_is_refused() {
        struct Case {
            name: &'static str,
            without: &'static str,
            with: &'static str,
            says: &'static str,
        }
        let cases = [
            Case {
                name: "a callback that the SDK alone has",
                without: "keystile_on_tick",
                with: "",
                says: "does not export proxy_on_tick; the filter",
            },
            Case {
                name: "without the SDK's allocator",
                without: "proxy_on_memory_allocate",
                with: "",
                says: "does not export proxy_on_memory_allocate",
            },
            Case {
                name: "without the start of wasi-libc",
                without: "_initialize",
                with: "",
                says: "does not export _initialize",
            },
            Case {
                name: "a callback that is in no list",
                without: "",
                with: "keystile_on_log",
                says: "exports proxy_on_log, which is in no list",
            },
            Case {
                name: "another export",
                without: "",
                with: "malloc",
                says: "exports malloc, which is in no list",
            },
        ];
        for case in cases {
            let mut names = built();
            names.retain(|name| name != case.without);
            let names = names.iter().map(String::as_str).chain([case.with]);
            let names: Vec<_> = names.filter(|name| !name.is_empty()).collect();
            let problem = swap(&module(&names)).expect_err(case.name).to_string();
            assert!(problem.contains(case.says), "{}: {problem}", case.name);
        }
    }

    #[test]
    fn an_export_that_is_there_twice_is_refused() {
        // Such a module is not valid, and a text of it is not taken: so the second name is changed
        // in a binary to one of the same length.
        let mut names = built();
        names.push("keystile_on_tock".to_owned());
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let mut module = module(&names);
        let tock = b"keystile_on_tock";
        let at = module.windows(tock.len()).position(|bytes| bytes == tock);
        module[at.unwrap()..][..tock.len()].copy_from_slice(b"keystile_on_tick");
        let problem = swap(&module).expect_err("twice").to_string();
        assert_eq!(problem, "the module exports proxy_on_tick twice");
    }

    #[test]
    fn what_is_no_module_is_refused() {
        for bytes in [&b"text"[..], b"", &module(&["_initialize"])[..60]] {
            let problem = swap(bytes).expect_err("no module");
            assert_eq!(problem.to_string(), "this is no WebAssembly module");
        }
    }
}
