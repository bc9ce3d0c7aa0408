//! The credential: where it is read from, and what it must look like.

#![forbid(unsafe_code)]

use std::fmt;

use crate::request::header_map::Header;
use crate::request::headers::same_name;
use crate::request::key_tag::KeyTagger;

/// An API key as the client sent it. `Debug` does not show it, and there is no `Display`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ApiKey<'a>(&'a [u8]);

impl<'a> ApiKey<'a> {
    /// Returns the key itself, to be hashed.
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }
}

impl fmt::Debug for ApiKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(redacted)")
    }
}

/// The characters that may follow a key's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alphabet {
    /// `A–Z a–z 0–9`
    Alphanumeric,
    /// `A–Z a–z 0–9 + / =` (RFC 4648 section 4)
    Base64,
    /// `0–9 A–F a–f`
    Hex,
    /// `A–Z a–z 0–9 - _` (RFC 4648 section 5)
    UrlSafe,
    /// All visible ASCII characters except the comma, for keys from elsewhere.
    Visible,
}

impl Alphabet {
    fn contains(self, byte: u8) -> bool {
        match self {
            Self::Alphanumeric => byte.is_ascii_alphanumeric(),
            Self::Base64 => byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='),
            Self::Hex => byte.is_ascii_hexdigit(),
            Self::UrlSafe => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'),
            Self::Visible => byte.is_ascii_graphic() && byte != b',',
        }
    }

    fn contains_all(self, bytes: &[u8]) -> bool {
        // One loop for each alphabet, to keep the choice out of the loop.
        match self {
            Self::Alphanumeric => bytes.iter().all(|byte| Self::Alphanumeric.contains(*byte)),
            Self::Base64 => bytes.iter().all(|byte| Self::Base64.contains(*byte)),
            Self::Hex => bytes.iter().all(|byte| Self::Hex.contains(*byte)),
            Self::UrlSafe => bytes.iter().all(|byte| Self::UrlSafe.contains(*byte)),
            Self::Visible => bytes.iter().all(|byte| Self::Visible.contains(*byte)),
        }
    }
}

/// The shape of a key. Lengths are in bytes and include the prefix and the tag.
#[derive(Clone, Debug)]
pub struct Format {
    /// The start of every key; may be empty.
    pub prefix: String,
    /// The length of the shortest key.
    pub min_length: usize,
    /// The length of the longest key.
    pub max_length: usize,
    /// The characters after the prefix.
    pub alphabet: Alphabet,
    /// Checks a key's tag, if keys have one.
    pub tag: Option<KeyTagger>,
}

impl Format {
    /// The length, in bytes, from which a prefix alone is enough to take a string for a key.
    const MIN_DISTINCTIVE_PREFIX: usize = 3;

    /// Returns whether a credential is a key, as far as can be told without a lookup.
    fn accepts(&self, credential: &[u8]) -> bool {
        let tag = self.tag.as_ref();
        self.has_shape(credential) && tag.is_none_or(|tag| tag.accepts(credential))
    }

    /// Returns whether a value looks like a key. Its tag may be wrong.
    fn has_shape(&self, value: &[u8]) -> bool {
        (self.min_length..=self.max_length).contains(&value.len())
            && value
                .strip_prefix(self.prefix.as_bytes())
                .is_some_and(|rest| self.alphabet.contains_all(rest))
    }

    /// Returns whether a value may contain a key anywhere, whatever surrounds it. This is stricter
    /// than [`Self::resembles_key`]: it also finds keys that are glued to something else.
    fn may_be_in(&self, value: &[u8]) -> bool {
        let prefix = self.prefix.as_bytes();
        let is_distinctive = prefix.len() >= Self::MIN_DISTINCTIVE_PREFIX;
        let shortest = self.min_length.saturating_sub(prefix.len());
        (0..value.len())
            .filter_map(|at| value.get(at..)?.strip_prefix(prefix))
            .any(|rest| {
                let rest = rest.get(..shortest);
                is_distinctive || rest.is_some_and(|rest| self.alphabet.contains_all(rest))
            })
    }

    /// Returns whether some word in a header's value is a key, or has the prefix of one and may be
    /// damaged. Such a value never reaches the upstream, even if the request needs no key. A word
    /// ends at any byte that cannot be part of a key, so quotes, `token=` and the like hide
    /// nothing.
    fn resembles_key(&self, value: &[u8]) -> bool {
        if self.alphabet == Alphabet::Visible {
            // Quotes and the like can be part of a key, so nothing tells where it begins.
            return self.may_be_in(value);
        }
        let of_key =
            |byte: u8| self.alphabet.contains(byte) || self.prefix.as_bytes().contains(&byte);
        value.split(|byte| !of_key(*byte)).any(|word| {
            self.has_shape(word)
                || (self.prefix.len() >= Self::MIN_DISTINCTIVE_PREFIX
                    && word.starts_with(self.prefix.as_bytes()))
        })
    }
}

/// A place where a credential may be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The header's name, in lower case.
    pub header: String,
    /// The scheme before the key, compared without case. If it is `None`, the whole value is the
    /// key.
    pub scheme: Option<String>,
}

