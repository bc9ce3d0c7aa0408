//! A model of how the key is read from a request's headers: rows 2 to 4 of the decision table. The
//! fuzz target `credential` and the fault tests compare the filter with it. It shares no code with
//! the filter: if the two differ, one of them is wrong.

use std::collections::BTreeSet;

/// The characters that may follow a key's prefix.
#[derive(Clone, Copy, Debug)]
pub struct Alphabet {
    /// Its name in a configuration.
    pub name: &'static str,
    /// The characters.
    pub characters: &'static str,
}

impl Alphabet {
    /// RFC 4648 section 4, with padding.
    pub const BASE64: Self = Self {
        name: "base64",
        characters: "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=",
    };
    /// Digits, and letters in either case.
    pub const HEX: Self = Self {
        name: "hex",
        characters: "0123456789abcdefABCDEF",
    };
    /// RFC 4648 section 5.
    pub const URL_SAFE: Self = Self {
        name: "url_safe",
        characters: "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
    };
}

/// Where keys are looked for, and what is accepted as one.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The name of each header, in lower case, and the scheme before the key, if there is one.
    pub sources: &'static [(&'static str, Option<&'static str>)],
    /// The start of every key.
    pub prefix: &'static str,
    /// The lengths of the shortest and the longest key in bytes, including the prefix.
    pub lengths: (usize, usize),
    /// The characters after the prefix.
    pub alphabet: Alphabet,
}

/// What a request's headers say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Row 2: there is no credential.
    Missing,
    /// Row 3 or 4: there are several credentials, or the only one is not a key.
    Invalid,
    /// There is a key, whose verdict decides.
    Key(Vec<u8>),
}

impl Rules {
    /// The configuration's defaults.
    pub const DEFAULT: Self = Self {
        sources: &[("authorization", Some("Bearer")), ("x-api-key", None)],
        prefix: "aw_",
        lengths: (43, 256),
        alphabet: Alphabet::URL_SAFE,
    };

    /// Reads the credential from headers, whose names may have any case.
    pub fn read<N: AsRef<[u8]>, V: AsRef<[u8]>>(&self, headers: &[(N, V)]) -> Reading {
        let mut keys = BTreeSet::new();
        for (source, scheme) in self.sources {
            let is_source = |name: &N| name.as_ref().eq_ignore_ascii_case(source.as_bytes());
            let values = headers.iter().filter(|(name, _)| is_source(name));
            let values: Vec<_> = values.map(|(_, value)| value.as_ref()).collect();
            // Repeating a header is the same as joining its values with commas.
            let joined = values.join(&b',');
            let elements: Vec<_> = joined.split(|byte| *byte == b',').collect();
            let held = elements.iter().filter_map(|e| credential(e, *scheme));
            let held: Vec<_> = held.collect();
            if !held.is_empty() && elements.len() > 1 {
                return Reading::Invalid;
            }
            keys.extend(held);
        }
        let mut keys = keys.into_iter();
        match (keys.next(), keys.next()) {
            (None, _) => Reading::Missing,
            (Some(key), None) if self.is_key(&key) => Reading::Key(key),
            _ => Reading::Invalid,
        }
    }

    /// Returns true if these bytes are shaped like a key.
    pub fn is_key(&self, credential: &[u8]) -> bool {
        let (shortest, longest) = self.lengths;
        let rest = credential.strip_prefix(self.prefix.as_bytes());
        let of_alphabet = |byte: &u8| self.alphabet.characters.as_bytes().contains(byte);
        credential.len() >= shortest
            && credential.len() <= longest
            && rest.is_some_and(|rest| rest.iter().all(of_alphabet))
    }

    /// Returns the parts of a value that consist of bytes that occur in keys.
    pub fn words<'a>(&self, value: &'a [u8]) -> Vec<&'a [u8]> {
        let of_key = [self.prefix, self.alphabet.characters].concat();
        let words = value.split(|byte| !of_key.as_bytes().contains(byte));
        words.collect()
    }
}

/// Returns the credential in a value, or in one of several values that are joined by commas.
pub fn credential(value: &[u8], scheme: Option<&str>) -> Option<Vec<u8>> {
    let value = trim(value);
    let credential = match scheme {
        None => value,
        Some(scheme) => {
            let end = value.iter().position(|byte| is_space(*byte))?;
            let (word, rest) = value.split_at(end);
            if !word.eq_ignore_ascii_case(scheme.as_bytes()) {
                return None;
            }
            trim(rest)
        }
    };
    Some(credential.to_vec()).filter(|credential| !credential.is_empty())
}

/// Removes the whitespace that HTTP allows around values.
fn trim(value: &[u8]) -> &[u8] {
    let start = value.iter().position(|byte| !is_space(*byte));
    let end = value.iter().rposition(|byte| !is_space(*byte));
    match (start, end) {
        (Some(start), Some(end)) => &value[start..=end],
        _ => &[],
    }
}

/// Returns true for the whitespace that HTTP allows around values.
pub fn is_space(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}
