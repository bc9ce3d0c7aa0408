//! Answers that predate a change.

use super::*;
use crate::engine::inflight::MAX_WAITING;

#[test]
fn an_answer_that_predates_a_change_is_discarded() {
    all(&[
        (
            "waiting requests get an answer from after the change",
            FEED,
            &[
                (0, "feed polls", "after "),
                (1, "feed gets any, cursor 1", "any"),
                (900, "A asks", "asks"),
                (910, "B asks", "waits"),
                (1_000, "feed polls", "after 1"),
                (1_001, "feed gets key, cursor 2", "changes"),
                (1_002, "C asks", "waits"),
                (1_003, "A gets active", "again"),
                (1_003, "D asks", "waits"),
                (
                    1_005,
                    "A gets revoked",
                    "A: revoked lookup; B: revoked coalesced; C: revoked coalesced; \
                     D: revoked coalesced",
                ),
                (1_006, "E asks", "revoked cache"),
            ],
        ),
        (
            "at a reset",
            FEED,
            &[
                (0, "feed polls", "after "),
                (1, "feed gets any, cursor 1", "any"),
                (900, "A asks", "asks"),
                (1_000, "feed polls", "after 1"),
                (1_001, "feed gets any, cursor 2", "any"),
                (1_003, "A gets not_found", "again"),
                (1_005, "A gets active", "A: active lookup"),
                (1_006, "B asks", "active cache"),
            ],
        ),
        (
            "without waiting requests, the answer is discarded",
            r#"{"jitter":0,"refresh_ahead":0.5,"allow_ttl":"1s"},"feed":{}"#,
            &[
                (0, "feed polls", "after "),
                (1, "feed gets any, cursor 1", "any"),
                (2, "A asks", "asks"),
                (2, "A gets active", "A: active lookup"),
                (900, "B asks", "active cache, refresh"),
                (1_000, "feed polls", "after 1"),
                (1_001, "feed gets key, cursor 2", "changes"),
                (1_002, "refresh gets active", ""),
                (1_003, "C asks", "asks"),
            ],
        ),
        (
            "the client that started the lookup has left",
            FEED,
            &[
                (0, "feed polls", "after "),
                (1, "feed gets any, cursor 1", "any"),
                (900, "A asks", "asks"),
                (910, "B asks", "waits"),
                (920, "A leaves", ""),
                (1_000, "feed polls", "after 1"),
                (1_001, "feed gets key, cursor 2", "changes"),
                (1_002, "A gets active", "again"),
                (1_003, "A gets active", "B: active coalesced"),
                (1_004, "C asks", "active cache"),
            ],
        ),
        (
            "all clients have left: the answer is discarded",
            FEED,
            &[
                (0, "feed polls", "after "),
                (1, "feed gets any, cursor 1", "any"),
                (900, "A asks", "asks"),
                (920, "A leaves", ""),
                (1_000, "feed polls", "after 1"),
                (1_001, "feed gets key, cursor 2", "changes"),
                (1_002, "A gets active", ""),
                (1_003, "B asks", "asks"),
            ],
        ),
        (
            "a failure does not cause a second lookup",
            FEED,
            &[
                (0, "feed polls", "after "),
                (1, "feed gets any, cursor 1", "any"),
                (900, "A asks", "asks"),
                (1_000, "feed polls", "after 1"),
                (1_001, "feed gets key, cursor 2", "changes"),
                (1_003, "A gets nothing", "A: nothing"),
            ],
        ),
        (
            "requests wait again, once",
            FEED,
            &[
                (0, "feed polls", "after "),
                (1, "feed gets any, cursor 1", "any"),
                (900, "A asks", "asks"),
                (1_000, "feed polls", "after 1"),
                (1_001, "feed gets key, cursor 2", "changes"),
                (1_003, "A gets active", "again"),
                (1_252, "tick", ""),
                (1_253, "tick", "A: nothing"),
                (1_254, "A gets active", ""),
                (1_255, "B asks", "active cache"),
            ],
        ),
        (
            "requests do not wait a third time",
            r#"{"jitter":0},"feed":{"interval":"100ms"}"#,
            &[
                (0, "feed polls", "after "),
                (1, "feed gets any, cursor 1", "any"),
                (90, "A asks", "asks"),
                (100, "feed polls", "after 1"),
                (101, "feed gets key, cursor 2", "changes"),
                (150, "A gets active", "again"),
                (152, "B asks", "waits"),
                (200, "feed polls", "after 2"),
                (201, "feed gets key, cursor 3", "changes"),
                (300, "A gets active", "again"),
                (399, "tick", ""),
                (400, "tick", "A: nothing"),
                (401, "A gets revoked", "B: revoked coalesced"),
            ],
        ),
        (
            "the client that started the lookup leaves after it was sent again",
            FEED,
            &[
                (0, "feed polls", "after "),
                (1, "feed gets any, cursor 1", "any"),
                (900, "A asks", "asks"),
                (910, "B asks", "waits"),
                (1_000, "feed polls", "after 1"),
                (1_001, "feed gets key, cursor 2", "changes"),
                (1_003, "A gets active", "again"),
                (1_003, "A leaves", ""),
                (1_005, "A gets active", "B: active coalesced"),
            ],
        ),
        (
            "another key changes",
            FEED,
            &[
                (0, "feed polls", "after "),
                (1, "feed gets any, cursor 1", "any"),
                (900, "A asks", "asks"),
                (1_000, "feed polls", "after 1"),
                (1_001, "feed gets k2, cursor 2", "changes"),
                (1_003, "A gets active", "A: active lookup"),
                (1_004, "B asks", "active cache"),
            ],
        ),
    ]);
}

