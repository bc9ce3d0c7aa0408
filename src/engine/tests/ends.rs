//! How requests end, and what is reported about them.

use super::*;
use crate::auth::cause::{Cause, Unsent};
use crate::decision::reply::Replies;
use crate::engine::fake_host::Stream;
use crate::engine::host::Level;
use crate::engine::refuse_all::RefuseAll;

/// Sends one request through the engine; returns its log entry and its end.
fn end(scene: &mut Scene, headers: &[(&str, &[u8])]) -> (String, End) {
    let now = at(0);
    let stream = scene.host.request(&mut scene.engine, headers, true, now);
    let stream = scene.host.leaves(&mut scene.engine, stream);
    (stream.log_entry.unwrap(), stream.end.unwrap())
}

#[test]
fn requests_that_need_no_verdict_end_at_once() {
    let exempt = r#"{},"exempt":{"paths":["/open"]}"#;
    let mut scene = Scene::new(exempt);
    let open: [(&str, &[u8]); 2] = [(":method", b"GET"), (":path", b"/open")];
    assert_eq!(
        end(&mut scene, &open),
        ("outcome=exempt".to_owned(), End::Forwarded)
    );
    let (entry, refused) = end(&mut scene, &[(":method", b"GET"), (":path", b"/")]);
    assert!(entry.starts_with("outcome=api_key_missing request_id=req_"));
    assert!(matches!(refused, End::Answered { status: 401, .. }));
    scene.happens(1, "tick");
    assert_eq!(scene.host.counted(Counter::of_request(Outcome::Exempt)), 1);
    assert_eq!(scene.host.callouts, []);
}

#[test]
fn identity_headers_of_the_client_are_removed_from_headers_and_trailers() {
    let mut scene = Scene::new(EXACT);
    scene.happens(0, "A asks");
    scene.happens(0, "A gets active");
    let evil: &[u8] = b"evil";
    let headers: [(&str, &[u8]); 5] = [
        (":method", b"GET"),
        (":path", b"/"),
        ("x-api-key", b"key"),
        ("x-keystile-key-id", evil),
        ("x_keystile_key_id", evil),
    ];
    let host = &mut scene.host;
    let stream = host.request(&mut scene.engine, &headers, false, at(1));
    assert_eq!(host.streams[&stream].values("x-keystile-key-id"), ["key_1"]);
    assert!(host.streams[&stream].values("x_keystile_key_id").is_empty());
    let trailers = [("x-keystile-key-id", evil), ("x-checksum", evil)];
    let flow = host.trailers(&mut scene.engine, stream, &trailers);
    assert_eq!(flow, Flow::Continue);
    assert!(!host.streams[&stream].has_trailer("x-keystile-key-id"));
    assert!(host.streams[&stream].has_trailer("x-checksum"));
}

/// Envoy answers some paused requests by itself, for example at a timeout.
#[test]
fn a_request_that_the_proxy_has_answered_is_not_resolved() {
    let mut scene = Scene::new(EXACT);
    scene.happens(0, "A asks");
    let over = scene.paused[&'A'];
    scene.happens(0, "B asks");
    scene.host.streams.get_mut(&over).unwrap().is_over = true;
    assert_eq!(scene.happens(1, "A gets active"), "B: active coalesced");
    assert_eq!(scene.host.streams[&over].end, None);
    assert_eq!(scene.host.streams[&over].log_entry, None);
}

#[test]
fn the_path_is_read_only_if_the_key_has_endpoints() {
    let mut scene = Scene::new(EXACT);
    for (path, status) in [("/v1/astro/natal?x", None), ("/v1/astrology", Some(403))] {
        let stream = scene.request("key", path, at(0));
        let lookup = scene.host.callouts[0].token;
        let body = br#"{"key_id":"k","status":"active","environment":"production","endpoints":["/v1/astro"]}"#;
        let headers: [(&str, &[u8]); 2] = [(":status", b"200"), ("cache-control", b"no-store")];
        let host = &mut scene.host;
        host.answers(&mut scene.engine, lookup, &headers, body, at(1));
        let end = host.leaves(&mut scene.engine, stream).end;
        match status {
            None => assert_eq!(end, Some(End::Forwarded)),
            Some(expected) => {
                assert!(matches!(end, Some(End::Answered { status, .. }) if status == expected));
            }
        }
    }
}

