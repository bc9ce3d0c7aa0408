//! `exempt`: a good one, what each field must be, and values that are wrong.

use super::PATHS;
use super::Section;
use crate::config::tests::broken::fields::Kind::{Array, Flag, Object, Text};

pub(super) const SECTION: Section = Section {
    name: "exempt",
    good: r#"{"paths": ["/healthz"], "path_prefixes": ["/public"], "methods": ["GET"], "preflight": true}"#,
    fields: &[
        ("exempt", Object),
        ("exempt.paths", Array),
        ("exempt.paths[0]", Text),
        ("exempt.path_prefixes", Array),
        ("exempt.path_prefixes[0]", Text),
        ("exempt.methods", Array),
        ("exempt.methods[0]", Text),
        ("exempt.preflight", Flag),
    ],
    values: &[
        ("exempt.paths[0]", PATHS),
        ("exempt.path_prefixes[0]", PATHS),
        ("exempt.methods", &["[]"]),
        (
            "exempt.methods[0]",
            &[
                r#""""#,
                r#"" ""#,
                r#""get""#,
                r#""Get""#,
                r#""GET ""#,
                r#""GET,POST""#,
                r#""GET\u0000""#,
                r#""GÉT""#,
            ],
        ),
    ],
};
