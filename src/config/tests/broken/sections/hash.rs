//! `hash`: a valid example, the type of each field, and rejected values.

use super::{Rejected, Section};
use crate::config::tests::broken::fields::Kind;

pub(super) const SECTION: Section = Section {
    name: "hash",
    good: r#"{"pepper": "hunter2-hunter2"}"#,
    fields: &[("hash", Kind::Object), ("hash.pepper", Kind::StringOrNull)],
    rejected: &[Rejected {
        field: "hash.pepper",
        problem: "must not be empty; use null for plain SHA-256",
        values: &[r#""""#],
    }],
};
