//! Lookups that are not sent: a full circuit breaker is not an outage.

use super::*;

/// Without a feed, a stale record is used for 60 s if the circuit breaker is full.
#[test]
fn a_full_circuit_breaker_shortens_grace() {
    all(&[
        (
            "Envoy reports it when the lookup is sent",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (1, "A gets active", "A: active lookup"),
                (60_000, "B asks in overflow", "active stale"),
                (119_999, "C asks in overflow", "active stale"),
                (120_000, "D asks in overflow", "nothing"),
                // Each request tries again: there may be room.
                (120_001, "E asks", "asks"),
                (120_002, "E gets active", "E: active lookup"),
            ],
        ),
        (
            "Envoy reports it in the answer",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (1, "A gets active", "A: active lookup"),
                (119_000, "B asks", "asks"),
                (119_001, "C asks", "waits"),
                (
                    119_999,
                    "B gets overflow",
                    "B: active stale; C: active stale",
                ),
                (120_000, "D asks", "asks"),
                (120_001, "D gets overflow", "D: nothing"),
            ],
        ),
        (
            "in an outage, grace is longer",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (1, "A gets active", "A: active lookup"),
                (120_000, "B asks", "asks"),
                (120_001, "B gets nothing", "B: active stale"),
                (122_000, "C asks in vain", "active stale"),
                (599_000, "D asks in vain", "active stale"),
                (600_000, "E asks in vain", "nothing"),
            ],
        ),
        (
            "a fresh verdict needs no lookup",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (1, "A gets active", "A: active lookup"),
                (59_999, "B asks in overflow", "active cache"),
            ],
        ),
        (
            "no record in grace",
            EXACT,
            &[
                (0, "A asks in overflow", "nothing"),
                (1, "B asks", "asks"),
                (2, "B gets revoked", "B: revoked lookup"),
                (300_001, "C asks in overflow", "nothing"),
            ],
        ),
        (
            "a shorter configured grace is not extended",
            r#"{"jitter":0,"refresh_ahead":1,"stale_if_error":"61s"}"#,
            &[
                (0, "A asks", "asks"),
                (1, "A gets active", "A: active lookup"),
                (60_999, "B asks in overflow", "active stale"),
                (61_000, "C asks in overflow", "nothing"),
            ],
        ),
        (
            "an expired key is not used",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (1, "A gets active until 70000", "A: active lookup"),
                (69_999, "B asks in overflow", "active stale"),
                (70_000, "C asks in overflow", "nothing"),
            ],
        ),
    ]);
}

/// If Envoy does not say why it has not sent a lookup, other lookups show the reason.
#[test]
fn a_full_circuit_breaker_is_distinguished_from_an_outage() {
    all(&[
        (
            "a lookup was answered less than 5 s ago: it is full",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (1, "A gets active", "A: active lookup"),
                (200_000, "B asks about k2", "asks"),
                (200_001, "B gets not_found", "B: not_found lookup"),
                (205_000, "C asks in vain", "nothing"),
                (205_001, "D asks in vain", "active stale"),
            ],
        ),
        (
            "an uncached lookup was answered: it is full",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (1, "A gets active", "A: active lookup"),
                (200_000, "uncached active", ""),
                (204_999, "B asks in vain", "nothing"),
                (205_000, "C asks in vain", "active stale"),
            ],
        ),
        (
            "another lookup is in flight: it is full",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (1, "A gets active", "A: active lookup"),
                (200_000, "B asks about k2", "asks"),
                (200_100, "C asks in vain", "nothing"),
                (200_200, "B gets nothing", "B: nothing"),
                (200_201, "D asks in vain", "active stale"),
            ],
        ),
        (
            "lookups in flight have failed: it is an outage",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (1, "A gets active", "A: active lookup"),
                (200_000, "B asks about k2", "asks"),
                (200_001, "C asks about k3", "asks"),
                (200_250, "B gets nothing", "B: nothing"),
                (200_251, "D asks in vain", "active stale"),
            ],
        ),
        (
            "a lookup failed soon after another was answered: it is full",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (1, "A gets active", "A: active lookup"),
                (200_000, "B asks about k2", "asks"),
                (200_001, "C asks about k3", "asks"),
                (200_002, "B gets not_found", "B: not_found lookup"),
                (200_003, "C gets nothing", "C: nothing"),
                (200_004, "D asks in vain", "nothing"),
            ],
        ),
        (
            "a refresh that could not be sent is not in flight",
            r#"{"jitter":0}"#,
            &[
                (0, "A asks", "asks"),
                (1, "A gets active", "A: active lookup"),
                (50_000, "B asks", "active cache, refresh"),
                (200_000, "C asks about k2", "asks"),
                (200_001, "C gets nothing", "C: nothing"),
            ],
        ),
        (
            "no other lookup is in flight: it is an outage",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (1, "A gets active", "A: active lookup"),
                (200_000, "B asks in vain", "active stale"),
            ],
        ),
    ]);
}

/// With a feed, `allow_ttl_when_stale` replaces the 60 s.
#[test]
fn the_feed_sets_the_grace_of_a_full_circuit_breaker() {
    let feed = |more: &str| {
        let cache = r#"{"jitter":0,"refresh_ahead":1,"allow_ttl":"5m"}"#;
        format!(
            r#"{cache},"feed":{{"allow_ttl_when_stale":"20s","interval":"60s","stale_after":"10m"{more}}}"#
        )
    };
    let rows: Rows<'_> = &[
        (0, "feed polls", "after "),
        (1, "feed gets any, cursor 1", "any"),
        (2, "A asks", "asks"),
        (3, "A gets active", "A: active lookup"),
        (300_001, "B asks in overflow", "active cache"),
        (300_002, "C asks in overflow", "active stale"),
        (320_001, "D asks in overflow", "active stale"),
        (320_002, "E asks in overflow", "nothing"),
        // Polls go to the cluster of the lookups, so it has hosts.
        (330_000, "feed polls", "after 1"),
        (330_001, "feed gets current", "current"),
        (335_000, "F asks in vain", "nothing"),
        (335_001, "G asks in vain", "active stale"),
    ];
    play("the same cluster", &feed(""), rows);
    let rows = [
        &rows[..rows.len() - 2],
        &[(335_000, "F asks in vain", "active stale")],
    ]
    .concat();
    play("a cluster of its own", &feed(r#","cluster":"feed""#), &rows);
}

/// Once the feed is stale, verdicts and their grace end sooner.
#[test]
fn a_stale_feed_and_a_full_circuit_breaker_end_a_revoked_key() {
    let cache = r#"{"jitter":0,"refresh_ahead":1,"allow_ttl":"1h"},"feed":{}"#;
    play(
        "a flood that fills both",
        cache,
        &[
            (0, "feed polls", "after "),
            (1, "feed gets any, cursor 1", "any"),
            (2, "A asks", "asks"),
            (3, "A gets active", "A: active lookup"),
            (100_000, "feed polls", "after 1"),
            (100_001, "feed gets current", "current"),
            // Revoked from here on.
            (109_999, "B asks in overflow", "active cache"),
            (110_000, "C asks in overflow", "active stale"),
            (159_999, "D asks in overflow", "active stale"),
            (160_000, "E asks in overflow", "nothing"),
        ],
    );
}
