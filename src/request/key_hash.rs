//! The hash of a key: what the auth cluster is asked about.

#![forbid(unsafe_code)]

use std::fmt;
use std::hash::{Hash, Hasher};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// SHA-256 of a key's bytes, or HMAC-SHA-256 under a pepper. `Display` is lowercase hex.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// Reads 64 hex digits; `None` for anything else.
    pub fn from_hex(hex: &[u8]) -> Option<Self> {
        let digits = Some(hex).filter(|hex| hex.len() == 64)?;
        const_hex::decode_to_array(digits).ok().map(Self)
    }

    /// The 32 bytes of the hash.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A number that is even over all hashes, and independent of where [`Hash`] puts them.
    pub fn spread(&self) -> u32 {
        let [.., a, b, c, d] = self.0;
        u32::from_be_bytes([a, b, c, d])
    }
}

/// Eight bytes of the hash tell keys apart well enough to find them; equality compares all.
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
    /// Plain SHA-256 without a pepper; HMAC-SHA-256 (RFC 2104) under one.
    ///
    /// # Errors
    /// None of HMAC's own: it takes a pepper of any length. The type of the error is the library's.
    pub fn new(pepper: Option<&str>) -> Result<Self, hmac::digest::InvalidLength> {
        let pepper = pepper
            .map(|pepper| Hmac::new_from_slice(pepper.as_bytes()))
            .transpose()?;
        Ok(Self { pepper })
    }

    /// The hash of a key's bytes.
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
