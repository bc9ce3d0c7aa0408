//! `cache`: a good one, what each field must be, and values that are wrong.

use super::Section;
use super::TTLS;
use crate::config::tests::broken::fields::Kind::{Number, Object, Text, Whole};

pub(super) const SECTION: Section = Section {
    name: "cache",
    good: r#"{"allow_ttl": "60s", "not_found_ttl": "5s", "revoked_ttl": "5m", "stale_if_error": "10m",
            "refresh_ahead": 0.8, "jitter": 0.1, "max_allow_entries": 50000, "max_deny_entries": 10000}"#,
    fields: &[
        ("cache", Object),
        ("cache.allow_ttl", Text),
        ("cache.not_found_ttl", Text),
        ("cache.revoked_ttl", Text),
        ("cache.stale_if_error", Text),
        ("cache.refresh_ahead", Number),
        ("cache.jitter", Number),
        ("cache.max_allow_entries", Whole),
        ("cache.max_deny_entries", Whole),
    ],
    values: &[
        ("cache.allow_ttl", TTLS),
        ("cache.not_found_ttl", TTLS),
        ("cache.revoked_ttl", TTLS),
        ("cache.stale_if_error", TTLS),
        (
            "cache.refresh_ahead",
            &[
                "0", "0.0", "-0", "-0.1", "1e-9", "1.0001", "2", "80", "1e308", "-1e308",
            ],
        ),
        (
            "cache.jitter",
            &["-0.1", "-1", "1.0001", "2", "10", "1e308"],
        ),
        ("cache.max_allow_entries", &["0", "1000001", "4294967295"]),
        ("cache.max_deny_entries", &["0", "1000001", "4294967295"]),
    ],
};
