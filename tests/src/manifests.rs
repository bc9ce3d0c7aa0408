//! The shipped Kubernetes manifests, and what Istio and Envoy Gateway generate from them: the plugin
//! configuration, clusters, routes and policies.

pub mod envoy_gateway;
pub mod istio;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::root;

/// One document of a manifest.
#[derive(Clone, Debug)]
pub struct Document {
    /// The file, relative to the project's root.
    pub file: PathBuf,
    /// The content of the document.
    pub value: Value,
}

/// The folders with manifests, relative to the project's root.
pub const FOLDERS: [&str; 2] = ["envoy/istio", "envoy/envoy-gateway"];

/// Returns all documents in a folder, given relative to the project's root.
///
/// # Errors
/// When a file cannot be read, is not YAML, is empty or repeats a key, or when there is none.
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

/// Returns the arguments with which a Deployment starts the registry. Listeners move to free local
/// ports, and a certificate and its key, if it has any, are read from these PEM files.
///
/// # Errors
/// When no Deployment has arguments.
pub fn registry_arguments(documents: &[Document], cert: &Path, key: &Path) -> Result<Vec<String>> {
    let mut deployments = documents
        .iter()
        .filter(|it| it.text("/kind") == "Deployment");
    let arguments =
        deployments.find_map(|it| it.value.pointer("/spec/template/spec/containers/0/args"));
    let arguments: Vec<String> =
        serde_json::from_value(arguments.context("no arguments")?.clone())?;
    Ok(arguments
        .iter()
        .map(|argument| match argument.split_once('=') {
            Some((option, _)) if option.ends_with("listen") => format!("{option}=127.0.0.1:0"),
            Some((option @ "--tls-cert", _)) => format!("{option}={}", cert.display()),
            Some((option @ "--tls-key", _)) => format!("{option}={}", key.display()),
            _ => argument.clone(),
        })
        .collect())
}

impl Document {
    /// Returns the string at a JSON pointer, or an empty one.
    pub fn text(&self, pointer: &str) -> &str {
        let value = self.value.pointer(pointer).and_then(Value::as_str);
        value.unwrap_or_default()
    }

    /// Returns `File: Kind name`, for messages.
    pub fn name(&self) -> String {
        let (kind, name) = (self.text("/kind"), self.text("/metadata/name"));
        format!("{}: {kind} {name}", self.file.display())
    }

    /// Returns the object that loads the module and the name of its field with the configuration, if
    /// this document loads the module.
    pub fn plugin(&self) -> Option<(&Value, &'static str)> {
        let (pointer, field) = match self.text("/kind") {
            "WasmPlugin" => ("/spec", "pluginConfig"),
            "TrafficExtension" => ("/spec/wasm", "pluginConfig"),
            "EnvoyExtensionPolicy" => ("/spec/wasm/0", "config"),
            _ => return None,
        };
        Some((self.value.pointer(pointer)?, field))
    }

    /// Returns the plugin configuration in JSON, as the filter receives it.
    pub fn plugin_config(&self) -> Option<String> {
        let (plugin, field) = self.plugin()?;
        Some(plugin.get(field)?.to_string())
    }

    /// Returns the names of the clusters that Istio or Envoy Gateway generates from this document.
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
            "HTTPRoute" => {
                let rules = list("/spec/rules");
                let named = rules.iter().enumerate().flat_map(|(index, rule)| {
                    let name = format!("httproute/{namespace}/{name}/rule/{index}");
                    let backends = rule["backendRefs"].as_array().into_iter().flatten();
                    let filtered: Vec<_> = backends.map(|it| it.get("filters").is_some()).collect();
                    // If a backend has a filter, each backend has its own cluster.
                    if filtered.contains(&true) {
                        let each = 0..filtered.len();
                        return each.map(|it| format!("{name}/backend/{it}")).collect();
                    }
                    vec![name]
                });
                named.collect()
            }
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

    /// Returns the document. A patch is completed with what it leaves to the patched resource.
    pub fn complete(&self) -> Value {
        let mut value = self.value.clone();
        if self.file.to_string_lossy().ends_with("-patch.yaml") {
            let labels = json!({"app": self.text("/metadata/name")});
            value["spec"]["selector"] = json!({"matchLabels": labels});
            value["spec"]["template"]["metadata"] = json!({"labels": labels});
        }
        value
    }
}

/// Returns the clusters of all documents in a folder, including those of subsets.
pub fn clusters(documents: &[Document]) -> Vec<String> {
    let mut clusters: Vec<_> = documents.iter().flat_map(Document::clusters).collect();
    for rule in documents {
        let subsets = rule
            .value
            .pointer("/spec/subsets")
            .and_then(Value::as_array);
        for subset in subsets.into_iter().flatten() {
            let name = subset["name"].as_str().unwrap_or_default();
            let host = format!("||{}", rule.text("/spec/host"));
            let of_host = clusters.iter().filter(|cluster| cluster.ends_with(&host));
            let new: Vec<_> = of_host
                .map(|cluster| cluster.replacen("||", &format!("|{name}|"), 1))
                .collect();
            clusters.extend(new);
        }
    }
    clusters
}

/// Returns Istio's name for the cluster for outbound requests to a host.
fn outbound(port: &Value, host: &str) -> String {
    format!("outbound|{port}||{host}")
}
