//! Verdicts under a change feed.

use super::*;

/// An hour is the allow TTL, the feed is stale after 10 s, and allows count 60 s then.
const FEED: &str = r#"{"jitter":0,"refresh_ahead":1,"allow_ttl":"1h"},"feed":{}"#;

/// Of 100 changes.
const LONG_PAGE: &str = "feed gets \
    x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x \
    x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x, \
    cursor 101";

#[test]
fn a_change_is_known_at_once() {
    all(&[
        (
            "revoked, whatever the TTL",
            FEED,
            &[
                (0, "feed polls", "after "),
                (1, "feed gets any, cursor 1", "any"),
                (10, "A asks", "asks"),
                (11, "A gets active", "A: active lookup"),
                (900, "B asks", "active cache"),
                (1_000, "feed polls", "after 1"),
                (1_001, "feed gets key, cursor 2", "1 changed"),
                (1_002, "C asks", "asks"),
                (1_003, "C gets revoked", "C: revoked lookup"),
                (1_004, "D asks", "revoked cache"),
            ],
        ),
        (
            "created after it was refused, others are left alone",
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
                (1_001, "feed gets k1, cursor 2", "1 changed"),
                (1_002, "D asks about k1", "asks"),
                (1_002, "E asks about k2", "not_found cache"),
                (1_002, "F asks about k3", "active cache"),
            ],
        ),
        (
            "a reset forgets all, in both pools",
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
            "what was looked up before the first poll was answered is forgotten",
            FEED,
            &[
                (0, "A asks", "asks"),
                (1, "A gets active", "A: active lookup"),
                (2, "B asks", "active cache"),
                (3, "feed polls", "after "),
                // Whatever it says: nobody asked about what was before.
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
                (1_001, "feed gets key, cursor 2", "1 changed"),
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
                (1_001, "feed gets key key key, cursor 4", "3 changed"),
                (1_002, "A asks", "asks"),
            ],
        ),
    ]);
}

