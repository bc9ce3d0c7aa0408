//! Test keys, their hashes, and a record for auth servers to answer with.

use anyhow::Result;
use keystile::request::key_hash::KeyHasher;

/// A record that lets a request through.
pub const GOOD: &str = r#"{"key_id":"key_1","status":"active","account_id":"acct_1"}"#;

/// Returns a well-formed key that no registry knows.
pub fn made_up_key() -> String {
    format!("aw_{}-{}", ulid::Ulid::generate(), ulid::Ulid::generate())
}

/// Returns the hash of a key without a pepper, in hex digits.
///
/// # Errors
/// Never: a key without a pepper can always be hashed.
pub fn hash(key: &str) -> Result<String> {
    Ok(KeyHasher::new(None)?.hash(key.as_bytes()).to_string())
}
