use super::*;
use crate::config;
use crate::request::key_hash::KeyHasher;

fn callout(config: &str, headers: &[(&str, &[u8])]) -> Vec<(String, String)> {
    let config = config::parse(config.as_bytes()).unwrap();
    let hash = KeyHasher::new(None).unwrap().hash(b"abc");
    let callout = config
        .lookup
        .callout(&hash, &Request::new(headers), &config.policy.credential);
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
        config::parse(br#"{"lookup":{"cluster":"auth","headers":{"authorization":"hunter2"}}}"#);
    let shown = format!("{:?}", config.unwrap().lookup);
    assert!(
        shown.contains("authorization") && !shown.contains("hunter2"),
        "{shown}"
    );
}

#[test]
fn a_client_cannot_make_a_lookup_long() {
    let long = [b'x'; MAX_PROPAGATED + 1];
    let most = [b'x'; MAX_PROPAGATED];
    let mut sent: Vec<(&str, &[u8])> = vec![("tracestate", &long)];
    sent.extend([("tracestate", &most[..]); 100]);
    let sent = callout(r#"{"lookup":{"cluster":"auth"}}"#, &sent);
    let carried: Vec<_> = sent
        .iter()
        .filter(|(name, _)| name == "tracestate")
        .collect();
    assert_eq!(carried.len(), MAX_REPEATS);
    assert!(
        carried
            .iter()
            .all(|(_, value)| value.len() == MAX_PROPAGATED)
    );
}

/// Clients put keys in the wrong places. The auth cluster must see none of them.
#[test]
fn the_callout_carries_no_key() {
    const KEY: &str = "aw_0123456789abcdefghijklmnopqrstuvwxyzABCD-_";
    let default = "";
    // Only its length and alphabet distinguish such a key from other words.
    let plain = r#","credential":{"formats":[{"prefix":"","min_length":20,"alphabet":"hex"}]}"#;
    // The prefix alone is too short to recognize a key, so the rest decides.
    let short = r#","credential":{"formats":[{"prefix":"k","min_length":9,"alphabet":"hex"}]}"#;
    let cases: [(&str, &str, String, bool); 22] = [
        (
            "an id",
            default,
            "4d1c0c9e-8d8a-4a5c-9f7e-0a1b2c3d4e5f".into(),
            true,
        ),
        (
            "a trace",
            default,
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into(),
            true,
        ),
        (
            "a vendor's state",
            default,
            "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE".into(),
            true,
        ),
        ("a key", default, KEY.into(), false),
        (
            "a key and its scheme",
            default,
            format!("Bearer {KEY}"),
            false,
        ),
        (
            "a key glued to its scheme",
            default,
            format!("Bearer{KEY}"),
            false,
        ),
        (
            "a key as a vendor's state",
            default,
            format!("acme={KEY}"),
            false,
        ),
        (
            "a key among others",
            default,
            format!("rojo=1,acme={KEY},congo=2"),
            false,
        ),
        ("a key in quotes", default, format!("\"{KEY}\""), false),
        ("a key in a word", default, format!("req-{KEY}-1"), false),
        ("half a key", default, "aw_0123456789abcdefg".into(), false),
        ("the prefix", default, "aw_".into(), false),
        ("a key that is too long", default, KEY.repeat(7), false),
        (
            "no more than letters",
            default,
            "aw-0123456789abcdefghijklmnopqrstuvwxyzABCD".into(),
            true,
        ),
        ("plain: short", plain, "0123456789abcdef012".into(), true),
        ("plain: a key", plain, "0123456789abcdef0123".into(), false),
        (
            "plain: a key in a word",
            plain,
            "x0123456789abcdef0123x".into(),
            false,
        ),
        (
            "plain: an id",
            plain,
            "4d1c0c9e-8d8a-4a5c-9f7e-0a1b2c3d4e5f".into(),
            true,
        ),
        ("short: a key", short, "k01234567".into(), false),
        ("short: a key in a word", short, "kk01234567".into(), false),
        ("short: half a key", short, "k0123456".into(), true),
        ("short: no key", short, "k0123456x".into(), true),
    ];
    for (name, more, value, carried) in cases {
        let config = format!(r#"{{"lookup":{{"cluster":"auth"}}{more}}}"#);
        for header in ["x-request-id", "traceparent", "tracestate"] {
            let made = callout(
                &config,
                &[(header, value.as_bytes()), ("x-api-key", KEY.as_bytes())],
            );
            let has = made.iter().any(|(other, _)| other == header);
            assert_eq!(has, carried, "{name} in {header}");
        }
    }
    // Other values of the same header are propagated, up to the limit.
    let values = [KEY.as_bytes(), b"1", KEY.as_bytes(), b"2", b"3", b"4", b"5"];
    let headers = values.map(|value| ("tracestate", value));
    let made = callout(r#"{"lookup":{"cluster":"auth"}}"#, &headers);
    let carried: Vec<_> = made
        .iter()
        .filter(|(name, _)| name == "tracestate")
        .map(|(_, value)| value.as_str())
        .collect();
    assert_eq!(carried, ["1", "2", "3", "4"]);
}

#[test]
fn the_scheme_is_sent_only_if_it_is_https() {
    for (more, expected) in [
        ("", None),
        (r#","scheme":"http""#, None),
        (r#","scheme":"https""#, Some("https")),
    ] {
        let made = callout(&format!(r#"{{"lookup":{{"cluster":"auth"{more}}}}}"#), &[]);
        let scheme = made.iter().find(|(name, _)| name == ":scheme");
        assert_eq!(scheme.map(|(_, scheme)| scheme.as_str()), expected);
    }
}

#[test]
fn the_listed_headers_are_propagated_and_no_others() {
    let config = r#"{"lookup":{"cluster":"auth","propagate_headers":["X-B3-TraceId","baggage"],
                     "headers":{"baggage":"mine"}}}"#;
    let sent: [(&str, &[u8]); 4] = [
        ("x-b3-traceid", b"80f198ee56343ba864fe8b2a57d3eff7"),
        ("baggage", b"theirs"),
        ("x-request-id", b"1"),
        ("cookie", b"session=1"),
    ];
    let made = callout(config, &sent);
    let named = |name: &str| {
        let values = made.iter().filter(|(other, _)| other == name);
        values.map(|(_, value)| value.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(named("x-b3-traceid"), ["80f198ee56343ba864fe8b2a57d3eff7"]);
    assert_eq!(named("baggage"), ["mine"]);
    assert!(named("x-request-id").is_empty() && named("cookie").is_empty());
}
