//! `environment`: a good one, what each field must be, and values that are wrong.

use super::Section;
use crate::config::tests::broken::fields::Kind::TextOrNull;

pub(super) const SECTION: Section = Section {
    name: "environment",
    good: r#""production""#,
    fields: &[("environment", TextOrNull)],
    values: &[(
        "environment",
        &[
            r#""""#,
            r#"" ""#,
            r#""production ""#,
            r#"" production""#,
            r#""a\tb""#,
            r#""a\u0000""#,
            r#""prodüktion""#,
        ],
    )],
};
