//! End to end: real Envoy, the real module, the real registry on a real database.
//!
//! Each row of a table is a separate test, which `cargo test` can select by name.

/// Registers a module's tests: when they run, and the name and the function of each. A function that
/// takes the [`world::World`] shares it with all others that do.
macro_rules! trials {
    ($when:ident: $($name:literal => $run:path),+ $(,)?) => {
        keystile_e2e::suite!($when, || vec![$(crate::world::trial($name, $run)),+]);
    };
}

mod admin;
mod broken_feed;
mod browser;
mod by_address;
mod cache;
mod capabilities;
mod coalescing;
mod copies;
mod decisions;
mod discovered;
mod docker_files;
mod endpoints;
mod feed;
mod files;
mod http2_only;
mod identities;
mod introspection;
mod leaks;
mod leaving;
mod log_entries;
mod log_formats;
mod mesh;
mod misconfigured;
#[path = "../support/numbers.rs"]
mod numbers;
mod observed;
mod paused;
mod reconfigured;
mod registry_behind_gateway;
mod registry_in_mesh;
mod remote_registry;
mod routes;
mod rpc;
mod rules;
mod schemes;
mod stage;
mod streams;
mod table;
mod tags;
#[allow(
    dead_code,
    unused_macros,
    unused_imports,
    reason = "shared with the registry's tests"
)]
#[path = "../../registry/tests/support/database.rs"]
mod test_database;
mod verdicts;
mod wire;
mod world;

use std::process::ExitCode;

fn main() -> ExitCode {
    let code = keystile_e2e::trials::run();
    world::stop();
    code
}
