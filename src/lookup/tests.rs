use super::*;
use crate::config::Config;
use crate::credential::KeyHasher;

fn callout(config: &str, headers: &[(&str, &[u8])]) -> Vec<(String, String)> {
    let config = Config::parse(config.as_bytes()).unwrap();
    let hash = KeyHasher::new(None).unwrap().hash(b"abc");
    let callout = config.lookup.callout(&hash, &Request::new(headers));
    owned(&config.lookup.headers(&callout))
}

const HASH: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn owned(headers: &[(&str, &str)]) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn the_callout_carries_the_hash_and_the_trace() {
    let path = format!("/v1/key-hashes/{HASH}");
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let made = callout(
        r#"{"lookup":{"cluster":"auth"}}"#,
        &[
            (":path", b"/v1/x"),
            ("authorization", b"Bearer secret"),
            ("cookie", b"a=b"),
            ("x-request-id", b"id-1"),
            ("traceparent", trace.as_bytes()),
            ("tracestate", b"a=1"),
            ("tracestate", b"b=2"),
        ],
    );
    let expected = owned(&[
        (":method", "GET"),
        (":path", &path),
        (":authority", "auth"),
        ("accept", "application/json"),
        ("x-request-id", "id-1"),
        ("traceparent", trace),
        ("tracestate", "a=1"),
        ("tracestate", "b=2"),
    ]);
    assert_eq!(made, expected);
}

#[test]
fn the_callout_is_configurable() {
    let path = format!("/lookup?hash={HASH}&v=1");
    let made = callout(
        r#"{"lookup":{"cluster":"outbound|80||auth.default.svc.cluster.local",
            "path":"/lookup?hash={key_hash}&v=1",
            "headers":{"Authorization":"Bearer service-token","accept":"text/json"}}}"#,
        &[("x-request-id", b"\xff\xfe"), ("traceparent", b"")],
    );
    let expected = owned(&[
        (":method", "GET"),
        (":path", &path),
        (":authority", "auth.default.svc.cluster.local"),
        ("authorization", "Bearer service-token"),
        ("accept", "text/json"),
    ]);
    assert_eq!(made, expected);
}

#[test]
fn the_callout_names_the_environment() {
    for (more, expected) in [
        ("", "production"),
        (r#","headers":{"X-Keystile-Environment":"live"}"#, "live"),
    ] {
        let config =
            format!(r#"{{"lookup":{{"cluster":"auth"{more}}},"environment":"production"}}"#);
        let made = callout(&config, &[("x-keystile-environment", b"theirs")]);
        let named: Vec<_> = made
            .iter()
            .filter(|(name, _)| name == "x-keystile-environment")
            .map(|(_, value)| value.as_str())
            .collect();
        assert_eq!(named, [expected]);
    }
}

#[test]
fn a_configured_header_replaces_the_clients() {
    let path = format!("/v1/key-hashes/{HASH}");
    let made = callout(
        r#"{"lookup":{"cluster":"auth","headers":{"X-Request-Id":"mine"}}}"#,
        &[("x-request-id", b"theirs"), ("tracestate", b"a=1")],
    );
    let expected = owned(&[
        (":method", "GET"),
        (":path", &path),
        (":authority", "auth"),
        ("x-request-id", "mine"),
        ("accept", "application/json"),
        ("tracestate", "a=1"),
    ]);
    assert_eq!(made, expected);
}

#[test]
fn debug_names_the_headers_without_their_values() {
    let config =
        Config::parse(br#"{"lookup":{"cluster":"auth","headers":{"authorization":"hunter2"}}}"#);
    let shown = format!("{:?}", config.unwrap().lookup);
    assert!(
        shown.contains("authorization") && !shown.contains("hunter2"),
        "{shown}"
    );
}

#[test]
fn a_client_cannot_make_a_lookup_long() {
    let long = [b'x'; MAX_TRACE + 1];
    let most = [b'x'; MAX_TRACE];
    let mut sent: Vec<(&str, &[u8])> = vec![("tracestate", &long)];
    sent.extend([("tracestate", &most[..]); 100]);
    let sent = callout(r#"{"lookup":{"cluster":"auth"}}"#, &sent);
    let carried: Vec<_> = sent
        .iter()
        .filter(|(name, _)| name == "tracestate")
        .collect();
    assert_eq!(carried.len(), MAX_REPEATS);
    assert!(carried.iter().all(|(_, value)| value.len() == MAX_TRACE));
}
