//! The policy: how requests are decided.

#![forbid(unsafe_code)]

use crate::auth::record::{IdentityField, Record};
use crate::decision::exempt::Exemptions;
use crate::request::credential::CredentialRules;
use crate::request::headers::NameLengths;
use crate::request::key_hash::KeyHasher;

/// How requests are decided.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Where credentials are looked for and what a key looks like.
    pub credential: CredentialRules,
    /// Turns keys into hashes.
    pub hasher: KeyHasher,
    /// When set, only records of this environment count.
    pub environment: Option<String>,
    /// Requests that need no key.
    pub exempt: Exemptions,
    /// The path where the filter itself says what it knows of a key, if there is one.
    pub introspection: Option<String>,
    /// Headers set for the upstream, names in lower case.
    pub identity_headers: Vec<(String, IdentityField)>,
    /// Headers that no upstream gets, names in lower case.
    pub strip_headers: Vec<String>,
    /// The lengths of the names of all headers that hold credentials or identities, or are stripped.
    pub watched: NameLengths,
}

impl Policy {
    /// The headers by which the upstream learns who calls: names in lower case, none of which is in
    /// the request any more, and their values.
    pub fn identity<'a>(&'a self, record: &'a Record) -> impl Iterator<Item = (&'a str, &'a str)> {
        let headers = self.identity_headers.iter();
        headers.filter_map(|(name, field)| Some((name.as_str(), record.identity(*field)?)))
    }
}
