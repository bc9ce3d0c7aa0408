//! The sections of the configuration, one file for each. A new field changes only the file of its
//! section.

mod cache;
mod credential;
mod environment;
mod exempt;
mod feed;
mod hash;
mod identity_headers;
mod introspection;
mod lookup;
mod replies;
mod strip_headers;

use super::fields::Kind;

/// One section of the configuration.
pub(super) struct Section {
    pub(super) name: &'static str,
    /// A valid example with every field.
    pub(super) good: &'static str,
    /// Every field, with its type.
    pub(super) fields: &'static [(&'static str, Kind)],
    /// Values of the right type that are rejected. If several fields share a check, one of them has
    /// all its values, and the others have one each.
    pub(super) rejected: &'static [Rejected],
}

/// Values of a field, as JSON, that are rejected with the same message.
pub(super) struct Rejected {
    pub(super) field: &'static str,
    /// The message after the field's path.
    pub(super) problem: &'static str,
    pub(super) values: &'static [&'static str],
}

/// All sections.
pub(super) const SECTIONS: &[Section] = &[
    lookup::SECTION,
    cache::SECTION,
    feed::SECTION,
    credential::SECTION,
    hash::SECTION,
    environment::SECTION,
    exempt::SECTION,
    introspection::SECTION,
    identity_headers::SECTION,
    strip_headers::SECTION,
    replies::SECTION,
];
