//! Attacks on the shipped stack: `envoy/envoy.yaml` unchanged, the registry, and an upstream. Each
//! case prints what it did and the result.

mod endless;
mod logs;
mod silent;
mod spelling;

use std::net::SocketAddr;

use anyhow::Result;
use keystile_e2e::registry::Created;
use keystile_e2e::shipped::{FREE, Stack};
use tempfile::TempDir;

/// The shipped stack in front of an upstream, with a valid key that belongs to the attacker.
struct Attacked {
    stack: Stack,
    own: Created,
    _folder: TempDir,
}

impl Attacked {
    fn start(upstream: SocketAddr) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let stack = Stack::before(upstream, FREE, &folder.path().join("keystile.db"), false)?;
        let own = stack.registry.create(&["--account", "acct_attacker"])?;
        Ok(Self {
            stack,
            own,
            _folder: folder,
        })
    }
}
