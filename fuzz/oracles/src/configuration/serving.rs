//! How requests are served with an accepted configuration.

use std::time::Duration;

use keystile::engine::Engine;
use keystile::engine::fake_host::{End, FakeHost, Sent};
use keystile::engine::settings::Settings;
use keystile::request::headers::Request;
use keystile::request::key_tag::TAG_LENGTH;
use serde_json::{Value, json};

/// 2027-01-15T08:00:00Z
const WALL: Duration = Duration::from_secs(1_800_000_000);

const NOW: Duration = Duration::from_secs(1);

type Headers<'a> = &'a [(&'a str, &'a [u8])];

/// Sends a few requests through an engine, with every answer that a lookup may have.
pub(super) fn assert_serves(config: &Settings) {
    let format = &config.policy.credential.formats[0];
    let tag_length = format.tag.as_ref().map_or(0, |_| TAG_LENGTH);
    let length = format.max_length.min(50).max(format.min_length);
    // The letter `a` is in every alphabet.
    let rest = "a".repeat(length - format.prefix.len() - tag_length);
    let untagged = format!("{}{rest}", format.prefix);
    let tag = format.tag.as_ref();
    let tag = tag.map(|tagger| tagger.tag(untagged.as_bytes()).expect("a secret"));
    let key = format!("{untagged}{}", tag.unwrap_or_default());
    for source in &config.policy.credential.sources {
        let scheme = source.scheme.as_ref().map(|scheme| format!("{scheme} "));
        let credential = format!("{}{key}", scheme.unwrap_or_default());
        let headers: [(&str, &[u8]); 3] = [
            (":method", b"POST"),
            (":path", b"/v1/x"),
            (&source.header, credential.as_bytes()),
        ];
        if config.policy.exempt.matches(&Request::new(&headers)) {
            continue;
        }
        for (answer, error) in answers(config) {
            let end = send(config, &headers, &key, Some((answer.0, &answer.1)));
            match error {
                Some(error) => assert_refused(&end, error),
                None => assert_eq!(end, End::Forwarded, "after {answer:?}"),
            }
        }
    }
    for headers in others(&key) {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_slice()))
            .collect();
        if let End::Answered { .. } = send(config, &headers, &key, None) {
            let request = Request::new(&headers);
            assert!(
                !config.policy.exempt.matches(&request),
                "an exempt request was refused"
            );
        }
    }
}

