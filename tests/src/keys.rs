//! Keys to send, and what auth clusters are asked about them.

use anyhow::Result;
use keystile::request::key_hash::KeyHasher;

/// A record that lets a request through.
pub const GOOD: &str = r#"{"key_id":"key_1","status":"active","account_id":"acct_1"}"#;

/// A well-formed key that no registry knows.
pub fn made_up_key() -> String {
    format!("aw_{}-{}", ulid::Ulid::generate(), ulid::Ulid::generate())
}

/// The hash of a key without a pepper, in hex digits.
///
/// # Errors
/// Never: a key without a pepper can always be hashed.
pub fn hash(key: &str) -> Result<String> {
    Ok(KeyHasher::new(None)?.hash(key.as_bytes()).to_string())
}
