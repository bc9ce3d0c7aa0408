//! Verdicts with a change feed.

use super::*;

#[test]
fn a_changed_key_is_looked_up_again() {
    all(&[
        (
            "revoked within the TTL",
            FEED,
            &[
                (0, "feed polls", "after "),
                (1, "feed gets any, cursor 1", "any"),
                (10, "A asks", "asks"),
                (11, "A gets active", "A: active lookup"),
                (900, "B asks", "active cache"),
                (1_000, "feed polls", "after 1"),
                (1_001, "feed gets key, cursor 2", "changes"),
                (1_002, "C asks", "asks"),
                (1_003, "C gets revoked", "C: revoked lookup"),
                (1_004, "D asks", "revoked cache"),
            ],
        ),
        (
            "a refused key is created; other keys stay cached",
            FEED,
            &[
                (0, "feed polls", "after "),
                (1, "feed gets any, cursor 1", "any"),
                (2, "A asks about k1", "asks"),
                (2, "B asks about k2", "asks"),
                (2, "C asks about k3", "asks"),
                (3, "A gets not_found", "A: not_found lookup"),
                (3, "B gets not_found", "B: not_found lookup"),
                (3, "C gets active", "C: active lookup"),
                (1_000, "feed polls", "after 1"),
                (1_001, "feed gets k1, cursor 2", "changes"),
                (1_002, "D asks about k1", "asks"),
                (1_002, "E asks about k2", "not_found cache"),
                (1_002, "F asks about k3", "active cache"),
            ],
        ),
        (
            "after a reset, all keys are looked up again",
            FEED,
            &[
                (0, "feed polls", "after "),
                (1, "feed gets any, cursor 1", "any"),
                (2, "A asks about k1", "asks"),
                (2, "B asks about k2", "asks"),
                (3, "A gets not_found", "A: not_found lookup"),
                (3, "B gets active", "B: active lookup"),
                (1_000, "feed polls", "after 1"),
                (1_001, "feed gets any, cursor 7", "any"),
                (1_002, "C asks about k1", "asks"),
                (1_002, "D asks about k2", "asks"),
                (2_000, "feed polls", "after 7"),
            ],
        ),
        (
            "after the first answered poll, all keys are looked up again",
            FEED,
            &[
                (0, "A asks", "asks"),
                (1, "A gets active", "A: active lookup"),
                (2, "B asks", "active cache"),
                (3, "feed polls", "after "),
                // Whatever keys it lists: without a cursor, any key may have changed.
                (4, "feed gets k2, cursor 1", "any"),
                (5, "C asks", "asks"),
            ],
        ),
        (
            "a changed key has no grace",
            FEED,
            &[
                (0, "feed polls", "after "),
                (1, "feed gets any, cursor 1", "any"),
                (2, "A asks", "asks"),
                (3, "A gets active", "A: active lookup"),
                (1_000, "feed polls", "after 1"),
                (1_001, "feed gets key, cursor 2", "changes"),
                (1_002, "B asks in vain", "nothing"),
            ],
        ),
        (
            "many changes of one key",
            FEED,
            &[
                (0, "feed polls", "after "),
                (1, "feed gets any, cursor 1", "any"),
                (1_000, "feed polls", "after 1"),
                (1_001, "feed gets key key key, cursor 4", "changes"),
                (1_002, "A asks", "asks"),
            ],
        ),
    ]);
}

