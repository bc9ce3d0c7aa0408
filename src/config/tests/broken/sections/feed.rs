//! `feed`: a good one, what each field must be, and values that are wrong.

use super::Section;
use super::{CLUSTERS, TTLS};
use crate::config::tests::broken::fields::Kind::{ObjectOrNull, Text, TextOrNull};

pub(super) const SECTION: Section = Section {
    name: "feed",
    good: r#"{"cluster": "auth-feed", "path": "/v1/changes?after={cursor}", "interval": "1s", "stale_after": "10s",
           "allow_ttl_when_stale": "60s"}"#,
    fields: &[
        ("feed", ObjectOrNull),
        ("feed.cluster", TextOrNull),
        ("feed.path", Text),
        ("feed.interval", Text),
        ("feed.stale_after", Text),
        ("feed.allow_ttl_when_stale", Text),
    ],
    values: &[
        (
            "feed.path",
            &[
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
                r#""/v1/changes?after={cursor}&limit=0""#,
                r#""/v1/changes?after={cursor}&limit=1""#,
                r#""/v1/changes?limit=99&after={cursor}""#,
                r#""/v1/changes?limit=&after={cursor}""#,
                r#""/v1/changes?limit=-100&after={cursor}""#,
                r#""/v1/changes?limit=all&after={cursor}""#,
                r#""/v1/changes?limit={cursor}""#,
            ],
        ),
        (
            "feed.interval",
            &[
                r#""""#,
                r#""1""#,
                r#""1.5s""#,
                r#""-1s""#,
                r#""0s""#,
                r#""99ms""#,
                r#""60001ms""#,
                r#""2m""#,
                r#""18446744073709551615h""#,
            ],
        ),
        (
            "feed.stale_after",
            &[
                r#""""#,
                r#""10""#,
                r#""0s""#,
                r#""1s""#,
                r#""1999ms""#,
                r#""3600001ms""#,
                r#""2h""#,
                r#""18446744073709551615h""#,
            ],
        ),
        ("feed.cluster", CLUSTERS),
        ("feed.allow_ttl_when_stale", TTLS),
    ],
};
