//! How long a verdict is used.

use super::*;

#[test]
fn a_verdict_is_fresh_for_its_ttl() {
    all(&[
        (
            "active: 60 s",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (10, "A gets active", "A: active lookup"),
                (11, "B asks", "active cache"),
                (59_999, "C asks", "active cache"),
                // Counted from the callout: the answer may miss later changes.
                (60_000, "D asks", "asks"),
            ],
        ),
        (
            "not found: 5 s",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (10, "A gets not_found", "A: not_found lookup"),
                (4_999, "B asks", "not_found cache"),
                (5_000, "C asks", "asks"),
                (5_001, "C gets active", "C: active lookup"),
                (5_002, "D asks", "active cache"),
            ],
        ),
        (
            "revoked: 5 min",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (10, "A gets revoked", "A: revoked lookup"),
                (299_999, "B asks", "revoked cache"),
                (300_000, "C asks", "asks"),
            ],
        ),
        (
            "configured otherwise",
            r#"{"jitter":0,"allow_ttl":"2s","not_found_ttl":"1s","revoked_ttl":"3s"}"#,
            &[
                (0, "A asks about k1", "asks"),
                (0, "B asks about k2", "asks"),
                (0, "C asks about k3", "asks"),
                (0, "A gets active", "A: active lookup"),
                (0, "B gets not_found", "B: not_found lookup"),
                (0, "C gets revoked", "C: revoked lookup"),
                (999, "D asks about k2", "not_found cache"),
                (1_000, "D asks about k2", "asks"),
                (1_500, "E asks about k1", "active cache"),
                (2_000, "E asks about k1", "asks"),
                (2_999, "F asks about k3", "revoked cache"),
                (3_000, "F asks about k3", "asks"),
            ],
        ),
        (
            "0s: not cached",
            r#"{"allow_ttl":"0s","not_found_ttl":"0s","revoked_ttl":"0s"}"#,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active", "A: active lookup"),
                (0, "B asks", "asks"),
                // So there is nothing to use in an outage either.
                (0, "B gets nothing", "B: nothing"),
                (0, "C asks", "asks"),
                (0, "C gets revoked", "C: revoked lookup"),
                (0, "D asks", "asks"),
                (0, "D gets not_found", "D: not_found lookup"),
                (0, "E asks", "asks"),
            ],
        ),
        (
            "less than a second: an answered refresh is no sign of an outage",
            r#"{"jitter":0,"refresh_ahead":0.5,"allow_ttl":"400ms"}"#,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active", "A: active lookup"),
                (200, "B asks", "active cache, refresh"),
                (202, "refresh gets active", ""),
                (600, "C asks", "asks"),
                (601, "D asks", "waits"),
            ],
        ),
        (
            "an answer that takes longer than its TTL",
            r#"{"jitter":0,"allow_ttl":"100ms","stale_if_error":"0s"}"#,
            &[
                (0, "A asks", "asks"),
                (150, "A gets active", "A: active lookup"),
                (150, "B asks", "asks"),
            ],
        ),
    ]);
}

#[test]
fn cache_control_shortens_and_never_lengthens() {
    all(&[
        (
            "shorter",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (
                    0,
                    "A gets active, cache-control: max-age=7",
                    "A: active lookup",
                ),
                (6_999, "B asks", "active cache"),
                (7_000, "C asks", "asks"),
            ],
        ),
        (
            "longer",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (
                    0,
                    "A gets not_found, cache-control: max-age=3600",
                    "A: not_found lookup",
                ),
                (4_999, "B asks", "not_found cache"),
                (5_000, "C asks", "asks"),
            ],
        ),
        (
            "zero: not cached, and the earlier verdict is removed",
            r#"{"jitter":0,"refresh_ahead":0.5}"#,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active", "A: active lookup"),
                (30_000, "B asks", "active cache, refresh"),
                (30_002, "refresh gets active, cache-control: max-age=0", ""),
                (30_003, "C asks", "asks"),
                (30_004, "C gets nothing", "C: nothing"),
            ],
        ),
        (
            "ignored without a verdict",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active", "A: active lookup"),
                (60_000, "B asks", "asks"),
                (
                    60_000,
                    "B gets nothing, cache-control: max-age=0",
                    "B: active stale",
                ),
            ],
        ),
    ]);
}

#[test]
fn indeterminate_verdicts_are_never_cached() {
    all(&[(
        "each request sends a lookup",
        EXACT,
        &[
            (0, "A asks", "asks"),
            (0, "A gets nothing", "A: nothing"),
            (0, "B asks", "asks"),
            (0, "B gets nothing", "B: nothing"),
            (0, "C asks in vain", "nothing"),
            (0, "D asks", "asks"),
            (0, "D gets active", "D: active lookup"),
        ],
    )]);
}
