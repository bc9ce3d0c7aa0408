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
            "a reset clears both pools",
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
            "the first answered poll clears the cache",
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