#[test]
fn an_answer_from_before_a_change_does_not_count() {
    all(&[
        (
            "those who wait get one from after it",
            FEED,
            &[
                (0, "feed polls", "after "),
                (1, "feed gets any, cursor 1", "any"),
                (900, "A asks", "asks"),
                (910, "B asks", "waits"),
                (1_000, "feed polls", "after 1"),
                (1_001, "feed gets key, cursor 2", "1 changed"),
                (1_002, "C asks", "waits"),
                (1_003, "A gets active", "too late"),
                (1_003, "D asks", "waits"),
                (1_004, "root asks", "1 callouts"),
                (
                    1_005,
                    "root gets revoked",
                    "A: revoked coalesced; B: revoked coalesced; C: revoked coalesced; \
                     D: revoked coalesced",
                ),
                (1_006, "E asks", "revoked cache"),
            ],
        ),
        (
            "the same at a reset",
            FEED,
            &[
                (0, "feed polls", "after "),
                (1, "feed gets any, cursor 1", "any"),
                (900, "A asks", "asks"),
                (1_000, "feed polls", "after 1"),
                (1_001, "feed gets any, cursor 2", "any"),
                (1_003, "A gets not_found", "too late"),
                (1_004, "root asks", "1 callouts"),
                (1_005, "root gets active", "A: active coalesced"),
                (1_006, "B asks", "active cache"),
            ],
        ),
        (
            "where nobody waits, it is dropped",
            r#"{"jitter":0,"refresh_ahead":0.5,"allow_ttl":"1s"},"feed":{}"#,
            &[
                (0, "feed polls", "after "),
                (1, "feed gets any, cursor 1", "any"),
                (2, "A asks", "asks"),
                (2, "A gets active", "A: active lookup"),
                (900, "B asks", "active cache, refresh"),
                (901, "root asks", "1 callouts"),
                (1_000, "feed polls", "after 1"),
                (1_001, "feed gets key, cursor 2", "1 changed"),
                (1_002, "root gets active", ""),
                (1_003, "C asks", "asks"),
            ],
        ),
        (
            "a lookup that is only to be made is of after it",
            FEED,
            &[
                (0, "feed polls", "after "),
                (1, "feed gets any, cursor 1", "any"),
                (900, "A asks", "asks"),
                (910, "B asks", "waits"),
                (920, "A leaves", "an answer is lost"),
                (1_000, "feed polls", "after 1"),
                (1_001, "feed gets key, cursor 2", "1 changed"),
                (1_002, "root asks", "1 callouts"),
                (1_003, "root gets active", "B: active coalesced"),
                (1_004, "C asks", "active cache"),
            ],
        ),
        (
            "a failure is one in any case",
            FEED,
            &[
                (0, "feed polls", "after "),
                (1, "feed gets any, cursor 1", "any"),
                (900, "A asks", "asks"),
                (1_000, "feed polls", "after 1"),
                (1_001, "feed gets key, cursor 2", "1 changed"),
                (1_003, "A gets nothing", "A: nothing"),
            ],
        ),
        (
            "they wait anew, once",
            FEED,
            &[
                (0, "feed polls", "after "),
                (1, "feed gets any, cursor 1", "any"),
                (900, "A asks", "asks"),
                (1_000, "feed polls", "after 1"),
                (1_001, "feed gets key, cursor 2", "1 changed"),
                (1_003, "A gets active", "too late"),
                (1_004, "root asks", "1 callouts"),
                (1_252, "tick", ""),
                (1_253, "tick", "A: nothing"),
            ],
        ),
        (
            "and not a third time",
            r#"{"jitter":0},"feed":{"interval":"100ms"}"#,
            &[
                (0, "feed polls", "after "),
                (1, "feed gets any, cursor 1", "any"),
                (90, "A asks", "asks"),
                (100, "feed polls", "after 1"),
                (101, "feed gets key, cursor 2", "1 changed"),
                (150, "A gets active", "too late"),
                (151, "root asks", "1 callouts"),
                (152, "B asks", "waits"),
                (200, "feed polls", "after 2"),
                (201, "feed gets key, cursor 3", "1 changed"),
                (300, "root gets active", "too late"),
                (301, "root asks", "1 callouts"),
                (399, "tick", ""),
                (400, "tick", "A: nothing"),
                (401, "root gets revoked", "B: revoked coalesced"),
            ],
        ),
        (
            "whoever leaves then is no leader any more",
            FEED,
            &[
                (0, "feed polls", "after "),
                (1, "feed gets any, cursor 1", "any"),
                (900, "A asks", "asks"),
                (910, "B asks", "waits"),
                (1_000, "feed polls", "after 1"),
                (1_001, "feed gets key, cursor 2", "1 changed"),
                (1_003, "A gets active", "too late"),
                (1_003, "A leaves", ""),
                (1_004, "root asks", "1 callouts"),
                (1_005, "root gets active", "B: active coalesced"),
            ],
        ),
        (
            "another key's change is nothing to it",
            FEED,
            &[
                (0, "feed polls", "after "),
                (1, "feed gets any, cursor 1", "any"),
                (900, "A asks", "asks"),
                (1_000, "feed polls", "after 1"),
                (1_001, "feed gets k2, cursor 2", "1 changed"),
                (1_003, "A gets active", "A: active lookup"),
                (1_004, "B asks", "active cache"),
            ],
        ),
    ]);
}

/// Requests that were asked for again count among those that wait, once.
#[test]
fn asking_again_keeps_the_count_of_those_who_wait() {
    let mut scene = Scene::new(FEED);
    let rounds = MAX_WAITING + 10;
    for _ in 0..rounds {
        scene.happens(900, "A asks");
        scene.verdicts.forget(&hash("key"));
        assert_eq!(scene.happens(901, "A gets active"), "too late");
        assert_eq!(scene.happens(902, "root asks"), "1 callouts");
        assert_eq!(
            scene.happens(903, "root gets active"),
            "A: active coalesced"
        );
        scene.verdicts.forget(&hash("key"));
    }
    scene.happens(910, "A asks");
    assert_eq!(scene.happens(911, "B asks"), "waits");
}

