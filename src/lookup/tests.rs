use super::*;
use crate::config::Config;
use crate::credential::KeyHasher;

fn verdict(status: &str, body: &str) -> Verdict {
    Verdict::of_answer(Some(status.as_bytes()), body.len(), || {
        body.as_bytes().to_vec()
    })
}

fn active() -> Record {
    Record {
        key_id: "key_1".to_owned(),
        account_id: None,
        environment: None,
        expires_at: None,
        endpoints: None,
    }
}

#[test]
fn a_record_is_read() {
    let full = r#"{"key_id":"key_1","status":"active","account_id":"acct_1","environment":"production",
        "expires_at":"2027-01-01T00:00:00Z","endpoints":["/v1/numerology/"],"extra":{"x":[1]}}"#;
    let expected = Record {
        account_id: Some("acct_1".to_owned()),
        environment: Some("production".to_owned()),
        expires_at: Some(Duration::from_secs(1_798_761_600)),
        endpoints: Some(vec![PathPrefix::new("/v1/numerology/".to_owned())]),
        ..active()
    };
    assert_eq!(verdict("200", full), Verdict::Active(expected));

    let minimal = r#"{"key_id":"key_1","status":"active"}"#;
    assert_eq!(verdict("200", minimal), Verdict::Active(active()));
    let nulls = r#"{"key_id":"key_1","status":"revoked","account_id":null,"environment":null,
        "expires_at":null,"endpoints":null}"#;
    assert_eq!(verdict("200", nulls), Verdict::Revoked(active()));
    let none = r#"{"key_id":"key_1","status":"active","endpoints":[]}"#;
    let expected = Record {
        endpoints: Some(Vec::new()),
        ..active()
    };
    assert_eq!(verdict("200", none), Verdict::Active(expected));
}

#[test]
fn times_are_of_rfc_3339() {
    let cases = [
        (
            "2027-01-01T00:00:00Z",
            Some(Duration::from_secs(1_798_761_600)),
        ),
        (
            "2027-01-01T02:00:00+02:00",
            Some(Duration::from_secs(1_798_761_600)),
        ),
        (
            "2027-01-01T00:00:00.5Z",
            Some(Duration::from_millis(1_798_761_600_500)),
        ),
        ("1960-01-01T00:00:00Z", Some(Duration::ZERO)),
        ("2027-01-01", None),
        ("2027-01-01T00:00:00", None),
        ("tomorrow", None),
        ("", None),
    ];
    for (text, expected) in cases {
        assert_eq!(parse_time(text).ok(), expected, "{text}");
    }
}

#[test]
fn without_a_record_there_is_no_verdict_but_not_found() {
    for status in ["404", "410"] {
        for body in ["", "<html>", r#"{"key_id":"key_1","status":"active"}"#] {
            assert_eq!(verdict(status, body), Verdict::NotFound, "{status} {body}");
        }
    }
    let good = r#"{"key_id":"key_1","status":"active"}"#;
    for status in [
        "100", "201", "202", "204", "206", "301", "302", "304", "400", "401", "403", "409", "429",
        "500", "502", "503", "504", "0", "2000", "abc", "", "-200", "200 ",
    ] {
        let verdict = verdict(status, good);
        assert!(
            matches!(verdict, Verdict::Indeterminate(_)),
            "{status}: {verdict:?}"
        );
    }
    let reset = Verdict::of_answer(None, 0, || panic!("there is no body to ask for"));
    assert_eq!(reset, Verdict::Indeterminate(Cause::NoAnswer));
}

