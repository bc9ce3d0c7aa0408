//! The sections, with the values of which configurations are made: one file for each, and nothing
//! else to change for a new field.

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
    /// A good one with each field.
    pub(super) good: &'static str,
    /// Each field, and what it must be.
    pub(super) fields: &'static [(&'static str, Kind)],
    /// Values of the right type that are wrong in themselves.
    pub(super) rejected: &'static [Rejected],
}

/// Values, as they stand in JSON, that a field is rejected for.
pub(super) struct Rejected {
    pub(super) field: &'static str,
    /// The message behind the field's path.
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
