//! The Kubernetes manifests that are shipped, and what Istio and Envoy Gateway make of them: the
//! plugin's configuration, and the names of clusters.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::root;

/// One document of a manifest.
#[derive(Clone, Debug)]
pub struct Document {
    /// The file below the project's root.
    pub file: PathBuf,
    /// All of it.
    pub value: Value,
}

/// The folders with manifests, below the project's root.
pub const FOLDERS: [&str; 2] = ["envoy/istio", "envoy/envoy-gateway"];

/// All documents of a folder below the project's root.
///
/// # Errors
/// When a file cannot be read, is not YAML, or repeats a key, and when there is none.
pub fn documents(folder: &str) -> Result<Vec<Document>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(root().join(folder)).with_context(|| folder.to_owned())? {
        let file = Path::new(folder).join(entry?.file_name());
        if file
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            files.push(file);
        }
    }
    files.sort();
    ensure!(!files.is_empty(), "no manifest in {folder}");
    let mut documents = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(root().join(&file))?;
        let values: Vec<Value> =
            serde_saphyr::from_multiple(&text).with_context(|| format!("{}", file.display()))?;
        ensure!(!values.is_empty(), "{} is empty", file.display());
        documents.extend(values.into_iter().map(|value| Document {
            file: file.clone(),
            value,
        }));
    }
    Ok(documents)
}

impl Document {
    /// A text at a JSON pointer; empty where there is none.
    pub fn text(&self, pointer: &str) -> &str {
        let value = self.value.pointer(pointer).and_then(Value::as_str);
        value.unwrap_or_default()
    }

    /// `File: Kind name`, for messages.
    pub fn name(&self) -> String {
        let (kind, name) = (self.text("/kind"), self.text("/metadata/name"));
        format!("{}: {kind} {name}", self.file.display())
    }

    /// The object that loads the module, where this is one that does, and the field of it that
    /// holds the configuration.
    pub fn plugin(&self) -> Option<(&Value, &'static str)> {
        let (pointer, field) = match self.text("/kind") {
            "WasmPlugin" => ("/spec", "pluginConfig"),
            "TrafficExtension" => ("/spec/wasm", "pluginConfig"),
            "EnvoyExtensionPolicy" => ("/spec/wasm/0", "config"),
            _ => return None,
        };
        Some((self.value.pointer(pointer)?, field))
    }

    /// The plugin's configuration in JSON, as it reaches the filter.
    pub fn plugin_config(&self) -> Option<String> {
        let (plugin, field) = self.plugin()?;
        Some(plugin.get(field)?.to_string())
    }

    /// The clusters that Istio or Envoy Gateway makes of this document.
    pub fn clusters(&self) -> Vec<String> {
        let namespace = self.text("/metadata/namespace");
        let name = self.text("/metadata/name");
        let list = |pointer: &str| {
            let items = self.value.pointer(pointer).and_then(Value::as_array);
            items.cloned().unwrap_or_default()
        };
        match self.text("/kind") {
            "Service" => {
                let host = format!("{name}.{namespace}.svc.cluster.local");
                let ports = list("/spec/ports");
                ports
                    .iter()
                    .map(|port| outbound(&port["port"], &host))
                    .collect()
            }
            "ServiceEntry" => {
                let (hosts, ports) = (list("/spec/hosts"), list("/spec/ports"));
                let host = |host: &Value| host.as_str().unwrap_or_default().to_owned();
                hosts
                    .iter()
                    .map(host)
                    .flat_map(|host| {
                        ports
                            .iter()
                            .map(move |port| outbound(&port["number"], &host))
                    })
                    .collect()
            }
            // A rule with one backend, which has no filters of its own.
            "HTTPRoute" => (0..list("/spec/rules").len())
                .map(|rule| format!("httproute/{namespace}/{name}/rule/{rule}"))
                .collect(),
            "EnvoyPatchPolicy" => list("/spec/jsonPatches")
                .iter()
                .filter(|patch| {
                    patch["type"] == "type.googleapis.com/envoy.config.cluster.v3.Cluster"
                })
                .filter(|patch| patch["operation"]["op"] == "add")
                .filter_map(|patch| Some(patch["operation"]["value"]["name"].as_str()?.to_owned()))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Does to a listener's settings of HTTP what this document has Istio do, where it is an
    /// EnvoyFilter.
    ///
    /// # Errors
    /// When it has a patch of a kind that is not known here, or Istio would find no place for it.
    pub fn patch(&self, http: &mut Value) -> Result<()> {
        let patches = self.value.pointer("/spec/configPatches");
        for patch in patches.and_then(Value::as_array).into_iter().flatten() {
            let (operation, value) = (&patch["patch"]["operation"], &patch["patch"]["value"]);
            match (patch["applyTo"].as_str(), operation.as_str()) {
                (Some("NETWORK_FILTER"), Some("MERGE")) => merge(http, &value["typed_config"]),
                (Some("HTTP_FILTER"), Some("INSERT_BEFORE")) => {
                    let filter = &patch["match"]["listener"]["filterChain"]["filter"];
                    let filters = http["http_filters"].as_array_mut().context("no filters")?;
                    let before = filters
                        .iter()
                        .position(|other| other["name"] == filter["subFilter"]["name"]);
                    filters.insert(before.context("no place for it")?, value.clone());
                }
                (to, what) => bail!("{}: a patch {what:?} of {to:?}", self.name()),
            }
        }
        Ok(())
    }
}

/// As Istio merges messages of Envoy, where there are no lists on both sides.
fn merge(into: &mut Value, value: &Value) {
    match (into, value) {
        (Value::Object(into), Value::Object(fields)) => {
            for (name, value) in fields {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, value) => *into = value.clone(),
    }
}

/// Istio's name of the cluster for what a proxy sends to a host.
fn outbound(port: &Value, host: &str) -> String {
    format!("outbound|{port}||{host}")
}
