//! Keys themselves: how they are generated, and how much of a key may be shown later.

use std::fmt;
use std::str::FromStr;

use base64ct::{Base64UrlUnpadded, Encoding};
use keystile::request::key_tag::KeyTagger;

use crate::record::Preview;

/// An API key to register. `Debug` shows nothing of it, and there is no `Display`.
pub(crate) struct SecretKey {
    /// ASCII only.
    text: String,
    origin: Origin,
}

/// Where a key comes from, and so how much of it is known to be random.
enum Origin {
    Generated,
    Imported,
}

impl SecretKey {
    /// Generates a key from 32 random bytes, so that neither the key nor its unsalted hash can be
    /// guessed. With a tagger, its tag follows.
    pub(crate) fn generate(tagger: Option<&KeyTagger>) -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Self::from_bytes(&bytes, tagger))
    }

    /// Returns the key itself, to hash it and to show it once.
    pub(crate) fn expose(&self) -> &str {
        &self.text
    }

    /// Returns the part of the key that lists show.
    pub(crate) fn preview(&self) -> Preview {
        let most = Preview::HEAD + Preview::TAIL;
        let shown = match self.origin {
            Origin::Generated => most,
            // Showing that much of a short key could make the rest easy to guess.
            Origin::Imported => most.min(self.text.len() / 4),
        };
        let tail = shown * Preview::TAIL / most;
        Preview {
            head: self.text[..shown - tail].to_owned(),
            tail: self.text[self.text.len() - tail..].to_owned(),
        }
    }

    fn from_bytes(bytes: &[u8; 32], tagger: Option<&KeyTagger>) -> Self {
        let mut text = format!("aw_{}", Base64UrlUnpadded::encode_string(bytes));
        if let Some(tag) = tagger.and_then(|tagger| tagger.tag(text.as_bytes())) {
            text.push_str(&tag);
        }
        Self {
            text,
            origin: Origin::Generated,
        }
    }
}

/// Parses a key to import.
impl FromStr for SecretKey {
    type Err = String;

    /// Errors do not repeat the text.
    fn from_str(text: &str) -> Result<Self, String> {
        // Text that a filter can read from a header, and too long for its hash to be reversed.
        let fits = |byte: u8| byte.is_ascii_graphic() && byte != b',';
        if (32..=8192).contains(&text.len()) && text.bytes().all(fits) {
            Ok(Self {
                text: text.to_owned(),
                origin: Origin::Imported,
            })
        } else {
            Err("a key is 32 to 8192 characters of visible ASCII, without a comma".to_owned())
        }
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::id::new_key_id;
    use time::OffsetDateTime;

    fn tagger() -> KeyTagger {
        KeyTagger::new(&["0123456789abcdef"]).expect("a tagger")
    }

    #[test]
    fn keys_are_url_safe_and_unpadded() {
        let cases = [
            ([0x00; 32], "aw_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
            ([0xff; 32], "aw___________________________________________8"),
            ([0xfb; 32], "aw_-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_s"),
        ];
        for (bytes, key) in cases {
            assert_eq!(SecretKey::from_bytes(&bytes, None).expose(), key);
        }
    }

    #[test]
    fn a_tag_follows_the_random_part() {
        let (untagged, tagger) = (SecretKey::from_bytes(&[0xfb; 32], None), tagger());
        let tagged = SecretKey::from_bytes(&[0xfb; 32], Some(&tagger));
        // The first 8 characters of:
        // `printf %s KEY | openssl dgst -sha256 -hmac SECRET -binary | basenc --base64url`
        assert_eq!(tagged.expose(), format!("{}kbx9cwA6", untagged.expose()));
        assert!(tagger.accepts(tagged.expose().as_bytes()));
        assert_eq!(tagged.preview().to_string(), "aw_-_v7-…cwA6");
    }

    #[test]
    fn keys_and_ids_do_not_repeat() {
        let now = OffsetDateTime::UNIX_EPOCH;
        for (tagger, length) in [(None, 46), (Some(&tagger()), 54)] {
            let [one, other] = [(); 2].map(|()| SecretKey::generate(tagger).expect("random"));
            assert_ne!(one.expose(), other.expose());
            assert_eq!(one.expose().len(), length);
        }
        assert_ne!(
            new_key_id(now).expect("random"),
            new_key_id(now).expect("random")
        );
    }

    #[test]
    fn a_preview_has_at_most_a_quarter_of_an_imported_key() {
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        // The key's length, and how many characters are shown of its start and its end.
        let cases = [
            (32, 6, 2),
            (35, 6, 2),
            (36, 6, 3),
            (40, 7, 3),
            (44, 8, 3),
            (46, 8, 3),
            (47, 8, 3),
            (48, 8, 4),
            (62, 8, 4),
        ];
        for (length, head, tail) in cases {
            let key: SecretKey = alphabet[..length].parse().expect("a key");
            let preview = key.preview();
            let expected = (&alphabet[..head], &alphabet[length - tail..length]);
            assert_eq!((&*preview.head, &*preview.tail), expected, "{length}");
        }
        for length in 32..=8192 {
            let key: SecretKey = "k".repeat(length).parse().expect("a key");
            let Preview { head, tail } = key.preview();
            assert!(head.len() <= 8 && tail.len() <= 4, "{length}");
            assert!((head.len() + tail.len()) * 4 <= length, "{length}");
        }
    }

    #[test]
    fn a_preview_of_a_generated_key_has_8_and_4_characters() {
        let key = SecretKey::from_bytes(&[0xfb; 32], None);
        assert_eq!(key.preview().to_string(), "aw_-_v7-…7-_s");
        // An imported key that looks generated may not be random.
        let imported: SecretKey = key.expose().parse().expect("a key");
        assert_eq!(imported.preview().to_string(), "aw_-_v7-…-_s");
    }

    #[test]
    fn a_key_that_was_made_elsewhere_can_be_sent_and_not_be_guessed() {
        let cases = [
            ("0123456789abcdef0123456789abcdef".to_owned(), true),
            ("sk_live-~!\"#$%&'()*+/:;<=>?@[]^{|}".to_owned(), true),
            ("x".repeat(8192), true),
            ("x".repeat(8193), false),
            ("0123456789abcdef0123456789abcde".to_owned(), false),
            (String::new(), false),
            ("0123456789abcdef,0123456789abcdef".to_owned(), false),
            ("0123456789abcdef 0123456789abcdef".to_owned(), false),
            ("0123456789abcdef\n0123456789abcdef".to_owned(), false),
            ("0123456789abcdefä0123456789abcdef".to_owned(), false),
        ];
        for (text, accepted) in cases {
            match text.parse::<SecretKey>() {
                Ok(key) => assert!(accepted && key.expose() == text, "{text}"),
                Err(problem) => assert!(
                    !accepted && (text.is_empty() || !problem.contains(&text)),
                    "{text}"
                ),
            }
        }
    }

    #[test]
    fn debug_shows_nothing() {
        let key = SecretKey::from_bytes(&[7; 32], None);
        assert_eq!(format!("{key:?}"), "SecretKey(redacted)");
    }
}
