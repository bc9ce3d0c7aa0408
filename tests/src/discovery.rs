//! Configuration that a running Envoy discovers in files: a filter (ECDS), as in Istio, where the
//! listener only names it and an agent writes the file; or whole listeners (LDS).

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::envoy::{Envoy, http_settings};

/// A filter that Envoy discovers in a file.
#[derive(Clone)]
pub struct Discovery {
    name: &'static str,
    file: PathBuf,
}

impl Discovery {
    /// Creates a filter with this name. [`Discovery::publish`] writes its file.
    pub fn new(name: &'static str, file: PathBuf) -> Self {
        Self { name, file }
    }

    /// Makes the first listener of a configuration discover its first filter here. The listener waits
    /// until it has received one, valid or not.
    ///
    /// # Errors
    /// When there is no listener.
    pub fn put_into(&self, config: &mut Value) -> Result<()> {
        config["node"] = node();
        http_settings(config)?["http_filters"][0] = self.filter();
        Ok(())
    }

    /// Returns the entry that takes the filter's place in a listener.
    pub fn filter(&self) -> Value {
        json!({
            "name": self.name,
            "config_discovery": {
                "config_source": {
                    "path_config_source": {"path": self.file},
                    "resource_api_version": "V3",
                    "initial_fetch_timeout": "0s",
                },
                "type_urls": [
                    "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                    "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
                ],
            },
        })
    }

    /// Returns the filter as Istio's agent hands it to Envoy, with a module file and a plugin
    /// configuration.
    pub fn resource(&self, module: &Path, plugin: &str) -> Value {
        json!({
            "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
            "name": self.name,
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                "config": {
                    "name": self.name,
                    "failure_policy": "FAIL_CLOSED",
                    "vm_config": {
                        "runtime": "envoy.wasm.runtime.v8",
                        "code": {"local": {"filename": module}},
                        "environment_variables": {
                            "key_values": {"ISTIO_META_WASM_PLUGIN_RESOURCE_VERSION": "1"},
                        },
                    },
                    "configuration": {
                        "@type": "type.googleapis.com/google.protobuf.StringValue",
                        "value": plugin,
                    },
                },
            },
        })
    }

    /// Hands a resource to Envoy.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn publish(&self, resource: &Value) -> Result<()> {
        self.publish_text(&json!({"resources": [resource]}).to_string())
    }

    /// Hands any text to Envoy.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn publish_text(&self, text: &str) -> Result<()> {
        publish(&self.file, text)
    }

    /// Returns how often Envoy rejected what it discovered.
    ///
    /// # Errors
    /// When Envoy's admin page does not answer.
    pub fn turned_down(&self, envoy: &Envoy) -> Result<u64> {
        let of = |name: &str| {
            envoy.counter(&format!(
                "extension_config_discovery.http_filter.{}.{name}",
                self.name
            ))
        };
        Ok(of("update_rejected")? + of("update_failure")?)
    }
}

/// Returns the node that Envoy requires in order to discover configuration.
fn node() -> Value {
    json!({"id": "keystile", "cluster": "keystile"})
}

/// Moves the listeners of a configuration into a file that Envoy watches for changes. Envoy starts
/// with the rest of the configuration.
///
/// # Errors
/// When the file cannot be written.
pub fn listeners_apart(config: &mut Value, file: &Path) -> Result<()> {
    let mut listeners = config["static_resources"]["listeners"].take();
    for listener in listeners.as_array_mut().context("no listeners")? {
        listener["@type"] = json!("type.googleapis.com/envoy.config.listener.v3.Listener");
    }
    publish(file, &json!({"resources": listeners}).to_string())?;
    config["static_resources"]["listeners"] = json!([]);
    config["node"] = node();
    config["dynamic_resources"] = json!({"lds_config": {"path_config_source": {"path": file}}});
    Ok(())
}

/// Moves the file into place, as Envoy only notices files that are moved.
fn publish(file: &Path, text: &str) -> Result<()> {
    let new = file.with_extension("new");
    std::fs::write(&new, text)?;
    std::fs::rename(new, file)?;
    Ok(())
}