#[test]
fn a_stale_feed_shortens_allows_alone() {
    all(&[
        (
            "never polled: as stale as can be",
            FEED,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active", "A: active lookup"),
                (59_999, "B asks", "active cache"),
                (60_000, "C asks", "asks"),
            ],
        ),
        (
            "silent: for as long as before until it is stale, then by the shorter time",
            FEED,
            &[
                (0, "feed polls", "after "),
                (1, "feed gets any, cursor 1", "any"),
                (10, "A asks about k1", "asks"),
                (10, "A gets active", "A: active lookup"),
                (1_000, "feed polls", "after 1"),
                (1_001, "feed gets current", "0 changed"),
                (100_000, "feed polls", "after 1"),
                (100_001, "feed gets current", "0 changed"),
                (100_900, "D asks about k2", "asks"),
                (100_900, "D gets active", "D: active lookup"),
                (101_000, "feed polls", "after 1"),
                (101_001, "feed fails", "nobody knows, at last"),
                (102_000, "feed polls", "after 1"),
                (102_001, "feed fails", "nobody knows"),
                // From when the last poll that was answered was made.
                (109_999, "B asks about k1", "active cache"),
                (110_000, "C asks about k1", "asks"),
                (110_000, "C gets active", "C: active lookup"),
                (110_000, "E asks about k2", "active cache"),
                (160_899, "F asks about k2", "active cache"),
                (160_900, "G asks about k2", "asks"),
                (170_000, "feed polls", "after 1"),
                (170_001, "feed gets current", "0 changed, at last"),
                // Nothing has changed meanwhile, so its own time counts again.
                (170_002, "H asks about k1", "active cache"),
            ],
        ),
        (
            "other verdicts have their own times",
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
            "a page with more behind it does not freshen the feed",
            r#"{"jitter":0,"refresh_ahead":1,"allow_ttl":"1h"},"feed":{"allow_ttl_when_stale":"0s"}"#,
            &[
                (0, "feed polls", "after "),
                (1, "feed gets any, cursor 1", "any"),
                (2, "A asks", "asks"),
                (2, "A gets active", "A: active lookup"),
                (9_000, "feed polls", "after 1"),
                (9_001, LONG_PAGE, "100 changed"),
                (9_999, "B asks", "active cache"),
                (10_000, "C asks", "asks"),
                (10_001, "feed polls", "after 101"),
                (10_002, "feed gets current", "0 changed"),
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
            (1_000_001, "feed gets current", "0 changed"),
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
fn a_poll_is_made_in_its_time() {
    all(&[
        (
            "one at a time",
            FEED,
            &[
                (0, "feed polls", "after "),
                (1, "feed polls", "not yet"),
                (999, "feed polls", "not yet"),
                (1_100, "feed gets any, cursor 1", "any"),
                (1_100, "feed polls", "after 1"),
                (1_101, "feed gets current", "0 changed"),
                (2_099, "feed polls", "not yet"),
                (2_100, "feed polls", "after 1"),
            ],
        ),
        (
            "a long page is followed at once",
            FEED,
            &[
                (0, "feed polls", "after "),
                (1, "feed gets any, cursor 1", "any"),
                (1_000, "feed polls", "after 1"),
                (1_001, LONG_PAGE, "100 changed"),
                (1_001, "feed polls", "after 101"),
                (1_002, "feed gets k, cursor 102", "1 changed"),
                (1_003, "feed polls", "not yet"),
                (2_001, "feed polls", "after 102"),
            ],
        ),
        (
            "one that the proxy forgot",
            FEED,
            &[
                (0, "feed polls", "after "),
                (2_999, "feed polls", "not yet"),
                (3_000, "feed polls", "after "),
            ],
        ),
        (
            "no cursor, no news: nobody knows",
            FEED,
            &[
                (0, "feed polls", "after "),
                (1, "feed gets current", "nobody knows, at last"),
                (1_000, "feed polls", "after "),
                (1_001, "feed gets any, cursor 1", "any, at last"),
                (2_000, "feed polls", "after 1"),
                (2_001, "feed gets current", "0 changed"),
            ],
        ),
        (
            "any text is a cursor",
            FEED,
            &[
                (0, "feed polls", "after "),
                (1, "feed gets any, cursor a b&c=%/+#é~.-_", "any"),
                (
                    1_000,
                    "feed polls",
                    "after a%20b%26c%3D%25%2F%2B%23%C3%A9~.-_",
                ),
            ],
        ),
    ]);
}

#[test]
fn a_lookup_beside_the_others_corrects_the_cache() {
    all(&[
        (
            "revoked, says the lookup",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active", "A: active lookup"),
                (1, "live active", ""),
                (2, "B asks", "active cache"),
                (3, "live nothing", ""),
                (4, "C asks", "active cache"),
                (5, "live revoked", ""),
                (6, "D asks", "asks"),
            ],
        ),
        (
            "active, says the lookup",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (0, "A gets not_found", "A: not_found lookup"),
                (1, "live not_found", ""),
                (2, "B asks", "not_found cache"),
                (3, "live active", ""),
                (4, "C asks", "asks"),
            ],
        ),
    ]);
}

/// Whoever asks again is counted among those who wait, so that as many may wait as ever.
#[test]
fn asking_again_makes_no_room_for_more() {
    const OTHERS: [&str; 5] = ["k1", "k2", "k3", "k4", "k5"];
    let mut scene = Scene::new(FEED);
    for key in OTHERS {
        scene.happens(900, &format!("A asks about {key}"));
    }
    let asks = |scene: &mut Scene, number: usize| {
        let key = OTHERS[number % OTHERS.len()];
        scene.happens(900, &format!("B asks about {key}"))
    };
    for number in 0..100 {
        assert_eq!(asks(&mut scene, number), "waits");
    }
    for _ in 0..50 {
        scene.happens(901, "C asks");
        scene.verdicts.forget(&hash("key"));
        assert_eq!(scene.happens(901, "C gets active"), "too late");
        scene.happens(901, "root asks");
        scene.happens(901, "root gets active");
        scene.verdicts.forget(&hash("key"));
    }
    for number in 100..MAX_WAITING {
        assert_eq!(asks(&mut scene, number), "waits", "{number}");
    }
    assert!(asks(&mut scene, MAX_WAITING).contains("too many"));
}

#[test]
fn grace_counts_from_the_lookup_where_that_was_later() {
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
        "never polled: 60 s are all there is, and 48 s the share of them",
        r#"{"jitter":0,"refresh_ahead":0.8,"allow_ttl":"1h"},"feed":{}"#,
        &[
            (0, "A asks", "asks"),
            (0, "A gets active", "A: active lookup"),
            (47_999, "B asks", "active cache"),
            (48_000, "C asks", "active cache, refresh"),
        ],
    )]);
}

