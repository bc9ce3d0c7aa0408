//! The secrets that new keys depend on. No error repeats one.

use std::ffi::OsStr;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Command};
use keystile::request::key_hash::KeyHasher;
use keystile::request::key_tag::{KeyTagger, SHORTEST_SECRET};

/// Parses the pepper.
pub(super) fn peppered(pepper: &str) -> Result<KeyHasher, String> {
    // Many deployments cannot tell an empty variable from an unset one, and an HMAC with an empty
    // key would only look peppered.
    if pepper.is_empty() {
        return Err(
            "the pepper is empty; use the filter's pepper, or leave --pepper and KEYSTILE_PEPPER unset \
             for plain SHA-256"
                .to_owned(),
        );
    }
    KeyHasher::new(Some(pepper)).map_err(|error| error.to_string())
}

/// Parses the tag secret. Not a function, because clap adds the value to the error of a function.
#[derive(Clone, Copy, Debug)]
pub(super) struct TagSecret;

impl TypedValueParser for TagSecret {
    type Value = KeyTagger;

    fn parse_ref(
        &self,
        command: &Command,
        _: Option<&Arg>,
        secret: &OsStr,
    ) -> Result<KeyTagger, clap::Error> {
        let refuse = |problem: String| {
            let mut command = command.clone();
            command.error(ErrorKind::ValueValidation, problem)
        };
        let is_long = |secret: &&str| secret.chars().count() >= SHORTEST_SECRET;
        let secret = secret.to_str().filter(is_long).ok_or_else(|| {
            refuse(format!(
                "a tag secret has at least {SHORTEST_SECRET} characters, such as the output of \
                 `openssl rand -hex 32`; use the filter's first one, or leave --tag-secret and \
                 KEYSTILE_TAG_SECRET unset for keys without a tag"
            ))
        })?;
        KeyTagger::new(&[secret]).map_err(|error| refuse(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn a_tag_secret_has_at_least_16_characters() {
        let cases: [(OsString, bool); 6] = [
            ("Sauerkraut123456".into(), true),
            ("Sauerkraut12345ß".into(), true),
            ("Sauerkraut12345".into(), false),
            ("Sauerkraut1234ß".into(), false),
            ("".into(), false),
            (OsString::from_vec(b"Sauerkraut123456\xff".to_vec()), false),
        ];
        for (secret, accepted) in cases {
            match TagSecret.parse_ref(&Command::new("registry"), None, &secret) {
                Ok(_) => assert!(accepted, "{secret:?}"),
                Err(error) => {
                    let shown = format!("{error} {error:?}");
                    assert!(!accepted, "{shown}");
                    assert!(shown.contains("at least 16 characters"), "{shown}");
                    assert!(!shown.contains("Sauerkraut"), "{shown}");
                }
            }
        }
    }
}
