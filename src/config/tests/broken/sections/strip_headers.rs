//! `strip_headers`: a good one, what each field must be, and values that are wrong.

use super::Section;
use crate::config::tests::broken::fields::Kind::{Array, Text};

pub(super) const SECTION: Section = Section {
    name: "strip_headers",
    good: r#"["x-original-url"]"#,
    fields: &[("strip_headers", Array), ("strip_headers[0]", Text)],
    values: &[(
        "strip_headers[0]",
        &[
            r#""""#,
            r#""x url""#,
            r#""x-url:""#,
            r#"":path""#,
            r#""x-url\n""#,
            r#""schlüssel""#,
            r#""Host""#,
            r#""content-length""#,
            r#""transfer-encoding""#,
        ],
    )],
};