/// Returns the status and body of each answer, and the error that it leads to.
fn answers(config: &Settings) -> [((&'static str, String), Option<&'static str>); 6] {
    let record = |status: &str, expires_at: Option<&str>, endpoints: Option<[&str; 0]>| {
        let record = json!({
            "key_id": "key_1",
            "status": status,
            "account_id": "acct_1",
            "environment": config.policy.environment,
            "expires_at": expires_at,
            "endpoints": endpoints,
        });
        ("200", record.to_string())
    };
    let past = Some("2027-01-15T08:00:00Z");
    [
        (record("active", None, None), None),
        (record("active", past, None), Some("api_key_revoked")),
        (
            record("active", None, Some([])),
            Some("endpoint_restricted"),
        ),
        (record("revoked", None, None), Some("api_key_revoked")),
        (("404", String::new()), Some("api_key_not_found")),
        (("504", String::new()), Some("internal_error")),
    ]
}

/// Returns requests, some of them with a key.
fn others(key: &str) -> [Vec<(&'static str, Vec<u8>)>; 6] {
    let bearer = format!("Bearer {key}").into_bytes();
    let key = key.as_bytes().to_vec();
    [
        vec![],
        vec![
            (":method", b"CONNECT".into()),
            (":authority", b"example.com:443".into()),
        ],
        vec![
            (":method", b"GET".into()),
            (":path", b"/v1/x?y=1".into()),
            ("authorization", bearer.clone()),
        ],
        vec![
            (":method", b"POST".into()),
            (":path", b"/v1/keys/me".into()),
            ("authorization", bearer.clone()),
            ("x-api-key", key),
            ("content-type", b"application/grpc".into()),
            ("x-request-id", b"\xff\0".into()),
            ("traceparent", bearer),
            ("tracestate", b"a=1".into()),
            ("tracestate", b"b=2".into()),
        ],
        vec![
            (":method", b"OPTIONS".into()),
            (":path", b"/%2e%2e/".into()),
            ("origin", b"https://example.com".into()),
            ("access-control-request-method", b"PUT".into()),
            ("x-keystile-key-id", b"key_of_somebody".into()),
        ],
        vec![
            (":method", b"GET".into()),
            (":path", b"*".into()),
            ("x-api-key", b"\xff\xfe,".into()),
            ("x-api-key", b"".into()),
            ("authorization", b"Bearer".into()),
        ],
    ]
}

/// Sends a request, and answers its lookup, if there is one. With an `answer`, it must have a key.
fn send(config: &Settings, headers: Headers<'_>, key: &str, answer: Option<(&str, &str)>) -> End {
    let mut host = FakeHost::default();
    host.wall = WALL;
    let mut engine = Engine::start(&mut host, config.clone());
    engine.on_tick(&mut host, NOW);
    for poll in std::mem::take(&mut host.callouts) {
        assert_sendable(config, &poll, key);
    }
    let stream = host.request(&mut engine, headers, true, NOW);
    let (status, body) = answer.unwrap_or(("404", ""));
    assert!(
        answer.is_none() || !host.callouts.is_empty(),
        "no lookup for a request with a key"
    );
    if let [lookup] = &host.callouts.clone()[..] {
        assert_sendable(config, lookup, key);
        let hash = config.policy.hasher.hash(key.as_bytes()).to_string();
        assert!(lookup.path().contains(&hash), "{}", lookup.path());
        let headers: [(&str, &[u8]); 2] = [
            (":status", status.as_bytes()),
            ("x-keystile-key-hash", hash.as_bytes()),
        ];
        host.answers(&mut engine, lookup.token, &headers, body.as_bytes(), NOW);
    }
    assert!(
        host.callouts.is_empty(),
        "more than one lookup for a request"
    );
    let request = &host.streams[&stream];
    if answer.is_some() {
        let forward = config.policy.credential.forward;
        let credential = headers.last().map_or("", |(name, _)| name);
        assert_eq!(request.values(credential).len(), usize::from(forward));
        for (name, _) in &config.policy.identity_headers {
            assert!(request.values(name).len() <= 1, "{name} is set twice");
        }
    }
    let end = request.end.clone().expect("an end");
    if let End::Answered { headers, .. } = &end {
        for (name, value) in headers {
            assert!(!value.contains(char::is_control), "{name}: {value:?}");
        }
    }
    end
}

/// Checks that the proxy can send a callout, and that headers copied from the client hold no key.
fn assert_sendable(config: &Settings, callout: &Sent, key: &str) {
    assert!(
        callout.timeout >= Duration::from_millis(1),
        "a callout without a timeout"
    );
    assert!(callout.path().starts_with('/'));
    for (name, value) in &callout.headers {
        let of_name = |byte: u8| byte.is_ascii_graphic() && !byte.is_ascii_uppercase();
        assert!(
            !name.is_empty() && name.bytes().all(of_name),
            "header {name:?}"
        );
        let of_value = |byte: u8| (b' '..=b'~').contains(&byte) || byte == b'\t';
        assert!(value.bytes().all(of_value), "{name}: {value:?}");
        let of_client = ["x-request-id", "traceparent", "tracestate"].contains(&&**name)
            && !config.lookup.headers.iter().any(|(other, _)| other == name);
        assert!(
            !(of_client && value.contains(key)),
            "the key was sent to the auth cluster in {name}"
        );
    }
}

/// Checks that the reply has the promised fields, and no others.
fn assert_refused(end: &End, error: &str) {
    let End::Answered { status, body, .. } = end else {
        panic!("{end:?}, not {error}");
    };
    let expected = match error {
        "endpoint_restricted" => 403,
        "internal_error" => 503,
        _ => 401,
    };
    assert_eq!(*status, expected);
    let body: Value = serde_json::from_str(body).expect("a body of JSON");
    let fields = body.as_object().expect("an object");
    assert_eq!(fields.len(), 8, "{body}");
    assert_eq!(body["error"], error);
    assert_eq!(body["timestamp"], "2027-01-15T08:00:00Z");
    assert_eq!(body["retry_after"].is_u64(), error == "internal_error");
    let url = body["doc_url"].as_str().expect("an address");
    assert!(url.ends_with(error), "{url}");
    let message = body["message"].as_str().expect("a message");
    assert!((1..200).contains(&message.chars().count()), "{message}");
    let said = message.to_ascii_lowercase();
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        !said.contains("deleted") && !said.contains("once valid"),
        "{message}"
    );
}
