//! The lists in `module/src/lists.rs` of what the module exports and calls match everything that
//! has such a list: the module, what Envoy is configured to allow, and what the filter tries when
//! it is loaded.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result, ensure};
use keystile_e2e::{envoy, root};
use keystile_module::{CALLBACKS, HOST_CALLS, PANIC_CALLS};
use serde_json::Value;

struct Case {
    name: &'static str,
    found: Vec<String>,
    expected: Vec<&'static str>,
    /// Names that may be found too.
    or: &'static [&'static str],
}

#[test]
fn each_list_is_the_same() -> Result<()> {
    let module =
        fs::read(envoy::module()).context("dist/keystile.wasm is missing; run `make build`")?;
    let cases = [
        Case {
            name: "what the module exports",
            found: keystile_module::exported(&module)?,
            expected: keystile_module::exports().collect(),
            or: &[],
        },
        Case {
            name: "what it imports",
            found: keystile_module::imported(&module)?,
            expected: HOST_CALLS.to_vec(),
            or: &PANIC_CALLS,
        },
        Case {
            name: "what envoy/envoy.yaml allows",
            found: allowed()?,
            expected: CALLBACKS.into_iter().chain(HOST_CALLS).collect(),
            or: &[],
        },
        Case {
            name: "what src/wasm/capabilities.rs tries, or says that loading calls",
            found: calls_in(&fs::read_to_string(
                root().join("src/wasm/capabilities.rs"),
            )?),
            expected: HOST_CALLS.to_vec(),
            or: &[],
        },
    ];
    let problems: Vec<_> = cases.iter().filter_map(problem_with).collect();
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}

fn problem_with(case: &Case) -> Option<String> {
    let found: BTreeSet<_> = case.found.iter().map(String::as_str).collect();
    let known = |name: &&str| case.expected.contains(name) || case.or.contains(name);
    let missing = case.expected.iter().filter(|name| !found.contains(*name));
    let missing: Vec<_> = missing.collect();
    let unknown: Vec<_> = found.iter().filter(|name| !known(name)).collect();
    (!missing.is_empty() || !unknown.is_empty()).then(|| {
        let name = case.name;
        format!("{name}: missing {missing:?}, not listed {unknown:?}")
    })
}

/// Returns the `allowed_capabilities` of `envoy/envoy.yaml`, which `envoy/envoy-docker.yaml` repeats.
fn allowed() -> Result<Vec<String>> {
    const WHERE: &str =
        "/http_filters/0/typed_config/config/capability_restriction_config/allowed_capabilities";
    let file = fs::read_to_string(root().join("envoy/envoy.yaml"))?;
    let mut config = serde_saphyr::from_str(&file)?;
    let allowed = envoy::http_settings(&mut config)?.pointer(WHERE);
    let allowed = allowed.and_then(Value::as_object);
    Ok(allowed.context("none")?.keys().cloned().collect())
}

/// Returns the host calls that a source file names.
fn calls_in(source: &str) -> Vec<String> {
    let words = source.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let calls = words.filter(|word| {
        let abi = word.starts_with("proxy_") && *word != "proxy_wasm";
        abi || HOST_CALLS.contains(word)
    });
    calls.map(ToOwned::to_owned).collect()
}