#[test]
fn a_failed_poll_is_made_again_in_its_time() {
    all(&[(
        "not sooner than any other",
        FEED,
        &[
            (0, "feed polls", "after "),
            (1, "feed fails", "nobody knows, at last"),
            (2, "feed polls", "not yet"),
            (999, "feed polls", "not yet"),
            (1_000, "feed polls", "after "),
        ],
    )]);
}

#[test]
fn a_lookup_beside_the_others_taints_one_under_way() {
    all(&[(
        "the refresh may have been answered before",
        r#"{"jitter":0,"refresh_ahead":0.5,"allow_ttl":"10s"}"#,
        &[
            (0, "A asks", "asks"),
            (0, "A gets active", "A: active lookup"),
            (9_000, "B asks", "active cache, refresh"),
            (9_001, "root asks", "1 callouts"),
            (9_002, "live revoked", ""),
            (9_003, "root gets active", ""),
            (9_004, "C asks", "asks"),
        ],
    )]);
}

#[test]
fn the_root_context_runs_in_time() {
    let mut scene = Scene::new(FEED);
    scene.happens(0, "feed polls");
    scene.happens(1, "feed gets any, cursor 1");
    // Without the jitter, for which the number is 0 here.
    assert_eq!(scene.verdicts.next_deadline(), Some(at(1_000).steady));
    scene.happens(1_000, "feed polls");
    // When it is given up, as the proxy forgot it.
    assert_eq!(scene.verdicts.next_deadline(), Some(at(4_000).steady));

    let mut scene = Scene::new(EXACT);
    scene.happens(900, "A asks");
    scene.verdicts.forget(&hash("key"));
    assert_eq!(scene.happens(901, "A gets active"), "too late");
    assert_eq!(scene.happens(902, "root asks"), "1 callouts");
    assert_eq!(scene.verdicts.next_deadline(), Some(at(1_151).steady));
}

/// A feed that does not look at the cursor gives the same page again and again.
#[test]
fn the_same_page_again_is_no_reason_to_hurry() {
    let mut scene = Scene::new(FEED);
    scene.happens(0, "feed polls");
    scene.happens(1, "feed gets any, cursor 101");
    let mut polls = 0;
    for ms in 1_000..2_000 {
        if scene.happens(ms, "feed polls") == "after 101" {
            polls += 1;
            scene.happens(ms, LONG_PAGE);
        }
    }
    assert!(polls <= 2, "{polls} polls in a second");
}
