//! Configurations that are handed to a running Envoy. As in Istio: the listener names the filter, and
//! Envoy discovers it (ECDS) where an agent puts it. Or whole listeners (LDS).

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
    /// The filter of this name, in a file that [`Discovery::publish`] makes.
    pub fn new(name: &'static str, file: PathBuf) -> Self {
        Self { name, file }
    }

    /// Has the first listener of a configuration discover its first filter here. It waits until it has
    /// an answer, a good one or a bad one.
    ///
    /// # Errors
    /// When there is no listener.
    pub fn put_into(&self, config: &mut Value) -> Result<()> {
        config["node"] = node();
        http_settings(config)?["http_filters"][0] = self.filter();
        Ok(())
    }

    /// What stands in the place of the filter.
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

    /// The filter as Istio's agent hands it to Envoy, with a module from a file and a plugin's
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

    /// How often Envoy turned down what it found.
    ///
    /// # Errors
    /// When its admin page does not answer.
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

/// What Envoy asks of a configuration of its own that others change.
fn node() -> Value {
    json!({"id": "keystile", "cluster": "keystile"})
}

/// Takes the listeners out of a configuration and hands them over in a file, where Envoy looks for
/// changes of them. The rest is what Envoy is to start with.
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

/// Envoy looks for a file that is moved to the place.
fn publish(file: &Path, text: &str) -> Result<()> {
    let new = file.with_extension("new");
    std::fs::write(&new, text)?;
    std::fs::rename(new, file)?;
    Ok(())
}