/// Changes a key while its lookup is in flight.
fn changes(scene: &mut Scene, key: &str) {
    scene.engine.verdicts.forget(&hash(key));
    scene.engine.inflight.outdate(&hash(key));
}

/// A request whose lookup is sent again still counts as one waiting request.
#[test]
fn sending_a_lookup_again_keeps_the_count_of_waiting_requests() {
    let mut scene = Scene::new(FEED);
    for _ in 0..MAX_WAITING + 10 {
        scene.happens(900, "A asks");
        assert_eq!(scene.happens(900, "B asks"), "waits");
        changes(&mut scene, "key");
        assert_eq!(scene.happens(901, "A gets active"), "again");
        let both = "A: active lookup; B: active coalesced";
        assert_eq!(scene.happens(903, "A gets active"), both);
        changes(&mut scene, "key");
    }
    scene.happens(910, "A asks");
    assert_eq!(scene.happens(911, "B asks"), "waits");
}

#[test]
fn sending_a_lookup_again_keeps_the_limit_of_waiting_requests() {
    const OTHERS: [&str; 5] = ["k1", "k2", "k3", "k4", "k5"];
    let mut scene = Scene::new(FEED);
    for key in OTHERS {
        scene.happens(900, &format!("A asks about {key}"));
    }
    let waits = |scene: &mut Scene, number: usize| {
        let key = OTHERS[number % OTHERS.len()];
        let stream = scene.request(key, "/v1/x", at(900));
        scene.host.streams[&stream].end.is_none()
    };
    for number in 0..100 {
        assert!(waits(&mut scene, number));
    }
    for _ in 0..50 {
        scene.happens(901, "C asks");
        scene.happens(901, "D asks");
        changes(&mut scene, "key");
        assert_eq!(scene.happens(901, "C gets active"), "again");
        scene.happens(901, "C gets active");
        changes(&mut scene, "key");
    }
    for number in 100..MAX_WAITING {
        assert!(waits(&mut scene, number), "{number}");
    }
    assert!(!waits(&mut scene, MAX_WAITING));
}
