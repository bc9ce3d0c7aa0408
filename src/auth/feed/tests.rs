use super::*;
use crate::config;

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Returns when the poll after one at 5000 ms is made, in ms.
fn next(interval: &str, random: u64) -> u64 {
    let config = format!(
        r#"{{"lookup":{{"cluster":"auth"}},"feed":{{"interval":"{interval}","stale_after":"1h"}}}}"#
    );
    let config = config::parse(config.as_bytes()).unwrap();
    let mut feed = Feed::new(config.feed.unwrap());
    feed.poll(at(5_000)).unwrap();
    let _ = feed.polled(Ok(Page::Current), at(5_001), random);
    (5_000..70_000)
        .find(|ms| feed.poll(at(*ms)).is_some())
        .unwrap()
}

#[test]
fn polls_spread_but_never_come_late() {
    for (interval, earliest, latest) in [
        ("1s", 5_800, 6_000),
        ("100ms", 5_080, 5_100),
        ("60s", 53_000, 65_000),
    ] {
        let all = [0, 1, 77, 199, 200, 201, 12_345, u64::MAX].map(|random| next(interval, random));
        for ms in all {
            assert!((earliest..=latest).contains(&ms), "{interval}: {ms}");
        }
        assert!(all.iter().min() < all.iter().max(), "{interval}: {all:?}");
    }
}

#[test]
fn a_poll_is_a_callout_like_a_lookup() {
    let config = config::parse(
        br#"{"lookup":{"cluster":"auth","headers":{"authorization":"Bearer t"},"timeout":"50ms"},
            "feed":{"path":"/feed/{cursor}?limit=1000"}}"#,
    )
    .unwrap();
    let mut feed = Feed::new(config.feed.unwrap());
    let callout = feed.poll(at(0)).unwrap();
    assert_eq!(callout.timeout, Duration::from_secs(1));
    assert_eq!(
        config.lookup.headers(&callout),
        [
            (":method", "GET"),
            (":path", "/feed/?limit=1000"),
            (":authority", "auth"),
            ("authorization", "Bearer t"),
            ("accept", "application/json"),
        ]
    );
}

#[test]
fn a_poll_may_take_until_the_next_one() {
    for (interval, timeout) in [("100ms", 1_000), ("5s", 5_000), ("60s", 10_000)] {
        let config = format!(
            r#"{{"lookup":{{"cluster":"auth"}},"feed":{{"interval":"{interval}","stale_after":"1h"}}}}"#
        );
        let config = config::parse(config.as_bytes()).unwrap();
        let mut feed = Feed::new(config.feed.unwrap());
        let callout = feed.poll(at(0)).unwrap();
        assert_eq!(
            callout.timeout,
            Duration::from_millis(timeout),
            "{interval}"
        );
    }
}
