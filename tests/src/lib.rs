//! The parts of a running Keystile: Envoy with the module, the registry, an upstream, auth servers
//! that misbehave or know many keys, clients that send anything or a lot, and a Prometheus that
//! watches them. The end-to-end tests and `make run` combine them.

pub mod browser;
pub mod client;
pub mod counters;
pub mod dashboard;
pub mod discovery;
pub mod envoy;
pub mod flood;
pub mod frames;
pub mod gateway;
#[path = "../../registry/tests/support/http2.rs"]
pub mod http2;
pub mod keep_alive;
pub mod keys;
pub mod load;
pub mod log_entry;
pub mod manifests;
mod memory;
#[path = "../../registry/tests/support/open_files.rs"]
pub mod open_files;
pub mod pages;
pub mod process;
pub mod prometheus;
pub mod recording_upstream;
pub mod registry;
pub mod rule_auth;
pub mod scripted_auth;
pub mod serving;
pub mod shipped;
pub mod stack;
pub mod traffic;
pub mod trials;
pub mod watched;

use std::path::PathBuf;

/// Returns the project's root folder.
pub fn root() -> PathBuf {
    let mut root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.pop();
    root
}
