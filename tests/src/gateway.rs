//! The shipped gateway for browsers: `envoy/gateway.yaml`.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::shipped::{Ports, file_on};

/// Returns `envoy/gateway.yaml` with these ports.
///
/// # Errors
/// When it is missing or lacks one of the shipped ports.
pub fn config_on(ports: Ports) -> Result<String> {
    file_on("envoy/gateway.yaml", ports)
}

/// Returns the tokens of each address in the HTTP settings of `envoy/gateway.yaml`.
///
/// # Errors
/// When there are none.
pub fn tokens_in(http: &mut Value) -> Result<&mut Value> {
    let filters = http["http_filters"].as_array_mut().into_iter().flatten();
    let mut limits =
        filters.filter_map(|it| it.pointer_mut("/typed_config/descriptors/0/token_bucket"));
    limits.next().context("no limits by address")
}
