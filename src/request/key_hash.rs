//! Key hashes, by which the auth cluster looks up keys.

#![forbid(unsafe_code)]

use std::fmt;
use std::hash::{Hash, Hasher};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// The SHA-256 of a key's bytes, or their HMAC-SHA-256 if there is a pepper. `Display` writes
/// lowercase hex.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// Parses 64 hex digits. Returns `None` for anything else.
    pub fn from_hex(hex: &[u8]) -> Option<Self> {
        let digits = Some(hex).filter(|hex| hex.len() == 64)?;
        const_hex::decode_to_array(digits).ok().map(Self)
    }

    /// Returns the 32 bytes of the hash.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns a number that is evenly distributed over all hashes, and independent of what
    /// [`Hash`] uses.
    pub fn spread(&self) -> u32 {
        let [.., a, b, c, d] = self.0;
        u32::from_be_bytes([a, b, c, d])
    }
}

/// Uses only the first eight bytes, which are enough for a hash table. Equality compares all bytes.
impl Hash for KeyHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_be_bytes([a, b, c, d, e, f, g, h]));
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(const_hex::Buffer::<32>::new().format(&self.0))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHash({self})")
    }
}

/// Turns keys into hashes. The registry uses it too, so that both sides agree.
#[derive(Clone, Default)]
pub struct KeyHasher {
    pepper: Option<Hmac<Sha256>>,
}

impl KeyHasher {
    /// Creates a hasher: plain SHA-256, or HMAC-SHA-256 (RFC 2104) if there is a pepper.
    ///
    /// # Errors
    /// None in practice, because HMAC takes a pepper of any length. The error type is that of the
    /// library.
    pub fn new(pepper: Option<&str>) -> Result<Self, hmac::digest::InvalidLength> {
        let pepper = pepper
            .map(|pepper| Hmac::new_from_slice(pepper.as_bytes()))
            .transpose()?;
        Ok(Self { pepper })
    }

    /// Returns the hash of a key's bytes.
    pub fn hash(&self, key: &[u8]) -> KeyHash {
        KeyHash(match &self.pepper {
            None => Sha256::digest(key).into(),
            Some(mac) => mac.clone().chain_update(key).finalize().into_bytes().into(),
        })
    }
}

impl fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pepper = if self.pepper.is_some() { "set" } else { "none" };
        write!(f, "KeyHasher(pepper: {pepper})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_of_the_published_algorithms() {
        // FIPS 180-2 appendix B.1; RFC 4231 section 4.3 (test case 2).
        let plain = KeyHasher::new(None).unwrap().hash(b"abc").to_string();
        assert_eq!(
            plain,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        let peppered = KeyHasher::new(Some("Jefe")).unwrap();
        assert_eq!(
            peppered.hash(b"what do ya want for nothing?").to_string(),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn debug_shows_no_pepper() {
        let hasher = KeyHasher::new(Some("hunter2")).unwrap();
        assert_eq!(
            format!("{hasher:?} {:?}", KeyHasher::default()),
            "KeyHasher(pepper: set) KeyHasher(pepper: none)"
        );
        let hash = KeyHash([0xab; 32]);
        assert_eq!(format!("{hash:?}"), format!("KeyHash({})", "ab".repeat(32)));
        assert_eq!(hash.as_bytes(), &[0xab; 32]);
    }
}
