//! The policy: how requests are decided.

#![forbid(unsafe_code)]

use crate::auth::record::{IdentityField, Record};
use crate::decision::exempt::Exemptions;
use crate::request::credential::CredentialRules;
use crate::request::header_map::NameLengths;
use crate::request::key_hash::KeyHasher;

/// How requests are decided.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Where credentials are looked for and what a key looks like.
    pub credential: CredentialRules,
    /// Turns keys into hashes.
    pub hasher: KeyHasher,
    /// If set, records of other environments count as not found.
    pub environment: Option<String>,
    /// Requests that need no key.
    pub exempt: Exemptions,
    /// The introspection path, at which the filter itself returns a key's record, if there is one.
    pub introspection: Option<String>,
    /// Headers set for the upstream, names in lower case.
    pub identity_headers: Vec<(String, IdentityField)>,
    /// Headers that never reach an upstream, names in lower case.
    pub strip_headers: Vec<String>,
    /// The lengths of the names of all headers that hold credentials or identities, or are stripped.
    pub watched: NameLengths,
}

impl Policy {
    /// Returns the headers that tell the upstream who is calling, and their values. The names are in
    /// lower case, and the request has no such headers any more.
    pub fn identity<'a>(&'a self, record: &'a Record) -> impl Iterator<Item = (&'a str, &'a str)> {
        let headers = self.identity_headers.iter();
        headers.filter_map(|(name, field)| Some((name.as_str(), record.identity(*field)?)))
    }
}
