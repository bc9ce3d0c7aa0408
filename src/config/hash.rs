//! `hash`: how keys are hashed. The default is plain SHA-256.

use super::ConfigError;
use super::reader::at;
use crate::json::Object;
use crate::request::key_hash::KeyHasher;

#[cold]
#[inline(never)]
pub(super) fn parse(json: &mut Object<'_>) -> Result<KeyHasher, ConfigError> {
    let mut json = json.object_or_empty("hash", &["pepper"])?;
    let Some(pepper) = json.or_null("pepper").string("pepper")? else {
        return Ok(KeyHasher::default());
    };
    if pepper.is_empty() {
        return Err(ConfigError::new(
            "hash.pepper",
            "must not be empty; use null for plain SHA-256",
        ));
    }
    let hasher = KeyHasher::new(Some(&pepper));
    at("hash.pepper", hasher.map_err(|error| error.to_string()))
}
