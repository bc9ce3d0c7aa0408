//! Requests that wait for one lookup.

use super::*;
use crate::engine::inflight::{MAX_WAITING, MAX_WAITING_FOR_ONE};

#[test]
fn concurrent_requests_share_a_lookup() {
    let three = "A: active lookup; B: active coalesced; C: active coalesced";
    all(&[
        (
            "one lookup for all",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (1, "B asks", "waits"),
                (2, "C asks", "waits"),
                (2, "D asks about k2", "asks"),
                (3, "A gets active", three),
                (3, "A gets active", "too late"),
                (4, "E asks", "active cache"),
            ],
        ),
        (
            "denials and failures are shared too",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (1, "B asks", "waits"),
                (
                    2,
                    "A gets not_found",
                    "A: not_found lookup; B: not_found coalesced",
                ),
                (5_000, "A asks", "asks"),
                (5_001, "B asks", "waits"),
                (5_002, "A gets nothing", "A: nothing; B: nothing"),
            ],
        ),
        (
            "a verdict that is not cached is shared too",
            r#"{"allow_ttl":"0s"}"#,
            &[
                (0, "A asks", "asks"),
                (1, "B asks", "waits"),
                (2, "C asks", "waits"),
                (3, "A gets active", three),
            ],
        ),
        (
            "a client that waits leaves",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (1, "B asks", "waits"),
                (2, "C asks", "waits"),
                (3, "B leaves", ""),
                (4, "A gets active", "A: active lookup; C: active coalesced"),
                (5, "B leaves", ""),
            ],
        ),
        (
            "all clients leave, and the answer is still cached",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (1, "A leaves", ""),
                (2, "B asks", "waits"),
                (2, "B leaves", ""),
                (4, "A gets active", ""),
                (5, "C asks", "active cache"),
            ],
        ),
        (
            "the client that started the lookup leaves, others wait",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (1, "B asks", "waits"),
                (100, "A leaves", ""),
                (100, "C asks", "waits"),
                (101, "tick", ""),
                (102, "D asks", "waits"),
                (
                    103,
                    "A gets active",
                    "B: active coalesced; C: active coalesced; D: active coalesced",
                ),
                (104, "E asks", "active cache"),
                // Counted from the only callout.
                (59_999, "F asks", "active cache"),
                (60_000, "F asks", "asks"),
            ],
        ),
        (
            "all clients leave, and another arrives",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (1, "B asks", "waits"),
                (2, "A leaves", ""),
                (3, "B leaves", ""),
                (5, "C asks", "waits"),
                (6, "A gets active", "C: active coalesced"),
            ],
        ),
        (
            "the client that started the lookup leaves, and the lookup fails",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (1, "B asks", "waits"),
                (2, "A leaves", ""),
                (4, "A gets nothing", "B: nothing"),
                (5, "C asks", "asks"),
            ],
        ),
    ]);
}

/// A flood of requests costs one lookup, even if the first client leaves.
#[test]
fn two_hundred_requests_share_the_lookup_of_one_that_left() {
    let mut scene = Scene::new(EXACT);
    let first = scene.request("key", "/v1/x", at(0));
    let others: Vec<_> = (0..199)
        .map(|_| scene.request("key", "/v1/x", at(1)))
        .collect();
    scene.host.leaves(&mut scene.engine, first);
    scene.engine.on_tick(&mut scene.host, at(2));
    assert_eq!(scene.host.callouts.len(), 1);
    let lookup = scene.host.callouts[0].token;
    scene.answers(lookup, "active", at(100));
    // One callback resolves only some of them, and the others follow soon.
    let ended = |scene: &Scene| {
        let ended = others.iter();
        let is_forwarded = |name: &&u32| scene.host.streams[*name].end == Some(End::Forwarded);
        ended.filter(is_forwarded).count()
    };
    assert_eq!(ended(&scene), MAX_RESOLVED_PER_CALLBACK);
    for round in 2..=4 {
        assert_eq!(scene.host.period, MIN_TICK);
        scene.engine.on_tick(&mut scene.host, at(100 + round));
    }
    assert_eq!(ended(&scene), others.len());
    assert_eq!(scene.host.period, MAX_TICK);
    assert_eq!(scene.host.callouts.len(), 0);
    assert_eq!(scene.host.counted(Counter::LookupsActive), 1);
    assert_eq!(scene.host.counted(Counter::VerdictsCoalesced), 199);
}

#[test]
fn no_request_waits_longer_than_a_lookup_may_take() {
    all(&[
        (
            "requests get what the proxy says, unless it has forgotten the lookup",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (1, "B asks", "waits"),
                (2_249, "tick", ""),
                (2_250, "tick", "A: nothing; B: nothing"),
                // A late answer.
                (2_251, "A gets active", ""),
                (2_252, "C asks", "asks"),
            ],
        ),
        (
            "with a record in grace",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active", "A: active lookup"),
                (60_000, "B asks", "asks"),
                (60_001, "C asks", "waits"),
                (60_002, "B leaves", ""),
                (62_250, "tick", "C: active stale"),
            ],
        ),
        (
            "a request that arrives late at a forgotten lookup",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (0, "A leaves", ""),
                (2_249, "C asks", "waits"),
                (2_250, "tick", "C: nothing"),
                (2_251, "D asks", "asks"),
                (2_252, "D gets active", "D: active lookup"),
            ],
        ),
    ]);
}

/// Lets `places` requests for one key wait; returns the last.
fn fill(scene: &mut Scene, key: &str, places: usize) -> u32 {
    let streams = (0..places).map(|_| scene.request(key, "/v1/x", at(1)));
    let last = streams.last().unwrap();
    assert_eq!(scene.host.streams[&last].end, None, "there is room");
    last
}

#[test]
fn the_number_of_waiting_requests_is_limited() {
    let mut scene = Scene::new(EXACT);
    // The request that starts a lookup counts for the limit of its key, but not for that of the
    // worker.
    for key in ["k1", "k2", "k3", "k4"] {
        assert_eq!(scene.happens(0, &format!("A asks about {key}")), "asks");
        fill(&mut scene, key, MAX_WAITING_FOR_ONE - 1);
        assert_eq!(scene.happens(1, &format!("B asks about {key}")), "nothing");
    }
    assert_eq!(scene.happens(2, "C asks about k5"), "asks");
    let last = fill(
        &mut scene,
        "k5",
        MAX_WAITING - 4 * (MAX_WAITING_FOR_ONE - 1),
    );
    assert_eq!(scene.happens(3, "D asks about k5"), "nothing");
    // A place becomes free when a request leaves,
    scene.host.leaves(&mut scene.engine, last);
    assert_eq!(scene.happens(4, "D asks about k5"), "waits");
    assert_eq!(scene.happens(4, "E asks about k5"), "nothing");
    // when it is answered,
    scene.happens(5, "A gets active");
    assert_eq!(scene.happens(5, "E asks about k5"), "waits");
    // C, D, E and the three that are left of the first ones take six places.
    fill(&mut scene, "k5", MAX_WAITING_FOR_ONE - 6);
    assert_eq!(scene.happens(6, "F asks about k5"), "nothing");
    // and when it times out.
    scene.happens(2_300, "tick");
    assert_eq!(scene.happens(2_301, "F asks about k5"), "asks");
    fill(&mut scene, "k5", MAX_WAITING_FOR_ONE - 1);
    assert_eq!(scene.happens(2_302, "G asks about k5"), "nothing");
}
