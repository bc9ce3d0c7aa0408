//! `introspection`: a valid example, the type of each field, and rejected values.

use super::{Rejected, Section};
use crate::config::tests::broken::fields::Kind;

pub(super) const SECTION: Section = Section {
    name: "introspection",
    good: r#"{"path": "/v1/keys/me"}"#,
    fields: &[
        ("introspection", Kind::ObjectOrNull),
        ("introspection.path", Kind::String),
    ],
    rejected: &[
        Rejected {
            field: "introspection.path",
            problem: r#"must start with "/""#,
            values: &[r#""v1""#],
        },
        Rejected {
            field: "introspection.path",
            problem: "must be visible ASCII; percent-encode anything else, as it is sent",
            values: &[r#""/v 1""#],
        },
        Rejected {
            field: "introspection.path",
            problem: r##"is compared without the query, so it must not have "?" or "#""##,
            values: &[r#""/v1?x=y""#],
        },
        Rejected {
            field: "introspection.path",
            problem: r#"must not have a "." or ".." segment; write the resolved path"#,
            values: &[r#""/a/../b""#],
        },
        Rejected {
            field: "introspection.path",
            problem: r#"must not have "//" or "%": write it as Envoy routes it"#,
            values: &[r#""/v1//me""#, r#""//""#, r#""/v1/%6de""#, r#""/100%""#],
        },
    ],
};