impl Source {
    /// Returns whether both sources could read a credential from the same value.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.header == other.header
            && match (&self.scheme, &other.scheme) {
                (Some(mine), Some(theirs)) => mine.eq_ignore_ascii_case(theirs),
                _ => true,
            }
    }

    /// Returns the part of a value after the scheme, even if no space follows it. If the scheme is
    /// missing, returns the whole value.
    fn after_scheme<'a>(&self, value: &'a [u8]) -> &'a [u8] {
        let scheme = self.scheme.as_deref().unwrap_or_default();
        match value.split_at_checked(scheme.len()) {
            Some((first, rest)) if first.eq_ignore_ascii_case(scheme.as_bytes()) => rest,
            _ => value,
        }
    }

    /// Returns the credential in one element of a header's value, or `None` if it is empty or has
    /// another scheme.
    fn credential<'a>(&self, element: &'a [u8]) -> Option<&'a [u8]> {
        let credential = match &self.scheme {
            None => element,
            Some(scheme) => {
                let (name, rest) = element.split_at_checked(scheme.len())?;
                if !name.eq_ignore_ascii_case(scheme.as_bytes())
                    || !rest.first().is_some_and(is_space)
                {
                    return None;
                }
                rest
            }
        };
        Some(trim(credential)).filter(|credential| !credential.is_empty())
    }
}

/// The credential in a request's headers (rows 2 to 4 of the decision table).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential<'a> {
    /// None: absent, empty, or with another scheme.
    Missing,
    /// More than one, not shaped like a key, or with a wrong tag.
    Invalid,
    /// Exactly one, shaped like a key.
    Key(ApiKey<'a>),
}

/// Where credentials are looked for and what a key looks like.
#[derive(Clone, Debug)]
pub struct CredentialRules {
    /// The sources, in order. Two that hold the same key count as one.
    pub sources: Vec<Source>,
    /// The shapes of keys. A key has at least one of them.
    pub formats: Vec<Format>,
    /// Whether the credential is forwarded to the upstream.
    pub forward: bool,
}

/// The headers in a list that hold a credential. Only the first 64 are recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holders(u64);

impl Holders {
    /// Returns `None` past the last bit.
    fn bit(place: usize) -> Option<u64> {
        1_u64.checked_shl(u32::try_from(place).ok()?)
    }

    fn add(&mut self, place: usize) {
        self.0 |= Self::bit(place).unwrap_or_default();
    }
}

impl CredentialRules {
    /// Returns the credential in a request's headers, and which of the headers hold one. Only
    /// headers that are named as a source matter.
    ///
    /// A repeated header means the same as one header with the values joined by commas (RFC 9110
    /// section 5.2). Both hold more than one credential, so the elements of all values are counted.
    pub fn extract<'a>(&self, headers: &[Header<'a>]) -> (Credential<'a>, Holders) {
        let mut found: Option<&[u8]> = None;
        let mut is_one = true;
        let mut holders = Holders::default();
        for source in &self.sources {
            let mut elements = 0_usize;
            let mut credential = None;
            let of_source = headers.iter().enumerate();
            let of_source = of_source.filter(|(_, (name, _))| *name == source.header.as_bytes());
            for (at, (_, value)) in of_source {
                for element in elements_of(value) {
                    elements = elements.saturating_add(1);
                    if let Some(held) = source.credential(element) {
                        holders.add(at);
                        credential = credential.or(Some(held));
                    }
                }
            }
            if let Some(credential) = credential {
                is_one &= elements == 1 && found.is_none_or(|other| other == credential);
                found = Some(credential);
            }
        }
        let credential = match found {
            None => Credential::Missing,
            Some(key) if is_one && self.accept(key) => Credential::Key(ApiKey(key)),
            Some(_) => Credential::Invalid,
        };
        (credential, holders)
    }

    /// Returns whether the header at this place is kept from the upstream because it holds a
    /// credential. `holders` is what [`Self::extract`] returned.
    pub fn is_held_back(&self, holders: Holders, place: usize, (name, value): Header<'_>) -> bool {
        let holds = match Holders::bit(place) {
            Some(bit) => holders.0 & bit != 0,
            None => self.sources.iter().any(|source| {
                source.header.as_bytes() == name
                    && elements_of(value).any(|element| source.credential(element).is_some())
            }),
        };
        holds && !self.forward
    }

    fn accept(&self, credential: &[u8]) -> bool {
        self.formats.iter().any(|format| format.accepts(credential))
    }

    fn resembles_key(&self, value: &[u8]) -> bool {
        let mut formats = self.formats.iter();
        formats.any(|format| format.resembles_key(value))
    }

    /// Returns whether a value may contain a key anywhere.
    pub(crate) fn may_hold_key(&self, value: &[u8]) -> bool {
        self.formats.iter().any(|format| format.may_be_in(value))
    }

    /// Returns whether a header contains a key that is not a credential there, because its scheme
    /// is another or missing. Only sources, and headers that a server might take for one, are
    /// checked. If credentials are forwarded, the result is always false.
    pub fn is_stray_key(&self, (name, value): Header<'_>) -> bool {
        !self.forward
            && self.sources.iter().any(|source| {
                same_name(source.header.as_bytes(), name)
                    && (self.resembles_key(value) || self.resembles_key(source.after_scheme(value)))
            })
    }
}

fn elements_of(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(trim)
}

/// Removes the optional whitespace (RFC 9110 section 5.6.3, OWS) on both sides.
fn trim(mut value: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = value
        && is_space(first)
    {
        value = rest;
    }
    while let [rest @ .., last] = value
        && is_space(last)
    {
        value = rest;
    }
    value
}

fn is_space(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

#[cfg(test)]
mod tests;
