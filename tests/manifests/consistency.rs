//! Checks that the documents of a folder fit together: each policy names ports, labels, accounts
//! and namespaces that exist in the others, only the intended clients can reach the registry,
//! nothing can replace it, and tokens come from Secrets.

mod broken;
mod envoy_gateway;
mod istio;
mod policies;
mod registry;

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use keystile_e2e::manifests::{Document, FOLDERS, documents};
use serde_json::Value;

/// What proxies request from the registry, as an AuthorizationPolicy names it. An end-to-end test
/// compares it with the registry's OpenAPI document.
const SERVICE_PATHS: [&str; 2] = ["/v1/key-hashes/*", "/v1/changes"];

/// The variable with the service token, in the registry and in proxies.
const SERVICE_TOKEN: &str = "KEYSTILE_SERVICE_TOKEN";

/// The documents of a folder, and the problems among them.
struct Checked<'a> {
    documents: &'a [Document],
    problems: Vec<String>,
}

impl<'a> Checked<'a> {
    fn of_kind(&self, kind: &'static str) -> impl Iterator<Item = &'a Document> + use<'a> {
        let documents = self.documents.iter();
        documents.filter(move |document| document.text("/kind") == kind)
    }

    /// Returns the only document of a kind. Any other number of them is a problem.
    fn only(&mut self, kind: &'static str) -> Option<&'a Document> {
        let all: Vec<_> = self.of_kind(kind).collect();
        if all.len() != 1 {
            self.problems
                .push(format!("{} of kind {kind}, not 1", all.len()));
        }
        all.first().copied()
    }

    fn check(&mut self, document: &Document, holds: bool, problem: &str) {
        if !holds {
            self.problems
                .push(format!("{}: {problem}", document.name()));
        }
    }
}

/// Returns everything that does not fit together in a folder.
fn problems(documents: &[Document]) -> Vec<String> {
    let mut checked = Checked {
        documents,
        problems: Vec::new(),
    };
    registry::check(&mut checked);
    if documents.iter().any(|it| it.text("/kind") == "HTTPRoute") {
        envoy_gateway::check(&mut checked);
    } else {
        istio::check(&mut checked);
    }
    checked.problems
}

/// Returns the items of the array at a JSON pointer; none if there is no array.
fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    let items = value.pointer(pointer).and_then(Value::as_array);
    items.into_iter().flatten()
}

fn texts(value: &Value, pointer: &str) -> BTreeSet<String> {
    let texts = list(value, pointer).filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

/// Returns the namespaces of the documents that load the module.
fn plugin_namespaces(documents: &[Document]) -> BTreeSet<String> {
    let plugins = documents.iter().filter(|it| it.plugin().is_some());
    plugins
        .map(|plugin| plugin.text("/metadata/namespace").to_owned())
        .collect()
}

#[test]
fn shipped_documents_fit_together() -> Result<()> {
    for folder in FOLDERS {
        let problems = problems(&documents(folder)?);
        ensure!(problems.is_empty(), "{folder}:\n{}", problems.join("\n"));
    }
    Ok(())
}
