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
    /// Values of the right type that are wrong in themselves, as they stand in JSON.
    pub(super) values: &'static [(&'static str, &'static [&'static str])],
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

const TTLS: &[&str] = &[
    r#""""#,
    r#""60""#,
    r#""60 s""#,
    r#""60S""#,
    r#""1.5m""#,
    r#""-5m""#,
    r#""1d""#,
    r#""ever""#,
    r#""null""#,
    r#""721h""#,
    r#""2592001s""#,
    r#""18446744073709551615h""#,
];

const CLUSTERS: &[&str] = &[
    r#""""#,
    r#"" ""#,
    r#""a b""#,
    r#""auth\n""#,
    r#""auth\u0000""#,
    r#""prüfung""#,
];

const PATHS: &[&str] = &[
    r#""""#,
    r#""*""#,
    r#""v1""#,
    r#"" /v1""#,
    r#""/v1 ""#,
    r#""/v 1""#,
    r#""/v1?x=y""#,
    r#""/v1#x""#,
    r#""/v1\u0000""#,
    r#""/v1\r\n""#,
    r#""/ü""#,
    r#""/.""#,
    r#""/..""#,
    r#""/a/./b""#,
    r#""/a/../b""#,
    r#""/a/%2e%2e/b""#,
    r#""/a/%252e%252e/b""#,
    r#""/a/..;/b""#,
    r#""/a\\..\\b""#,
    r#""https://a/b""#,
];
