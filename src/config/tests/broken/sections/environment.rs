//! `environment`: a valid example, the type of each field, and rejected values.

use super::{Rejected, Section};
use crate::config::tests::broken::fields::Kind;

pub(super) const SECTION: Section = Section {
    name: "environment",
    good: r#""production""#,
    fields: &[("environment", Kind::StringOrNull)],
    rejected: &[Rejected {
        field: "environment",
        problem: "must be 1 to 256 characters of visible ASCII, as in a record; null accepts every environment",
        values: &[
            r#""""#,
            r#"" ""#,
            r#""production ""#,
            r#"" production""#,
            r#""a\tb""#,
            r#""a\u0000""#,
            r#""prodüktion""#,
        ],
    }],
};
