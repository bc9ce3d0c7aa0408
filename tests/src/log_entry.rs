//! The filter's entry in the access log: `outcome=allowed source=cache key_id=key_01J…`.

use anyhow::{Result, ensure};

/// Returns the entry without its key ID. It must have one if and only if the request's key is known.
///
/// # Errors
/// When it has a key ID that it should not have, or lacks one that it should have.
pub fn without_key_id(entry: &str) -> Result<String> {
    let (others, ids): (Vec<_>, Vec<_>) = entry
        .split(' ')
        .partition(|field| !field.starts_with("key_id="));
    let outcome = others
        .first()
        .and_then(|field| field.strip_prefix("outcome="));
    let is_known = outcome.is_some_and(|outcome| {
        ![
            "exempt",
            "api_key_missing",
            "api_key_invalid",
            "api_key_not_found",
            "internal_error",
        ]
        .contains(&outcome)
    });
    ensure!(
        ids.len() == usize::from(is_known),
        "{} key IDs in {entry:?}",
        ids.len()
    );
    Ok(others.join(" "))
}
