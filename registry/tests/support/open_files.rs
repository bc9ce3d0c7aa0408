//! The limit on open files of the test process, for tests that open many connections.

#![allow(unreachable_pub, reason = "public only in the end-to-end tests")]

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises this process's limit on open files as far as the system permits, and returns it.
///
/// # Errors
/// When the limit cannot be read or raised.
pub fn raise_limit() -> nix::Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}
