//! `feed`: a valid example, the type of each field, and rejected values.

use super::{Rejected, Section};
use crate::config::tests::broken::fields::Kind;

pub(super) const SECTION: Section = Section {
    name: "feed",
    good: r#"{"cluster": "auth-feed", "path": "/v1/changes?after={cursor}", "interval": "1s", "stale_after": "10s",
           "allow_ttl_when_stale": "60s"}"#,
    fields: &[
        ("feed", Kind::ObjectOrNull),
        ("feed.cluster", Kind::StringOrNull),
        ("feed.path", Kind::String),
        ("feed.interval", Kind::String),
        ("feed.stale_after", Kind::String),
        ("feed.allow_ttl_when_stale", Kind::String),
    ],
    rejected: &[
        Rejected {
            field: "feed.path",
            problem: r##"must start with "/", contain {cursor} exactly once, and be visible ASCII without "#" or other braces, such as "/v1/changes?after={cursor}""##,
            values: &[
                r#""""#,
                r#""/""#,
                r#""/v1/changes""#,
                r#""v1/changes?after={cursor}""#,
                r#""/v1/changes?after={key_hash}""#,
                r#""/v1/changes?after={Cursor}""#,
                r#""/{cursor}/{cursor}""#,
                r#""/{key_hash}/{cursor}""#,
                r#""/{cursor}#x""#,
                r#""/ {cursor}""#,
            ],
        },
        Rejected {
            field: "feed.path",
            problem: "must have a limit of at least 100, or none",
            values: &[
                r#""/v1/changes?after={cursor}&limit=0""#,
                r#""/v1/changes?after={cursor}&limit=1""#,
                r#""/v1/changes?limit=99&after={cursor}""#,
                r#""/v1/changes?limit=&after={cursor}""#,
                r#""/v1/changes?limit=-100&after={cursor}""#,
                r#""/v1/changes?limit=all&after={cursor}""#,
                r#""/v1/changes?limit={cursor}""#,
            ],
        },
        Rejected {
            field: "feed.interval",
            problem: r#"must be a whole number with its unit, such as "250ms", "10s", "5m" or "1h""#,
            values: &[r#""10""#],
        },
        Rejected {
            field: "feed.interval",
            problem: r#"must be from "100ms" to "60s""#,
            values: &[
                r#""0s""#,
                r#""99ms""#,
                r#""60001ms""#,
                r#""2m""#,
                r#""18446744073709551615h""#,
            ],
        },
        Rejected {
            field: "feed.stale_after",
            problem: r#"must be a whole number with its unit, such as "250ms", "10s", "5m" or "1h""#,
            values: &[r#""10""#],
        },
        Rejected {
            field: "feed.stale_after",
            problem: r#"must be at least twice feed.interval, and at most "1h""#,
            values: &[
                r#""0s""#,
                r#""1s""#,
                r#""1999ms""#,
                r#""3600001ms""#,
                r#""2h""#,
                r#""18446744073709551615h""#,
            ],
        },
        Rejected {
            field: "feed.cluster",
            problem: "must be the name of an Envoy cluster: visible ASCII without spaces",
            values: &[r#""a b""#],
        },
        Rejected {
            field: "feed.allow_ttl_when_stale",
            problem: r#"must be a whole number with its unit, such as "250ms", "10s", "5m" or "1h""#,
            values: &[r#""10""#],
        },
        Rejected {
            field: "feed.allow_ttl_when_stale",
            problem: r#"must be at most "720h""#,
            values: &[r#""2592001s""#],
        },
    ],
};