#[test]
fn what_is_not_a_record_is_indeterminate() {
    let long_id = format!(r#"{{"key_id":"{}","status":"active"}}"#, "k".repeat(257));
    let deep = format!(
        r#"{{"key_id":"k","status":"active","endpoints":{}{}}}"#,
        "[".repeat(9000),
        "]".repeat(9000)
    );
    let cases = [
        "",
        " ",
        "null",
        "true",
        "[]",
        r#"["key_1","active",null,null,null,null]"#,
        r#""active""#,
        "<html><body>OK</body></html>",
        "{}",
        r#"{"key_id":"key_1"}"#,
        r#"{"status":"active"}"#,
        r#"{"key_id":"key_1","status":"active""#,
        r#"{"key_id":"key_1","status":"active"} trailing"#,
        r#"{"key_id":"key_1","status":"active"}{"key_id":"key_1","status":"active"}"#,
        r#"{"key_id":"key_1","status":"suspended"}"#,
        r#"{"key_id":"key_1","status":"Active"}"#,
        r#"{"key_id":"key_1","status":""}"#,
        r#"{"key_id":"key_1","status":null}"#,
        r#"{"key_id":"key_1","status":true}"#,
        r#"{"key_id":"key_1","status":["active"]}"#,
        r#"{"key_id":"key_1","status":{"active":null}}"#,
        r#"{"key_id":"key_1","status":"revoked","status":"active"}"#,
        r#"{"key_id":"key_1","key_id":"key_2","status":"active"}"#,
        r#"{"key_id":"key_1","status":"active","endpoints":["/a"],"endpoints":null}"#,
        r#"{"key_id":null,"status":"active"}"#,
        r#"{"key_id":7,"status":"active"}"#,
        r#"{"key_id":"","status":"active"}"#,
        r#"{"key_id":" key_1","status":"active"}"#,
        r#"{"key_id":"key_1\r\nx-admin: 1","status":"active"}"#,
        r#"{"key_id":"key\u0000","status":"active"}"#,
        r#"{"key_id":"schlüssel","status":"active"}"#,
        r#"{"key_id":"key_1","status":"active","account_id":"a\nb"}"#,
        r#"{"key_id":"key_1","status":"active","account_id":""}"#,
        r#"{"key_id":"key_1","status":"active","account_id":7}"#,
        r#"{"key_id":"key_1","status":"active","environment":"a\tb"}"#,
        r#"{"key_id":"key_1","status":"active","environment":["production"]}"#,
        r#"{"key_id":"key_1","status":"active","expires_at":"soon"}"#,
        r#"{"key_id":"key_1","status":"active","expires_at":1798761600}"#,
        r#"{"key_id":"key_1","status":"active","endpoints":"/v1"}"#,
        r#"{"key_id":"key_1","status":"active","endpoints":[null]}"#,
        r#"{"key_id":"key_1","status":"active","endpoints":{}}"#,
        &long_id,
        &deep,
    ];
    for body in cases {
        let verdict = verdict("200", body);
        assert!(
            matches!(verdict, Verdict::Indeterminate(Cause::Unreadable(_))),
            "{body}: {verdict:?}"
        );
    }
    let not_utf8 = Verdict::of_answer(Some(b"200"), 9, || b"{\"\xff\":1}".to_vec());
    assert!(
        matches!(not_utf8, Verdict::Indeterminate(_)),
        "{not_utf8:?}"
    );
}

#[test]
fn an_oversized_answer_is_not_even_read() {
    let verdict = Verdict::of_answer(Some(b"200"), MAX_ANSWER + 1, || panic!("too large to read"));
    let bytes = MAX_ANSWER + 1;
    assert_eq!(verdict, Verdict::Indeterminate(Cause::TooLarge { bytes }));
}

#[test]
fn the_largest_answer_is_read() {
    let record = r#"{"key_id":"key_1","status":"active"}"#;
    let padded = format!("{record}{}", " ".repeat(MAX_ANSWER - record.len()));
    assert_eq!(verdict("200", &padded), Verdict::Active(active()));
}

#[test]
fn causes_say_what_happened() {
    let cases = [
        (
            Cause::NotSent {
                reason: "no such cluster",
            },
            "no such cluster",
        ),
        (Cause::NoAnswer, "reset"),
        (Cause::Status(504), "lookup.timeout passed"),
        (Cause::Status(503), "no connection"),
        (Cause::Status(418), "answer 418"),
        (Cause::TooLarge { bytes: 70_000 }, "70000 bytes"),
        (
            Cause::Unreadable("status must be".to_owned()),
            "not a record: status must be",
        ),
    ];
    for (cause, expected) in cases {
        let text = cause.to_string();
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn causes_do_not_quote_the_answer() {
    for body in [
        r#"{"key_id":"key_1","status":"active","endpoints":"hunter2"}"#,
        r#"{"key_id":"key_1","status":"active","endpoints":"hunter2, expected x"}"#,
        r#"{"key_id":"key_1","status":"active","expires_at":"hunter2"}"#,
        r#"{"key_id":"key_1","status":"hunter2"}"#,
        r#""hunter2""#,
    ] {
        let Verdict::Indeterminate(cause) = verdict("200", body) else {
            panic!("{body}");
        };
        assert!(!cause.to_string().contains("hunter2"), "{cause}");
    }
}

#[test]
fn causes_fit_a_line_of_the_log() {
    let long = format!(
        r#"{{"key_id":"key_1","status":"active","endpoints":["{}"#,
        "\n".repeat(60_000)
    );
    let Verdict::Indeterminate(cause) = verdict("200", &long) else {
        panic!("a cut-off answer is no verdict");
    };
    let line = cause.to_string();
    assert!(line.len() < 250 && !line.contains('\n'), "{line}");
}

fn callout(config: &str, headers: &[(&str, &[u8])]) -> Vec<(String, String)> {
    let config = Config::parse(config.as_bytes()).unwrap();
    let headers = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.to_vec()))
        .collect();
    let hash = KeyHasher::new(None).unwrap().hash(b"abc");
    config.lookup.callout(&hash, &Request::new(headers)).headers
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
