//! The filter's delivery as in Istio: the listener names it, and Envoy discovers it (ECDS) where an
//! agent puts it.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::{Value, json};

/// A filter that Envoy discovers in a file.
pub struct Discovery {
    name: &'static str,
    file: PathBuf,
}

impl Discovery {
    /// The filter of this name, in a file that [`Discovery::publish`] makes.
    pub fn new(name: &'static str, file: PathBuf) -> Self {
        Self { name, file }
    }

    /// What stands in the listener in the filter's place. The listener waits until it has an answer,
    /// a good one or a bad one.
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
        // Envoy looks for a file that is moved to the place.
        let new = self.file.with_extension("new");
        std::fs::write(&new, text)?;
        std::fs::rename(new, &self.file)?;
        Ok(())
    }
}
