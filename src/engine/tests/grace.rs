//! Known records in an outage.

use super::*;

#[test]
fn active_records_are_used_in_an_outage() {
    all(&[
        (
            "fresh, then in grace, then no verdict",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active", "A: active lookup"),
                (59_999, "B asks", "active cache"),
                (60_000, "C asks", "asks"),
                (60_250, "C gets nothing", "C: active stale"),
                (60_251, "D asks", "active stale"),
                (599_998, "E asks", "asks"),
                (599_999, "E gets nothing", "E: active stale"),
                // Grace ends ten minutes after the last good verdict.
                (600_000, "F asks", "asks"),
                (600_000, "F gets nothing", "F: nothing"),
            ],
        ),
        (
            "one lookup a second until the outage is over",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active", "A: active lookup"),
                (60_000, "B asks", "asks"),
                (60_250, "B gets nothing", "B: active stale"),
                (61_249, "C asks", "active stale"),
                (61_250, "D asks", "asks"),
                // Others need not wait for D's lookup.
                (61_251, "E asks", "active stale"),
                (61_500, "D gets nothing", "D: active stale"),
                (62_499, "F asks", "active stale"),
                (62_500, "G asks in vain", "active stale"),
                (63_499, "H asks", "active stale"),
                (63_500, "I asks", "asks"),
                (63_501, "I gets revoked", "I: revoked lookup"),
                (63_502, "J asks", "revoked cache"),
            ],
        ),
        (
            "a failure two seconds ago is no longer an outage: others wait",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active", "A: active lookup"),
                (60_000, "B asks in vain", "active stale"),
                (62_000, "C asks", "asks"),
                (62_001, "D asks", "waits"),
                (
                    62_002,
                    "C gets not_found",
                    "C: not_found lookup; D: not_found coalesced",
                ),
            ],
        ),
        (
            "requests wait for the first lookup after the TTL",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active", "A: active lookup"),
                (60_000, "B asks", "asks"),
                (60_001, "C asks", "waits"),
                (60_250, "B gets nothing", "B: active stale; C: active stale"),
            ],
        ),
        (
            "grace starts again with an active verdict",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active", "A: active lookup"),
                (599_000, "B asks", "asks"),
                (599_000, "B gets active", "B: active lookup"),
                (1_198_999, "C asks", "asks"),
                (1_198_999, "C gets nothing", "C: active stale"),
                (1_199_000, "D asks in vain", "nothing"),
            ],
        ),
        (
            "off",
            r#"{"jitter":0,"refresh_ahead":1,"stale_if_error":"0s"}"#,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active", "A: active lookup"),
                (59_999, "B asks", "active cache"),
                (60_000, "C asks", "asks"),
                (60_000, "C gets nothing", "C: nothing"),
            ],
        ),
        (
            "shorter than the TTL: a fresh verdict is still used",
            r#"{"jitter":0,"refresh_ahead":1,"stale_if_error":"10s"}"#,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active", "A: active lookup"),
                (59_999, "B asks", "active cache"),
                (60_000, "C asks in vain", "nothing"),
            ],
        ),
    ]);
}

/// If clients leave before their lookup's timeout, no other lookup is sent, and the outage is noted
/// all the same.
#[test]
fn grace_does_not_depend_on_clients_that_wait() {
    all(&[(
        "the third request is served in grace",
        EXACT,
        &[
            (0, "A asks", "asks"),
            (0, "A gets active", "A: active lookup"),
            (60_000, "B asks", "asks"),
            (60_100, "B leaves", ""),
            (60_150, "C asks", "waits"),
            (60_240, "C leaves", ""),
            (60_250, "B gets nothing", ""),
            (60_251, "D asks", "active stale"),
            (61_249, "E asks", "active stale"),
            (61_250, "F asks", "asks"),
            (61_300, "F leaves", ""),
            (61_400, "G asks", "active stale"),
        ],
    )]);
}

#[test]
fn only_active_records_have_grace() {
    all(&[
        (
            "not for denials",
            EXACT,
            &[
                (0, "A asks about k1", "asks"),
                (0, "A gets not_found", "A: not_found lookup"),
                (0, "B asks about k2", "asks"),
                (0, "B gets revoked", "B: revoked lookup"),
                (5_000, "C asks about k1", "asks"),
                (5_000, "C gets nothing", "C: nothing"),
                (300_000, "D asks about k2", "asks"),
                (300_000, "D gets nothing", "D: nothing"),
            ],
        ),
        (
            "not for a key that has been revoked or deleted",
            r#"{"jitter":0,"revoked_ttl":"0s","not_found_ttl":"0s"}"#,
            &[
                (0, "A asks about k1", "asks"),
                (0, "A gets active", "A: active lookup"),
                (0, "B asks about k2", "asks"),
                (0, "B gets active", "B: active lookup"),
                (60_000, "C asks about k1", "asks"),
                (60_000, "C gets revoked", "C: revoked lookup"),
                (60_000, "D asks about k2", "asks"),
                (60_000, "D gets not_found", "D: not_found lookup"),
                (60_001, "E asks about k1", "asks"),
                (60_001, "E gets nothing", "E: nothing"),
                (60_001, "F asks about k2", "asks"),
                (60_001, "F gets nothing", "F: nothing"),
            ],
        ),
        (
            "not for an expired key",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active until 90000", "A: active lookup"),
                (89_999, "B asks in vain", "active stale"),
                (90_000, "C asks", "asks"),
                (90_000, "C gets nothing", "C: nothing"),
            ],
        ),
        (
            "not for a key of another environment",
            EXACT,
            &[
                (0, "A asks about k1", "asks"),
                (0, "A gets active in staging", "A: not_found lookup"),
                (0, "B asks about k2", "asks"),
                (0, "B gets revoked in staging", "B: not_found lookup"),
                (0, "E asks about k3", "asks"),
                (0, "E gets active large staging", "E: not_found lookup"),
                (4_999, "C asks about k1", "not_found cache"),
                (4_999, "D asks about k2", "not_found cache"),
                (4_999, "E asks about k3", "not_found cache"),
                (5_000, "C asks about k1", "asks"),
                (5_000, "C gets nothing", "C: nothing"),
                (5_000, "D asks about k2", "asks"),
                (5_000, "D gets nothing", "D: nothing"),
            ],
        ),
    ]);
}
