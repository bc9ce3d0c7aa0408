//! When the feed is polled.

use super::*;

#[test]
fn polls_follow_the_interval() {
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
                (1_101, "feed gets current", "current"),
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
                (1_001, LONG_PAGE, "changes"),
                (1_001, "feed polls", "after 101"),
                (1_002, "feed gets k, cursor 102", "changes"),
                (1_003, "feed polls", "not yet"),
                (2_001, "feed polls", "after 102"),
            ],
        ),
        (
            "the proxy has forgotten a poll",
            FEED,
            &[
                (0, "feed polls", "after "),
                (2_999, "feed polls", "not yet"),
                (3_000, "feed polls", "after "),
            ],
        ),
        (
            "204 to a poll without a cursor fails",
            FEED,
            &[
                (0, "feed polls", "after "),
                (1, "feed gets current", "failed, logged"),
                (1_000, "feed polls", "after "),
                (1_001, "feed gets any, cursor 1", "any"),
                (2_000, "feed polls", "after 1"),
                (2_001, "feed gets current", "current"),
            ],
        ),
        (
            "cursors are percent-encoded",
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
fn a_failed_poll_is_repeated_after_the_interval() {
    all(&[(
        "no sooner than after a success",
        FEED,
        &[
            (0, "feed polls", "after "),
            (1, "feed fails", "failed, logged"),
            (2, "feed polls", "not yet"),
            (999, "feed polls", "not yet"),
            (1_000, "feed polls", "after "),
        ],
    )]);
}

#[test]
fn ticks_come_in_time() {
    let period = |scene: &Scene| scene.host.period.as_millis();
    let mut scene = Scene::new(FEED);
    // The first poll discards everything that was looked up before, so it is made at once.
    assert_eq!(period(&scene), 1);
    scene.happens(0, "feed polls");
    assert_eq!(period(&scene), 500);
    scene.happens(1, "feed gets any, cursor 1");
    scene.happens(700, "tick");
    // Until the next poll is due. Without randomness, it is not early.
    assert!((100..=300).contains(&period(&scene)), "{}", period(&scene));

    let mut scene = Scene::new(EXACT);
    assert_eq!(period(&scene), 500);
    scene.happens(900, "A asks");
    scene.engine.inflight.outdate(&hash("key"));
    assert_eq!(scene.happens(901, "A gets active"), "again");
    // Requests wait no longer than a lookup may take, even if Envoy notices the timeout later.
    assert_eq!(period(&scene), 250);
}

/// A feed that ignores the cursor returns the same page again and again.
#[test]
fn a_repeated_long_page_is_not_followed_at_once() {
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

/// One line for each change, and a second one for a feed that keeps returning resets.
#[test]
fn the_log_reports_changes_of_the_feed() {
    let mut scene = Scene::new(FEED);
    let answers = [
        (
            "feed gets any, cursor 1",
            Some("reset: all verdicts are looked up again"),
        ),
        ("feed gets any, cursor 2", Some("each answer is a reset")),
        ("feed gets any, cursor 3", None),
        ("feed gets current", None),
        ("feed fails", Some("no answer: the connection was reset")),
        ("feed fails", None),
        ("feed gets current", Some("polls are answered again")),
        (
            "feed gets any, cursor 4",
            Some("reset: all verdicts are looked up again"),
        ),
    ];
    let mut expected = Vec::new();
    for (at, (answer, line)) in (0..).zip(answers) {
        scene.happens(at * 1_000, "feed polls");
        scene.happens(at * 1_000 + 1, answer);
        expected.extend(line.map(|line| format!("keystile: change feed of cluster auth: {line}")));
        let lines: Vec<_> = scene.host.log.iter().map(|(_, line)| line).collect();
        assert_eq!(lines.len(), expected.len(), "{answer}: {lines:?}");
        for (line, expected) in lines.iter().zip(&expected) {
            assert!(line.starts_with(expected), "{line}");
        }
    }
}
