//! `exempt`: a valid example, the type of each field, and rejected values.

use super::{Rejected, Section};
use crate::config::tests::broken::fields::Kind;

pub(super) const SECTION: Section = Section {
    name: "exempt",
    good: r#"{"paths": ["/healthz"], "path_prefixes": ["/public"], "methods": ["GET"], "preflight": true}"#,
    fields: &[
        ("exempt", Kind::Object),
        ("exempt.paths", Kind::Array),
        ("exempt.paths[0]", Kind::String),
        ("exempt.path_prefixes", Kind::Array),
        ("exempt.path_prefixes[0]", Kind::String),
        ("exempt.methods", Kind::Array),
        ("exempt.methods[0]", Kind::String),
        ("exempt.preflight", Kind::Bool),
    ],
    rejected: &[
        Rejected {
            field: "exempt.paths[0]",
            problem: r#"must start with "/""#,
            values: &[
                r#""""#,
                r#""*""#,
                r#""v1""#,
                r#"" /v1""#,
                r#""https://a/b""#,
            ],
        },
        Rejected {
            field: "exempt.paths[0]",
            problem: "must be visible ASCII; percent-encode anything else, as it is sent",
            values: &[
                r#""/v1 ""#,
                r#""/v 1""#,
                r#""/v1\u0000""#,
                r#""/v1\r\n""#,
                r#""/ü""#,
            ],
        },
        Rejected {
            field: "exempt.paths[0]",
            problem: r#"has no wildcards, so it must not have "*"; a prefix covers all that is below it"#,
            values: &[r#""/*""#, r#""/files/*""#, r#""/files/*/x""#],
        },
        Rejected {
            field: "exempt.paths[0]",
            problem: r##"is compared without the query, so it must not have "?" or "#""##,
            values: &[r#""/v1?x=y""#, r#""/v1#x""#],
        },
        Rejected {
            field: "exempt.paths[0]",
            problem: r#"must not have a "." or ".." segment; write the resolved path"#,
            values: &[
                r#""/.""#,
                r#""/..""#,
                r#""/a/./b""#,
                r#""/a/../b""#,
                r#""/a/%2e%2e/b""#,
                r#""/a/%252e%252e/b""#,
                r#""/a/..;/b""#,
                r#""/a\\..\\b""#,
            ],
        },
        Rejected {
            field: "exempt.path_prefixes[0]",
            problem: r#"must start with "/""#,
            values: &[r#""v1""#],
        },
        Rejected {
            field: "exempt.path_prefixes[0]",
            problem: "must be visible ASCII; percent-encode anything else, as it is sent",
            values: &[r#""/v 1""#],
        },
        Rejected {
            field: "exempt.path_prefixes[0]",
            problem: r#"has no wildcards, so it must not have "*"; a prefix covers all that is below it"#,
            values: &[r#""/files/*""#],
        },
        Rejected {
            field: "exempt.path_prefixes[0]",
            problem: r##"is compared without the query, so it must not have "?" or "#""##,
            values: &[r#""/v1?x=y""#],
        },
        Rejected {
            field: "exempt.path_prefixes[0]",
            problem: r#"must not have a "." or ".." segment; write the resolved path"#,
            values: &[r#""/a/../b""#],
        },
        Rejected {
            field: "exempt.methods",
            problem: "must name at least one method; without it, GET and HEAD are exempt",
            values: &["[]"],
        },
        Rejected {
            field: "exempt.methods[0]",
            problem: r#"must be a method in upper case, such as "GET" or "POST""#,
            values: &[
                r#""""#,
                r#"" ""#,
                r#""get""#,
                r#""Get""#,
                r#""GET ""#,
                r#""GET,POST""#,
                r#""GET\u0000""#,
                r#""GÉT""#,
            ],
        },
    ],
};
