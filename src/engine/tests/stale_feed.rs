//! A feed that does not answer.

use super::*;

#[test]
fn a_stale_feed_shortens_only_allow_ttl() {
    all(&[
        (
            "never polled",
            FEED,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active", "A: active lookup"),
                (59_999, "B asks", "active cache"),
                (60_000, "C asks", "asks"),
            ],
        ),
        (
            "no answers: the TTL until the feed is stale, then the shorter one",
            FEED,
            &[
                (0, "feed polls", "after "),
                (1, "feed gets any, cursor 1", "any"),
                (10, "A asks about k1", "asks"),
                (10, "A gets active", "A: active lookup"),
                (1_000, "feed polls", "after 1"),
                (1_001, "feed gets current", "current"),
                (100_000, "feed polls", "after 1"),
                (100_001, "feed gets current", "current"),
                (100_900, "D asks about k2", "asks"),
                (100_900, "D gets active", "D: active lookup"),
                (101_000, "feed polls", "after 1"),
                (101_001, "feed fails", "failed, logged"),
                (102_000, "feed polls", "after 1"),
                (102_001, "feed fails", "failed"),
                // Counted from when the last answered poll was sent.
                (109_999, "B asks about k1", "active cache"),
                (110_000, "C asks about k1", "asks"),
                (110_000, "C gets active", "C: active lookup"),
                (110_000, "E asks about k2", "active cache"),
                (160_899, "F asks about k2", "active cache"),
                (160_900, "G asks about k2", "asks"),
                (170_000, "feed polls", "after 1"),
                (170_001, "feed gets current", "current, logged"),
                // Nothing has changed meanwhile, so its own TTL applies again.
                (170_002, "H asks about k1", "active cache"),
            ],
        ),
        (
            "other verdicts keep their TTLs",
            r#"{"jitter":0,"revoked_ttl":"5m","not_found_ttl":"5m"},"feed":{"allow_ttl_when_stale":"0s"}"#,
            &[
                (0, "A asks about k1", "asks"),
                (0, "A gets revoked", "A: revoked lookup"),
                (0, "B asks about k2", "asks"),
                (0, "B gets not_found", "B: not_found lookup"),
                (0, "C asks about k3", "asks"),
                (0, "C gets active", "C: active lookup"),
                (1, "D asks about k3", "asks"),
                (299_999, "E asks about k1", "revoked cache"),
                (299_999, "F asks about k2", "not_found cache"),
            ],
        ),
        (
            "never longer than without a feed",
            r#"{"jitter":0,"refresh_ahead":1,"allow_ttl":"10s"},"feed":{"allow_ttl_when_stale":"60s"}"#,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active", "A: active lookup"),
                (9_999, "B asks", "active cache"),
                (10_000, "C asks", "asks"),
            ],
        ),
        (
            "configured otherwise",
            r#"{"jitter":0,"refresh_ahead":1,"allow_ttl":"1h"},"feed":{"stale_after":"2s","allow_ttl_when_stale":"3s"}"#,
            &[
                (0, "feed polls", "after "),
                (1, "feed gets any, cursor 1", "any"),
                (2, "A asks", "asks"),
                (2, "A gets active", "A: active lookup"),
                (3_001, "B asks", "active cache"),
                (3_002, "C asks", "asks"),
            ],
        ),
        (
            "a long page does not make the feed fresh",
            r#"{"jitter":0,"refresh_ahead":1,"allow_ttl":"1h"},"feed":{"allow_ttl_when_stale":"0s"}"#,
            &[
                (0, "feed polls", "after "),
                (1, "feed gets any, cursor 1", "any"),
                (2, "A asks", "asks"),
                (2, "A gets active", "A: active lookup"),
                (9_000, "feed polls", "after 1"),
                (9_001, LONG_PAGE, "changes"),
                (9_999, "B asks", "active cache"),
                (10_000, "C asks", "asks"),
                (10_001, "feed polls", "after 101"),
                (10_002, "feed gets current", "current"),
                (10_003, "D asks", "active cache"),
            ],
        ),
    ]);
}

#[test]
fn grace_counts_from_the_last_poll_that_was_answered() {
    all(&[(
        "an outage long after the lookup",
        r#"{"jitter":0,"refresh_ahead":1,"allow_ttl":"1h","stale_if_error":"5m"},"feed":{}"#,
        &[
            (0, "feed polls", "after "),
            (1, "feed gets any, cursor 1", "any"),
            (2, "A asks", "asks"),
            (2, "A gets active", "A: active lookup"),
            (1_000_000, "feed polls", "after 1"),
            (1_000_001, "feed gets current", "current"),
            (1_009_999, "B asks", "active cache"),
            (1_010_000, "C asks", "asks"),
            (1_010_001, "C gets nothing", "C: active stale"),
            (1_010_002, "D asks", "active stale"),
            (1_299_000, "E asks in vain", "active stale"),
            (1_300_000, "F asks in vain", "nothing"),
        ],
    )]);
}

#[test]
fn grace_counts_from_the_lookup_if_that_was_later() {
    all(&[(
        "looked up after the last poll",
        r#"{"jitter":0,"refresh_ahead":1,"allow_ttl":"1s","stale_if_error":"5s"},"feed":{}"#,
        &[
            (0, "feed polls", "after "),
            (1, "feed gets any, cursor 1", "any"),
            (5_000, "A asks", "asks"),
            (5_000, "A gets active", "A: active lookup"),
            (9_999, "B asks in vain", "active stale"),
            (11_000, "C asks in vain", "nothing"),
        ],
    )]);
}

#[test]
fn a_stale_feed_brings_refreshes_forward() {
    all(&[(
        "never polled: at 48 s of 60 s",
        r#"{"jitter":0,"refresh_ahead":0.8,"allow_ttl":"1h"},"feed":{}"#,
        &[
            (0, "A asks", "asks"),
            (0, "A gets active", "A: active lookup"),
            (47_999, "B asks", "active cache"),
            (48_000, "C asks", "active cache, refresh"),
        ],
    )]);
}
