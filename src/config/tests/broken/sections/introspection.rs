//! `introspection`: a good one, what each field must be, and values that are wrong.

use super::PATHS;
use super::Section;
use crate::config::tests::broken::fields::Kind::{ObjectOrNull, Text};

pub(super) const SECTION: Section = Section {
    name: "introspection",
    good: r#"{"path": "/v1/keys/me"}"#,
    fields: &[
        ("introspection", ObjectOrNull),
        ("introspection.path", Text),
    ],
    values: &[
        ("introspection.path", PATHS),
        (
            "introspection.path",
            &[r#""/v1//me""#, r#""//""#, r#""/v1/%6de""#, r#""/100%""#],
        ),
    ],
};
