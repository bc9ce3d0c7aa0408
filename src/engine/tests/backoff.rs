//! How many lookups are sent while they fail.

use super::*;

/// Lets a request with each of these keys arrive; returns how many of them sent a lookup. The others
/// are refused at once.
fn sent(scene: &mut Scene, ms: u64, keys: std::ops::Range<u32>) -> usize {
    let before = scene.host.callouts.len();
    for key in keys {
        scene.request(&format!("k{key}"), "/v1/x", at(ms));
    }
    scene.host.callouts.len() - before
}

/// Lets a lookup of each of these keys get this answer.
fn fail(scene: &mut Scene, ms: u64, keys: std::ops::Range<u32>, answer: &str) {
    for key in keys {
        let came = scene.happens(ms, &format!("A asks about k{key}"));
        assert_eq!(came, "asks", "k{key}");
        let came = scene.happens(ms, &format!("A gets {answer}"));
        assert_eq!(came, "A: nothing", "k{key}");
    }
}

/// Returns the `retry-after` of a request that is refused at once.
fn retry_after(scene: &mut Scene, ms: u64) -> String {
    let stream = scene.request("krefused", "/v1/x", at(ms));
    let Some(End::Answered {
        status, headers, ..
    }) = scene.host.leaves(&mut scene.engine, stream).end
    else {
        panic!("refused at once");
    };
    assert_eq!(status, 503);
    let mut headers = headers.into_iter();
    let found = headers.find(|(name, _)| name == "retry-after");
    found.expect("a 503 has a retry-after").1
}

#[test]
fn failures_for_five_keys_limit_the_lookups_of_all_keys() {
    for answer in ["nothing", "429", "500", "502", "503", "504"] {
        let mut scene = Scene::new(EXACT);
        fail(&mut scene, 0, 0..4, answer);
        // Not five keys yet, however often these fail.
        fail(&mut scene, 0, 0..3, answer);
        fail(&mut scene, 0, 4..5, answer);
        assert_eq!(sent(&mut scene, 1, 100..200), 10, "{answer}");
        assert_eq!(sent(&mut scene, 100, 200..300), 0, "{answer}");
        assert_eq!(sent(&mut scene, 101, 200..300), 1, "{answer}");
        assert_eq!(sent(&mut scene, 599, 300..400), 4, "{answer}");
        assert_eq!(sent(&mut scene, 10_000, 400..500), 10, "{answer}");
        assert_eq!(retry_after(&mut scene, 10_001), "1", "{answer}");
    }
}

#[test]
fn a_verdict_ends_the_limit() {
    for verdict in ["active", "revoked", "not_found"] {
        let mut scene = Scene::new(EXACT);
        fail(&mut scene, 0, 0..5, "500");
        assert_eq!(scene.happens(1, "A asks"), "asks");
        scene.happens(2, &format!("A gets {verdict}"));
        assert_eq!(sent(&mut scene, 3, 100..150), 50, "{verdict}");
    }
    // Failures before a verdict do not count.
    let mut scene = Scene::new(EXACT);
    fail(&mut scene, 0, 0..4, "500");
    assert_eq!(scene.happens(1, "A asks"), "asks");
    scene.happens(2, "A gets not_found");
    fail(&mut scene, 3, 4..8, "500");
    assert_eq!(sent(&mut scene, 4, 100..150), 50);
}

#[test]
fn lookups_that_are_not_sent_or_forgotten_are_failures() {
    let mut scene = Scene::new(EXACT);
    for key in 0..5 {
        let came = scene.happens(0, &format!("A asks in vain about k{key}"));
        assert_eq!(came, "nothing");
    }
    assert_eq!(sent(&mut scene, 1, 100..150), 10, "not sent");

    let mut scene = Scene::new(EXACT);
    assert_eq!(sent(&mut scene, 0, 0..5), 5);
    scene.happens(2_250, "tick");
    assert_eq!(sent(&mut scene, 2_251, 100..150), 10, "forgotten");
}

/// Anybody can fill it.
#[test]
fn a_full_circuit_breaker_is_no_failure() {
    let mut scene = Scene::new(EXACT);
    for key in 0..20 {
        let came = scene.happens(0, &format!("A asks in overflow about k{key}"));
        assert_eq!(came, "nothing");
    }
    assert_eq!(sent(&mut scene, 1, 100..150), 50);
}

#[test]
fn an_answer_that_is_wrong_for_its_own_key_slows_down_no_other() {
    for answer in ["200", "302", "401", "403", "404, content-type: text/html"] {
        let mut scene = Scene::new(EXACT);
        fail(&mut scene, 0, 0..20, answer);
        assert_eq!(sent(&mut scene, 1, 100..150), 50, "{answer}");
    }
}

