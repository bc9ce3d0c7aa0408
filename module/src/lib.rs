//! The module's exports and host calls: the lists that the build, the tests and the benchmark's floor
//! share, and the build step that makes the module match them.
//!
//! The filter has its own callbacks, but the SDK exports all callbacks of the proxy-wasm ABI, under
//! the names that Envoy looks for. So the filter exports its callbacks as `keystile_on_…`, and
//! [`swap`] renames them to `proxy_on_…`, in place of the SDK's. Host calls that only the SDK's
//! callbacks make are no longer imported: each is replaced by a function that ends the VM.

mod lists;
mod rewrite;

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use wasmparser::{Import, Parser, Payload, TypeRef};

pub use lists::{CALLBACKS, HOST_CALLS, KEPT, PANIC_CALLS, SDK_CALLS, exports};

/// The prefix of the filter's own callbacks.
const OURS: &str = "keystile_on_";
/// The prefix of callbacks in the ABI.
const ABI: &str = "proxy_on_";

/// Returns the module with the filter's callbacks instead of the SDK's.
///
/// # Errors
/// Fails if `module` is not a WebAssembly module, or if the result does not match the lists.
pub fn swap(module: &[u8]) -> Result<Vec<u8>> {
    let swapped = rewrite::rewritten(module)?;
    check(&swapped)?;
    Ok(swapped)
}

/// Checks that a module exports everything that is listed, each once, and nothing else, and that it
/// imports only what is listed.
///
/// # Errors
/// Fails if it does not.
pub fn check(module: &[u8]) -> Result<()> {
    let mut found = BTreeSet::new();
    for name in exported(module)? {
        ensure!(
            exports().any(|listed| listed == name),
            "the module exports {name}, which is not listed in module/src/lists.rs"
        );
        let message = format!("the module exports {name} twice");
        ensure!(found.insert(name), message);
    }
    let missing: Vec<_> = exports()
        .filter(|listed| !found.contains(*listed))
        .collect();
    ensure!(
        missing.is_empty(),
        "the module does not export {}; the filter must export its callbacks as {OURS}…",
        missing.join(", ")
    );
    for name in imported(module)? {
        ensure!(
            HOST_CALLS.contains(&&*name) || PANIC_CALLS.contains(&&*name),
            "the module imports {name}, which is not listed in module/src/lists.rs"
        );
    }
    Ok(())
}

/// Returns the names of a module's exports, in order.
///
/// # Errors
/// Fails if it is not a WebAssembly module.
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

/// Returns the names of a module's imports, in order.
///
/// # Errors
/// Fails if it is not a WebAssembly module, or imports anything but functions.
pub fn imported(module: &[u8]) -> Result<Vec<String>> {
    let imports = imports(module)?;
    Ok(imports
        .into_iter()
        .map(|(name, _)| name.to_owned())
        .collect())
}

/// Returns a module's imports, in order, each with the index of its type.
fn imports(module: &[u8]) -> Result<Vec<(&str, u32)>> {
    let mut imports = Vec::new();
    for payload in payloads(module) {
        if let Payload::ImportSection(section) = payload? {
            for import in section.into_imports() {
                let Import { name, ty, .. } = import?;
                match ty {
                    TypeRef::Func(ty) => imports.push((name, ty)),
                    other => bail!(
                        "the import {name} is a {other:?}, but only functions may be imported"
                    ),
                }
            }
        }
    }
    Ok(imports)
}

fn payloads(module: &[u8]) -> impl Iterator<Item = Result<Payload<'_>>> {
    Parser::new(0)
        .parse_all(module)
        .map(|payload| payload.context("not a WebAssembly module"))
}

#[cfg(test)]
mod tests;
