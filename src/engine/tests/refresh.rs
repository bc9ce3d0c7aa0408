//! Refreshes: lookups that no request waits for.

use super::*;

#[test]
fn a_record_in_use_is_refreshed_ahead() {
    let early = r#"{"jitter":0,"refresh_ahead":0.8}"#;
    all(&[
        (
            "one refresh, and no request waits",
            early,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active", "A: active lookup"),
                (47_999, "B asks", "active cache"),
                (48_000, "C asks", "active cache, refresh"),
                (48_002, "D asks", "active cache"),
                (48_003, "refresh gets active", ""),
                (48_004, "E asks", "active cache"),
                // The time of the new verdict starts with its callout.
                (95_999, "F asks", "active cache"),
                (96_000, "G asks", "active cache, refresh"),
            ],
        ),
        (
            "its verdict is used at once",
            early,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active", "A: active lookup"),
                (48_000, "B asks", "active cache, refresh"),
                (48_002, "refresh gets revoked", ""),
                (48_003, "C asks", "revoked cache"),
            ],
        ),
        (
            "if it fails, the record stays, and the next one follows after a second",
            early,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active", "A: active lookup"),
                (48_000, "B asks", "active cache, refresh"),
                (48_002, "refresh gets nothing", ""),
                (49_001, "C asks", "active cache"),
                (49_002, "D asks", "active cache, refresh"),
                (59_999, "refresh gets nothing", ""),
                (60_000, "E asks", "active stale"),
            ],
        ),
        (
            "in a known outage, requests do not wait for a late one",
            r#"{"jitter":0,"refresh_ahead":0.9}"#,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active", "A: active lookup"),
                (58_500, "B asks", "active cache, refresh"),
                (58_600, "refresh gets nothing", ""),
                (59_900, "C asks", "active cache, refresh"),
                (60_000, "D asks", "active stale"),
                (60_001, "refresh gets active", ""),
                (60_002, "E asks", "active cache"),
            ],
        ),
        (
            "requests wait for a late one",
            early,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active", "A: active lookup"),
                (59_900, "B asks", "active cache, refresh"),
                (60_000, "C asks", "waits"),
                (60_001, "refresh gets active", "C: active coalesced"),
            ],
        ),
        (
            "denials are not refreshed",
            early,
            &[
                (0, "A asks", "asks"),
                (0, "A gets not_found", "A: not_found lookup"),
                (4_999, "B asks", "not_found cache"),
            ],
        ),
        (
            "off",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active", "A: active lookup"),
                (59_999, "B asks", "active cache"),
            ],
        ),
    ]);
}

#[test]
fn the_number_of_refreshes_in_flight_is_limited() {
    let mut scene = Scene::new(r#"{"jitter":0,"refresh_ahead":0.5}"#);
    let keys: Vec<_> = (0..100).map(|n| format!("k{n}")).collect();
    for key in &keys {
        scene.happens(0, &format!("A asks about {key}"));
        scene.happens(0, "A gets active");
    }
    let ask = |scene: &mut Scene, ms| {
        for key in &keys {
            let came = scene.happens(ms, &format!("A asks about {key}"));
            assert!(came.starts_with("active cache"), "{key}: {came}");
        }
        scene.host.callouts.len()
    };
    assert_eq!(ask(&mut scene, 40_000), 64);
    assert_eq!(ask(&mut scene, 40_001), 64);
    scene.happens(40_002, "refresh gets active");
    assert_eq!(ask(&mut scene, 40_003), 64);
    // Lookups that the proxy has forgotten make room as well.
    assert_eq!(ask(&mut scene, 42_250), 64);
    scene.happens(42_252, "tick");
    // Those have failed, so the others are limited.
    assert_eq!(ask(&mut scene, 42_253), 64 + 10);
}

#[test]
fn a_refresh_that_cannot_be_sent_is_tried_again_after_a_second() {
    let mut scene = Scene::new(r#"{"jitter":0,"refresh_ahead":0.5}"#);
    scene.happens(0, "A asks");
    scene.happens(0, "A gets active");
    assert_eq!(scene.happens(40_000, "A asks in vain"), "active cache");
    assert_eq!(scene.happens(40_999, "A asks"), "active cache");
    assert_eq!(scene.happens(41_000, "A asks"), "active cache, refresh");
}
