//! Key tags: the last characters of a key, by which the filter recognises made-up keys without a
//! lookup.

#![forbid(unsafe_code)]

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use hmac::digest::InvalidLength;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The number of characters of a tag.
pub const TAG_LENGTH: usize = 8;

/// The fewest characters of a secret, in a configuration or in the registry's options.
pub const SHORTEST_SECRET: usize = 16;

/// The number of bytes that a tag encodes.
const TAG_BYTES: usize = 6;

/// Computes and checks the tags of keys. A tag is the first 8 characters of the URL-safe base64 of
/// HMAC-SHA-256 (RFC 4648 section 5, RFC 2104) over everything before it. The registry uses it too,
/// so that both sides agree.
#[derive(Clone)]
pub struct KeyTagger {
    /// The first is for new keys.
    secrets: Vec<Hmac<Sha256>>,
}

impl KeyTagger {
    /// Creates a tagger. New keys are tagged with the first secret; tags of all secrets are valid.
    ///
    /// # Errors
    /// None in practice, because HMAC takes a secret of any length. The error type is that of the
    /// library.
    pub fn new<S: AsRef<str>>(secrets: &[S]) -> Result<Self, InvalidLength> {
        let secrets = secrets.iter();
        let secrets = secrets.map(|secret| Hmac::new_from_slice(secret.as_ref().as_bytes()));
        Ok(Self {
            secrets: secrets.collect::<Result<_, _>>()?,
        })
    }

    /// Returns the tag that completes a key, `None` if there is no secret. `untagged` is all of the
    /// key before its tag.
    pub fn tag(&self, untagged: &[u8]) -> Option<String> {
        let tag = tag_under(self.secrets.first()?, untagged);
        Some(Base64UrlUnpadded::encode_string(&tag))
    }

    /// Returns true if a key ends with its tag. The time that this takes does not tell how much of
    /// the tag is right.
    pub fn accepts(&self, key: &[u8]) -> bool {
        let Some((untagged, tag)) = key.split_last_chunk::<TAG_LENGTH>() else {
            return false;
        };
        let mut decoded = [0; TAG_BYTES];
        if Base64UrlUnpadded::decode(tag, &mut decoded).is_err() {
            return false;
        }
        let is_under = |secret| {
            let pairs = tag_under(secret, untagged).into_iter().zip(decoded);
            pairs.fold(0, |difference, (one, other)| difference | (one ^ other)) == 0
        };
        self.secrets.iter().any(is_under)
    }
}

fn tag_under(secret: &Hmac<Sha256>, untagged: &[u8]) -> [u8; TAG_BYTES] {
    let mac: [u8; 32] = secret
        .clone()
        .chain_update(untagged)
        .finalize()
        .into_bytes()
        .into();
    let [a, b, c, d, e, f, ..] = mac;
    [a, b, c, d, e, f]
}

impl fmt::Debug for KeyTagger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyTagger({} secrets)", self.secrets.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231 section 4.3 (test case 2): the HMAC begins with 5bdcc146bf60.
    const KNOWN: (&str, &str, &str) = ("Jefe", "what do ya want for nothing?", "W9zBRr9g");

    #[test]
    fn a_tag_is_the_start_of_the_published_algorithm() {
        let (secret, untagged, tag) = KNOWN;
        let tagger = KeyTagger::new(&[secret, "another"]).unwrap();
        assert_eq!(tagger.tag(untagged.as_bytes()).as_deref(), Some(tag));
        assert_eq!(KeyTagger::new::<&str>(&[]).unwrap().tag(b"x"), None);
    }

    #[test]
    fn a_tag_of_each_secret_is_accepted() {
        let (secret, untagged, tag) = KNOWN;
        let key = format!("{untagged}{tag}");
        let cases: [(&[&str], &str, bool); 8] = [
            (&[secret], &key, true),
            (&["another", secret], &key, true),
            (&["another"], &key, false),
            (&[], &key, false),
            (&[secret], untagged, false),
            (&[secret], tag, false),
            (&[secret], "", false),
            (&[secret], &key.replace('?', "!"), false),
        ];
        for (secrets, key, accepted) in cases {
            let tagger = KeyTagger::new(secrets).unwrap();
            assert_eq!(
                tagger.accepts(key.as_bytes()),
                accepted,
                "{secrets:?} {key}"
            );
        }
    }

    #[test]
    fn each_character_of_a_tag_counts() {
        let (secret, untagged, tag) = KNOWN;
        let tagger = KeyTagger::new(&[secret]).unwrap();
        for at in 0..TAG_LENGTH {
            for byte in (0..=255_u8).filter(|byte| *byte != tag.as_bytes()[at]) {
                let mut wrong = [untagged, tag].concat().into_bytes();
                wrong[untagged.len() + at] = byte;
                assert!(!tagger.accepts(&wrong), "{}", wrong.escape_ascii());
            }
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let tagger = KeyTagger::new(&["hunter2", "hunter3"]).unwrap();
        assert_eq!(format!("{tagger:?}"), "KeyTagger(2 secrets)");
    }
}
