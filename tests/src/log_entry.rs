//! What the filter leaves for the access log: `outcome=allowed source=cache key_id=key_01J…`.

use anyhow::{Result, ensure};

/// The entry without its key ID. It must have one exactly where the request's key is known.
///
/// # Errors
/// When it has one that it should not have, or none that it should.
pub fn without_key_id(entry: &str) -> Result<String> {
    let (others, ids): (Vec<_>, Vec<_>) = entry
        .split(' ')
        .partition(|field| !field.starts_with("key_id="));
    let is_known = [
        "outcome=allowed",
        "outcome=introspected",
        "outcome=api_key_revoked",
        "outcome=endpoint_restricted",
    ]
    .contains(&others.first().copied().unwrap_or_default());
    ensure!(
        ids.len() == usize::from(is_known),
        "{} key IDs in {entry:?}",
        ids.len()
    );
    Ok(others.join(" "))
}
