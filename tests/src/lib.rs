//! The parts of a running Keystile: Envoy with the module, the registry, an upstream, auth
//! clusters that can misbehave or know anyone, and clients that can send anything, or much. The
//! end-to-end tests and `make run` put them together, and a Prometheus can watch them.

pub mod anyone;
pub mod auth;
pub mod client;
pub mod dashboard;
pub mod discovery;
pub mod envoy;
pub mod flood;
pub mod frames;
pub mod gate;
pub mod kept;
pub mod keys;
pub mod load;
pub mod log_entry;
pub mod manifests;
mod memory;
pub mod pages;
pub mod process;
pub mod prometheus;
pub mod registry;
pub mod serving;
pub mod shipped;
pub mod tally;
pub mod traffic;
pub mod upstream;
pub mod watched;

use std::path::PathBuf;

/// The project's root.
pub fn root() -> PathBuf {
    let mut root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.pop();
    root
}