/// A reset must not turn an outage of lookups into refusals.
#[test]
fn after_a_reset_known_records_are_in_grace() {
    all(&[
        (
            "lookups fail or are not sent",
            FEED,
            &[
                (0, "feed polls", "after "),
                (1, "feed gets any, cursor 1", "any"),
                (2, "A asks", "asks"),
                (3, "A gets active", "A: active lookup"),
                (1_000, "feed polls", "after 1"),
                (1_001, "feed gets any, cursor 7", "any"),
                (1_002, "B asks", "asks"),
                (1_003, "C asks", "waits"),
                (1_004, "B gets nothing", "B: active stale; C: active stale"),
                (1_005, "D asks in vain", "active stale"),
                (2_005, "E asks", "asks"),
                (2_006, "E gets active", "E: active lookup"),
                (2_007, "F asks", "active cache"),
            ],
        ),
        (
            "the circuit breaker is full",
            FEED,
            &[
                (0, "feed polls", "after "),
                (1, "feed gets any, cursor 1", "any"),
                (2, "A asks", "asks"),
                (3, "A gets active", "A: active lookup"),
                (1_000, "feed polls", "after 1"),
                (1_001, "feed gets any, cursor 7", "any"),
                (1_002, "B asks in overflow", "active stale"),
                (1_003, "C asks", "asks"),
                (1_004, "C gets revoked", "C: revoked lookup"),
                (1_005, "D asks", "revoked cache"),
            ],
        ),
        (
            "at startup",
            FEED,
            &[
                (0, "A asks", "asks"),
                (1, "A gets active", "A: active lookup"),
                (3, "feed polls", "after "),
                (4, "feed gets any, cursor 1", "any"),
                (5, "B asks in vain", "active stale"),
            ],
        ),
        (
            "until the key expires",
            FEED,
            &[
                (0, "feed polls", "after "),
                (1, "feed gets any, cursor 1", "any"),
                (2, "A asks", "asks"),
                (3, "A gets active until 1500", "A: active lookup"),
                (1_000, "feed polls", "after 1"),
                (1_001, "feed gets any, cursor 7", "any"),
                (1_499, "B asks in vain", "active stale"),
                (1_500, "C asks in vain", "nothing"),
            ],
        ),
        (
            "refusals have no grace",
            FEED,
            &[
                (0, "feed polls", "after "),
                (1, "feed gets any, cursor 1", "any"),
                (2, "A asks", "asks"),
                (3, "A gets revoked", "A: revoked lookup"),
                (1_000, "feed polls", "after 1"),
                (1_001, "feed gets any, cursor 7", "any"),
                (1_002, "B asks in vain", "nothing"),
            ],
        ),
        (
            "a lookup that was in flight is sent again, in vain",
            FEED,
            &[
                (0, "feed polls", "after "),
                (1, "feed gets any, cursor 1", "any"),
                (2, "A asks", "asks"),
                (3, "A gets active", "A: active lookup"),
                (1_000, "feed polls", "after 1"),
                (1_001, "feed gets any, cursor 7", "any"),
                (1_002, "B asks", "asks"),
                (1_900, "feed polls", "not yet"),
                (2_000, "feed polls", "after 7"),
                (2_001, "feed gets any, cursor 8", "any"),
                (2_002, "B gets revoked", "again"),
                (2_003, "B gets nothing", "B: active stale"),
            ],
        ),
    ]);
}

/// Each reset counts from the last poll before it, however long ago the record was looked up.
#[test]
fn grace_after_a_reset_counts_from_the_last_poll() {
    let cache =
        r#"{"jitter":0,"refresh_ahead":1,"allow_ttl":"1h","stale_if_error":"2s"},"feed":{}"#;
    all(&[(
        "a record of which the feed has said nothing for a minute",
        cache,
        &[
            (0, "feed polls", "after "),
            (1, "feed gets any, cursor 1", "any"),
            (2, "A asks", "asks"),
            (3, "A gets active", "A: active lookup"),
            (60_000, "feed polls", "after 1"),
            (60_001, "feed gets current", "current"),
            (61_000, "feed polls", "after 1"),
            (61_001, "feed gets any, cursor 2", "any"),
            (61_002, "B asks in vain", "active stale"),
            (61_999, "C asks in vain", "active stale"),
            (62_000, "D asks in vain", "nothing"),
        ],
    )]);
}

#[test]
fn an_uncached_lookup_corrects_the_cache() {
    all(&[
        (
            "the lookup returns revoked",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active", "A: active lookup"),
                (1, "uncached active", ""),
                (2, "B asks", "active cache"),
                (3, "uncached nothing", ""),
                (4, "C asks", "active cache"),
                (5, "uncached revoked", ""),
                (6, "D asks", "asks"),
            ],
        ),
        (
            "the lookup returns active",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (0, "A gets not_found", "A: not_found lookup"),
                (1, "uncached not_found", ""),
                (2, "B asks", "not_found cache"),
                (3, "uncached active", ""),
                (4, "C asks", "asks"),
            ],
        ),
    ]);
}

#[test]
fn an_uncached_lookup_outdates_one_in_flight() {
    all(&[(
        "the answer to the refresh may be older",
        r#"{"jitter":0,"refresh_ahead":0.5,"allow_ttl":"10s"}"#,
        &[
            (0, "A asks", "asks"),
            (0, "A gets active", "A: active lookup"),
            (9_000, "B asks", "active cache, refresh"),
            (9_002, "uncached revoked", ""),
            (9_003, "refresh gets active", ""),
            (9_004, "C asks", "asks"),
        ],
    )]);
}
