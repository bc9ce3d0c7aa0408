//! Tests of faults and abuse, against a real Envoy. Whatever an attacker, a broken auth cluster or a
//! bad day does, nobody gets in without a valid key, and nobody is left without an answer.
//!
//! Each case prints its counters: requests sent, answered, at the upstream without a valid key, and
//! unanswered at the deadline. The last two must be 0. Slow cases are ignored unless
//! `--include-ignored` is given, as `make test-faults` does.

mod around;
mod attacks;
mod auth_cluster;
mod claims;
mod client;
mod credentials;
mod disclosure;
mod dying;
mod floods;
mod memory;
mod neighbours;
#[path = "../support/numbers.rs"]
mod numbers;
mod outages;
mod paths;
mod range;
mod registry;
mod soak;
mod swapped;
#[allow(
    dead_code,
    unused_macros,
    unused_imports,
    reason = "shared with the registry's tests"
)]
#[path = "../../registry/tests/support/database.rs"]
mod test_database;

use std::process::ExitCode;

fn main() -> ExitCode {
    keystile_e2e::trials::run()
}
