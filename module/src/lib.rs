//! What the module exports and which of the host's calls it makes: the lists that the build, the
//! tests and the benchmark's floor share, and the build step that makes the module keep to them.
//!
//! The filter has callbacks of its own, but the SDK exports all that the proxy-wasm ABI knows,
//! under the names that Envoy looks for. So the filter exports its callbacks as `keystile_on_…`,
//! and [`swap`] makes `proxy_on_…` of them in the place of the SDK's. The calls that only the SDK's
//! make are no longer imports: instead of each, there is a function that ends the VM.

mod lists;
mod rewrite;

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use wasmparser::{Import, Parser, Payload, TypeRef};

pub use lists::{CALLBACKS, HOST_CALLS, KEPT, PANIC_CALLS, SDK_CALLS, exports};

/// What the names of the filter's own callbacks begin with.
const OURS: &str = "keystile_on_";
/// What the names of callbacks begin with in the ABI.
const ABI: &str = "proxy_on_";

/// The module with the filter's callbacks instead of the SDK's.
///
/// # Errors
/// When `module` is no module, or the result would not keep to the lists.
pub fn swap(module: &[u8]) -> Result<Vec<u8>> {
    let swapped = rewrite::rewritten(module)?;
    check(&swapped)?;
    Ok(swapped)
}

/// Checks that a module exports what is listed, each once, and nothing else, and that it imports
/// nothing that is in no list.
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
    for name in imported(module)? {
        ensure!(
            HOST_CALLS.contains(&&*name) || PANIC_CALLS.contains(&&*name),
            "the module calls {name}, which is in no list of module/src/lists.rs"
        );
    }
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
/// When it is no module, or imports what is no function.
pub fn imported(module: &[u8]) -> Result<Vec<String>> {
    let imports = imports(module)?;
    Ok(imports
        .into_iter()
        .map(|(name, _)| name.to_owned())
        .collect())
}

/// What a module imports, in its order, each with the number of its type.
fn imports(module: &[u8]) -> Result<Vec<(&str, u32)>> {
    let mut imports = Vec::new();
    for payload in payloads(module) {
        if let Payload::ImportSection(section) = payload? {
            for import in section.into_imports() {
                let Import { name, ty, .. } = import?;
                match ty {
                    TypeRef::Func(ty) => imports.push((name, ty)),
                    other => bail!("the import {name} is a {other:?}: only functions can be"),
                }
            }
        }
    }
    Ok(imports)
}

fn payloads(module: &[u8]) -> impl Iterator<Item = Result<Payload<'_>>> {
    Parser::new(0)
        .parse_all(module)
        .map(|payload| payload.context("this is no WebAssembly module"))
}

#[cfg(test)]
mod tests;
