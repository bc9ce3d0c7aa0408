//! `cache`: a valid example, the type of each field, and rejected values.

use super::{Rejected, Section};
use crate::config::tests::broken::fields::Kind;

pub(super) const SECTION: Section = Section {
    name: "cache",
    good: r#"{"allow_ttl": "60s", "not_found_ttl": "5s", "revoked_ttl": "5m", "stale_if_error": "10m",
            "refresh_ahead": 0.8, "jitter": 0.1, "max_allow_entries": 50000, "max_deny_entries": 10000}"#,
    fields: &[
        ("cache", Kind::Object),
        ("cache.allow_ttl", Kind::String),
        ("cache.not_found_ttl", Kind::String),
        ("cache.revoked_ttl", Kind::String),
        ("cache.stale_if_error", Kind::String),
        ("cache.refresh_ahead", Kind::Number),
        ("cache.jitter", Kind::Number),
        ("cache.max_allow_entries", Kind::Integer),
        ("cache.max_deny_entries", Kind::Integer),
    ],
    rejected: &[
        Rejected {
            field: "cache.allow_ttl",
            problem: r#"must be a whole number with its unit, such as "250ms", "10s", "5m" or "1h""#,
            values: &[r#""60""#],
        },
        Rejected {
            field: "cache.allow_ttl",
            problem: r#"must be at most "720h""#,
            values: &[
                r#""721h""#,
                r#""2592000001ms""#,
                r#""18446744073709551615h""#,
            ],
        },
        Rejected {
            field: "cache.not_found_ttl",
            problem: r#"must be a whole number with its unit, such as "250ms", "10s", "5m" or "1h""#,
            values: &[r#""60""#],
        },
        Rejected {
            field: "cache.not_found_ttl",
            problem: r#"must be at most "720h""#,
            values: &[r#""2592001s""#],
        },
        Rejected {
            field: "cache.revoked_ttl",
            problem: r#"must be a whole number with its unit, such as "250ms", "10s", "5m" or "1h""#,
            values: &[r#""60""#],
        },
        Rejected {
            field: "cache.revoked_ttl",
            problem: r#"must be at most "720h""#,
            values: &[r#""2592001s""#],
        },
        Rejected {
            field: "cache.stale_if_error",
            problem: r#"must be a whole number with its unit, such as "250ms", "10s", "5m" or "1h""#,
            values: &[r#""60""#],
        },
        Rejected {
            field: "cache.stale_if_error",
            problem: r#"must be at most "720h""#,
            values: &[r#""2592001s""#],
        },
        Rejected {
            field: "cache.refresh_ahead",
            problem: "must be a number above 0 and at most 1; 1 turns it off",
            values: &[
                "0", "0.0", "-0", "-0.1", "1e-9", "1.0001", "2", "80", "1e308", "-1e308",
            ],
        },
        Rejected {
            field: "cache.jitter",
            problem: "must be a number from 0 to 1",
            values: &["-0.1", "-1", "1.0001", "2", "10", "1e308"],
        },
        Rejected {
            field: "cache.max_allow_entries",
            problem: r#"must be from 1 to 1000000; to cache nothing, set the TTL to "0s""#,
            values: &["0", "1000001", "4294967295", "4294967339"],
        },
        Rejected {
            field: "cache.max_allow_entries",
            problem: "must be a positive integer",
            values: &["99999999999999999999"],
        },
        Rejected {
            field: "cache.max_deny_entries",
            problem: r#"must be from 1 to 1000000; to cache nothing, set the TTL to "0s""#,
            values: &["0"],
        },
        Rejected {
            field: "cache.max_deny_entries",
            problem: "must be a positive integer",
            values: &["99999999999999999999"],
        },
    ],
};
