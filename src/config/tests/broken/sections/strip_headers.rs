//! `strip_headers`: a valid example, the type of each field, and rejected values.

use super::{Rejected, Section};
use crate::config::tests::broken::fields::Kind;

pub(super) const SECTION: Section = Section {
    name: "strip_headers",
    good: r#"["x-original-url"]"#,
    fields: &[
        ("strip_headers", Kind::Array),
        ("strip_headers[0]", Kind::String),
    ],
    rejected: &[
        Rejected {
            field: "strip_headers[0]",
            problem: "must be a header name: only letters, digits and !#$%&'*+-.^_`|~",
            values: &[
                r#""""#,
                r#""x url""#,
                r#""x-url:""#,
                r#"":path""#,
                r#""x-url\n""#,
                r#""schlüssel""#,
            ],
        },
        Rejected {
            field: "strip_headers[0]",
            problem: "is a header that HTTP or Envoy controls; choose another",
            values: &[r#""Host""#, r#""content-length""#, r#""transfer-encoding""#],
        },
    ],
};
