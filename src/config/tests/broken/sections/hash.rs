//! `hash`: a good one, what each field must be, and values that are wrong.

use super::{Rejected, Section};
use crate::config::tests::broken::fields::Kind::{Object, TextOrNull};

pub(super) const SECTION: Section = Section {
    name: "hash",
    good: r#"{"pepper": "hunter2-hunter2"}"#,
    fields: &[("hash", Object), ("hash.pepper", TextOrNull)],
    rejected: &[Rejected {
        field: "hash.pepper",
        problem: "must not be empty; null is plain SHA-256",
        values: &[r#""""#],
    }],
};