#[test]
fn each_introspection_sends_its_own_lookup() {
    let mut scene = Scene::new(EXACT);
    scene.happens(0, "A asks");
    scene.happens(0, "A gets active");
    let asks = |scene: &mut Scene| scene.request("key", "/v1/keys/me", at(1));
    let (first, second) = (asks(&mut scene), asks(&mut scene));
    assert_eq!(scene.host.callouts.len(), 2);
    // An answer is used even if its client has left.
    let (one, other) = (scene.host.callouts[0].token, scene.host.callouts[1].token);
    scene.host.leaves(&mut scene.engine, first);
    scene.answers(one, "revoked", at(2));
    assert_eq!(scene.happens(3, "B asks"), "asks");
    scene.answers(other, "active", at(4));
    let Some(End::Answered { status, body, .. }) = scene.host.leaves(&mut scene.engine, second).end
    else {
        panic!("answered");
    };
    assert_eq!(status, 200);
    assert!(body.contains(r#""key_id":"key_1""#), "{body}");
    // A lookup that the proxy forgets, and one that cannot be sent.
    let forgotten = asks(&mut scene);
    scene.happens(2_251, "tick");
    scene.host.unsent = Some(Unsent::NoCluster);
    let unsent = asks(&mut scene);
    for stream in [forgotten, unsent] {
        let end = scene.host.leaves(&mut scene.engine, stream).end;
        assert!(matches!(end, Some(End::Answered { status: 503, .. })));
    }
}

#[test]
fn a_warning_says_why_there_is_no_verdict_once_a_second() {
    let mut scene = Scene::new(EXACT);
    for (ms, lines) in [(0, 1), (500, 1), (999, 1), (1_000, 2)] {
        scene.happens(ms, "A asks in vain");
        assert_eq!(scene.host.log.len(), lines, "at {ms} ms");
    }
    let (level, line) = &scene.host.log[1];
    assert_eq!(*level, Level::Warn);
    assert!(line.starts_with("keystile: req_"), "{line}");
    let cause = Cause::NotSent(Unsent::NotAccepted).to_string();
    let end = format!("refused with 503, cluster \"auth\": {cause} (2 similar lines suppressed)");
    assert!(line.ends_with(&end), "{line}");
}

#[test]
fn request_ids_differ() {
    let mut scene = Scene::new(EXACT);
    scene.host.lacks_randomness = false;
    let mut ids: Vec<_> = (0..200)
        .map(|_| end(&mut scene, &[(":method", b"GET"), (":path", b"/")]).0)
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 200);
}

#[test]
fn insertions_and_evictions_are_counted() {
    let mut scene = Scene::new(r#"{"max_allow_entries":3,"max_deny_entries":2}"#);
    for n in 0..7 {
        scene.happens(n, &format!("A asks about k{n}"));
        scene.happens(n, "A gets active");
        scene.happens(n, &format!("B asks about kj{n}"));
        scene.happens(n, "B gets not_found");
    }
    scene.happens(8, "tick");
    for (pool, entries) in [(PoolName::Allow, 3), (PoolName::Deny, 2)] {
        assert_eq!(scene.host.counted(Counter::of_insertions(pool)), 7);
        let evictions = scene.host.counted(Counter::of_evictions(pool));
        assert_eq!(evictions, 7 - entries, "{pool:?}");
    }
}

#[test]
fn close_answers_all_paused_requests() {
    let mut scene = Scene::new(EXACT);
    let streams: Vec<_> = (0..200)
        .map(|_| scene.request("key", "/v1/x", at(0)))
        .collect();
    let uncached = scene.request("key", "/v1/keys/me", at(0));
    let Scene {
        engine, mut host, ..
    } = scene;
    engine.close(&mut host, at(1));
    for stream in streams.into_iter().chain([uncached]) {
        let end = &host.streams[&stream].end;
        assert!(matches!(end, Some(End::Answered { status: 503, .. })));
    }
}

#[test]
fn without_a_configuration_every_request_is_refused() {
    let mut host = FakeHost::default();
    let mut filter = RefuseAll::start(&mut host, Replies::default());
    assert_eq!(host.period, MAX_TICK);
    host.streams.insert(1, Stream::default());
    assert_eq!(filter.on_request(&mut host, 1), Flow::Pause);
    let end = &host.streams[&1].end;
    assert!(matches!(end, Some(End::Answered { status: 503, .. })));
    filter.on_tick(&mut host);
    let internal = Counter::of_request(Outcome::Refused(crate::decision::denial::Denial::Internal));
    assert_eq!(host.counted(internal), 1);
    assert!(host.log[0].1.contains("the filter has no configuration"));
}