#[test]
fn five_failures_of_one_key_limit_its_own_lookups() {
    for answer in ["nothing", "500", "401"] {
        let mut scene = Scene::new(EXACT);
        for _ in 0..5 + 10 {
            fail(&mut scene, 0, 1..2, answer);
        }
        assert_eq!(sent(&mut scene, 1, 1..2), 0, "{answer}");
        assert_eq!(sent(&mut scene, 2, 100..150), 50, "{answer}");
        fail(&mut scene, 100, 1..2, answer);
        assert_eq!(sent(&mut scene, 101, 1..2), 0, "{answer}");
        assert_eq!(scene.happens(200, "A asks about k1"), "asks");
        scene.happens(201, "A gets not_found, cache-control: no-store");
        for _ in 0..4 {
            fail(&mut scene, 202, 1..2, answer);
        }
    }
}

#[test]
fn a_retry_after_leaves_one_lookup_a_second() {
    for status in ["429", "503"] {
        let mut scene = Scene::new(EXACT);
        let answer = format!("{status}, retry-after: 30");
        fail(&mut scene, 0, 0..1, &answer);
        assert_eq!(sent(&mut scene, 999, 100..200), 0);
        assert_eq!(retry_after(&mut scene, 999), "30");
        assert_eq!(sent(&mut scene, 1_000, 100..200), 1);
        assert_eq!(retry_after(&mut scene, 1_001), "29");
        assert_eq!(sent(&mut scene, 1_999, 200..300), 0);
        assert_eq!(sent(&mut scene, 2_000, 200..300), 1);
        // Then the limit is that after failures.
        assert_eq!(sent(&mut scene, 30_000, 300..400), 10);
    }
}

#[test]
fn a_retry_after_ends_with_a_verdict_of_a_later_lookup() {
    let mut scene = Scene::new(EXACT);
    assert_eq!(scene.happens(0, "B asks about k1"), "asks");
    fail(&mut scene, 1, 0..1, "503, retry-after: 30");
    // B's lookup was sent before.
    assert_eq!(scene.happens(2, "B gets not_found"), "B: not_found lookup");
    assert_eq!(sent(&mut scene, 1_000, 100..200), 0);
    assert_eq!(scene.happens(1_001, "C asks about k2"), "asks");
    assert_eq!(sent(&mut scene, 1_002, 100..200), 0);
    assert_eq!(
        scene.happens(1_003, "C gets not_found"),
        "C: not_found lookup"
    );
    assert_eq!(sent(&mut scene, 1_004, 200..300), 100);
}

#[test]
fn a_retry_after_counts_for_a_minute_at_most() {
    let cases = [("0", 0), ("1", 1_000), ("60", 60_000), ("86400", 60_000)];
    for (seconds, ms) in cases {
        let mut scene = Scene::new(EXACT);
        fail(&mut scene, 0, 0..1, &format!("503, retry-after: {seconds}"));
        if ms > 0 {
            assert!(sent(&mut scene, ms - 1, 100..200) <= 1, "{seconds}");
        }
        assert_eq!(sent(&mut scene, ms, 200..300), 10, "{seconds}");
    }
}

#[test]
fn known_keys_are_served_while_lookups_are_limited() {
    let mut scene = Scene::new(EXACT);
    scene.happens(0, "A asks");
    scene.happens(0, "A gets active");
    fail(&mut scene, 60_000, 0..1, "503, retry-after: 30");
    assert_eq!(scene.happens(60_001, "B asks"), "active stale");
    assert_eq!(scene.happens(61_001, "C asks"), "asks");
    assert_eq!(scene.happens(61_002, "C gets 503"), "C: active stale");
    assert_eq!(scene.happens(61_003, "D asks"), "active stale");
}

#[test]
fn lookups_for_requests_leave_a_quarter_of_the_room() {
    for (most, expected) in [(1, 1), (2, 1), (4, 3), (8, 6), (9, 6), (256, 192)] {
        let config = format!(
            r#"{{"lookup":{{"cluster":"auth","max_concurrent":{most}}},"introspection":{{}},
                "credential":{{"formats":[{{"prefix":"k","min_length":2}}]}}}}"#
        );
        let settings = crate::config::parse(config.as_bytes()).unwrap();
        let mut scene = Scene::new(EXACT);
        scene.engine = Engine::start(&mut scene.host, settings);
        // An introspection has a lookup of its own.
        scene.request("k0", "/v1/keys/me", at(0));
        let sent = sent(&mut scene, 0, 0..300);
        assert_eq!(sent + 1, expected, "of {most}");
    }
}

/// Refreshes find room when requests have taken all of theirs.
#[test]
fn refreshes_have_room_of_their_own() {
    let mut scene = Scene::new(r#"{"jitter":0,"refresh_ahead":0.5}"#);
    scene.happens(0, "A asks");
    scene.happens(0, "A gets active");
    assert_eq!(sent(&mut scene, 40_000, 0..300), 192);
    assert_eq!(scene.happens(40_001, "A asks"), "active cache, refresh");
}
