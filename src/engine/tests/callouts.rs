//! What a lookup carries.

use super::*;
use crate::engine::fake_host::Sent;

const TRACED: (&str, &[u8]) = ("traceparent", b"00-1");

fn traced(scene: &mut Scene, key: &str) -> u32 {
    let headers: [(&str, &[u8]); 4] = [
        (":method", b"GET"),
        (":path", b"/v1/x"),
        ("x-api-key", key.as_bytes()),
        TRACED,
    ];
    scene.host.request(&mut scene.engine, &headers, true, at(0))
}

#[test]
fn a_lookup_is_a_get_within_the_timeout_and_carries_the_trace() {
    let mut scene = Scene::new(EXACT);
    traced(&mut scene, "key");
    let [lookup] = &scene.host.callouts[..] else {
        panic!("one callout");
    };
    assert_eq!(lookup.cluster, "auth");
    assert_eq!(lookup.timeout, Duration::from_millis(250));
    assert_eq!(lookup.path(), format!("/v1/key-hashes/{}", hash("key")));
    assert_eq!(lookup.header(":method"), Some("GET"));
    assert_eq!(lookup.header("traceparent"), Some("00-1"));
    assert!(!lookup.headers.iter().any(|(_, value)| value == "key"));
}

/// A lookup is sent again unchanged, with the trace of the request that started it.
#[test]
fn a_lookup_is_sent_again_unchanged() {
    let mut scene = Scene::new(EXACT);
    let first = traced(&mut scene, "key");
    scene.happens(0, "B asks");
    let sent = scene.host.callouts[0].clone();
    scene.host.leaves(&mut scene.engine, first);
    scene.engine.inflight.outdate(&hash("key"));
    scene.answers(sent.token, "active", at(1));
    let again = scene.host.callouts[0].clone();
    assert_ne!(again.token, sent.token);
    assert_eq!(
        Sent {
            token: sent.token,
            ..again
        },
        sent
    );
}

/// A refresh is not sent on behalf of any request.
#[test]
fn a_refresh_carries_no_trace() {
    let mut scene = Scene::new(r#"{"jitter":0,"refresh_ahead":0.5,"allow_ttl":"1s"}"#);
    scene.happens(0, "A asks");
    scene.happens(0, "A gets active");
    let headers: [(&str, &[u8]); 4] = [
        (":method", b"GET"),
        (":path", b"/v1/x"),
        ("x-api-key", b"key"),
        TRACED,
    ];
    let host = &mut scene.host;
    host.request(&mut scene.engine, &headers, true, at(600));
    assert_eq!(scene.host.callouts.len(), 1);
    assert_eq!(scene.host.callouts[0].header("traceparent"), None);
}

#[test]
fn durations_of_lookups_are_reported() {
    let mut scene = Scene::new(EXACT);
    scene.happens(0, "A asks");
    scene.happens(37, "A gets active");
    scene.happens(37, "tick");
    assert_eq!(scene.host.observed, [37]);
    // Durations are reported together, at the latest with the 64th.
    for n in 0..64 {
        scene.happens(100, &format!("A asks about k{n}"));
        assert_eq!(scene.host.observed.len(), 1, "{n}");
        scene.happens(101, "A gets active");
    }
    assert_eq!(scene.host.observed.len(), 65);
}
