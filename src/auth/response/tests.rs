use std::time::Duration;

use super::*;
use crate::auth::record::{Fields, Record};
use crate::request::key_hash::KeyHasher;

/// Reads an answer to the lookup of [`hash`]. The names of the headers are in lower case.
fn read(status: &str, headers: &[(&str, &str)], body: &str, require_key_hash: bool) -> Answer {
    let status = [(":status", status)].into_iter();
    let headers = status.chain(headers.iter().copied());
    let headers: Vec<_> = headers
        .map(|(name, value)| (name, value.as_bytes()))
        .collect();
    let response = Response {
        headers: Request::new(&headers),
        body_size: body.len(),
        body: &|| body.as_bytes().to_vec(),
    };
    response.answer(&hash(), require_key_hash)
}

fn hash() -> KeyHash {
    KeyHasher::default().hash(b"key")
}

fn verdict(status: &str, body: &str) -> Verdict {
    read(status, &[], body, false).verdict
}

const GOOD: &str = r#"{"key_id":"key_1","status":"active"}"#;

fn active() -> Verdict {
    let record = Record::new(Fields::new("key_1"));
    Verdict::Active(Rc::new(record.unwrap()))
}

#[test]
fn status_decides_between_not_found_and_indeterminate() {
    for status in ["404", "410"] {
        for body in ["", "nothing", GOOD] {
            assert_eq!(verdict(status, body), Verdict::NotFound, "{status} {body}");
        }
    }
    for status in [
        "100", "201", "202", "204", "206", "301", "302", "304", "400", "401", "403", "409", "429",
        "500", "502", "503", "504", "0", "2000", "abc", "", "-200", "+200", "0200", "200 ",
    ] {
        let verdict = verdict(status, GOOD);
        assert!(
            matches!(verdict, Verdict::Indeterminate(_)),
            "{status}: {verdict:?}"
        );
    }
    let reset = Response {
        headers: Request::default(),
        body_size: 0,
        body: &|| panic!("there is no body to ask for"),
    };
    assert_eq!(reset.answer(&hash(), false), Answer::none(Cause::NoAnswer));
}

/// A gateway in front of the auth cluster, or a missing route, knows nothing of the key.
#[test]
fn a_404_in_html_is_indeterminate() {
    let page = "<!DOCTYPE html><title>Not Found</title>";
    let cases: [(&[&str], &str, bool); 10] = [
        (&["text/html"], "", false),
        (&["text/html; charset=utf-8"], page, false),
        (&["Text/HTML"], page, false),
        (&["application/json", "text/html"], "{}", false),
        (&["application/xhtml+xml"], page, false),
        (&[], page, false),
        (&["application/json"], r#"{"error":"<html>"}"#, true),
        (&["text/plain"], "404 page not found", true),
        (&["application/problem+json"], "{}", true),
        (&[""], "", true),
    ];
    for (content_types, body, counts) in cases {
        let headers = content_types.iter();
        let headers: Vec<_> = headers.map(|value| ("content-type", *value)).collect();
        for (status, number) in [("404", 404), ("410", 410)] {
            let expected = if counts {
                Verdict::NotFound
            } else {
                Verdict::Indeterminate(Cause::Html(number))
            };
            let answer = read(status, &headers, body, false);
            assert_eq!(answer.verdict, expected, "{content_types:?} {body}");
        }
    }
}

#[test]
fn an_answer_about_another_hash_is_indeterminate() {
    let own = hash().to_string();
    let (upper, short) = (own.to_uppercase(), "0a".repeat(31));
    let (other, twice) = ("0b".repeat(32), format!("{own},{own}"));
    let cases: [(&[&str], bool); _] = [
        (&[&own], true),
        (&[&own, &own], true),
        (&[&upper], true),
        (&[&other], false),
        (&[&own, &other], false),
        (&[&other, &own], false),
        (&[&short], false),
        (&["", &own], false),
        (&["\u{ff}"], false),
        (&[&twice], false),
    ];
    let revoked = r#"{"key_id":"key_1","status":"revoked"}"#;
    for (named, counts) in cases {
        let headers: Vec<_> = named.iter().map(|hash| (KEY_HASH, *hash)).collect();
        for (status, body) in [("200", GOOD), ("200", revoked), ("404", "")] {
            for required in [false, true] {
                let expected = if counts {
                    verdict(status, body)
                } else {
                    Verdict::Indeterminate(Cause::HashMismatch)
                };
                let answer = read(status, &headers, body, required);
                assert_eq!(answer.verdict, expected, "{status} {named:?}");
                assert!(answer.names_hash);
            }
        }
        let failed = read("500", &headers, "", true).verdict;
        assert_eq!(failed, Verdict::Indeterminate(Cause::Status(500)));
    }
}

#[test]
fn an_answer_without_a_hash_counts_unless_it_is_required() {
    for (status, number, body) in [("200", 200, GOOD), ("404", 404, ""), ("410", 410, "")] {
        let without = |required| read(status, &[], body, required);
        assert_eq!(without(false).verdict, verdict(status, body));
        assert!(!without(false).names_hash);
        let missing = Verdict::Indeterminate(Cause::NoHash(number));
        assert_eq!(without(true).verdict, missing);
    }
}

/// Envoy itself answers like this if the auth cluster breaks off.
#[test]
fn resets_are_told_from_other_failures() {
    let reset = |reason| {
        format!("upstream connect error or disconnect/reset before headers. reset reason: {reason}")
    };
    let (protocol, closed) = (reset("protocol error"), reset("connection termination"));
    let (stream, refused) = (reset("remote reset"), reset("remote connection failure"));
    let long = format!("{protocol}{}", " ".repeat(1024));
    let served: &[(&str, &str)] = &[("x-envoy-upstream-service-time", "1")];
    let none: &[(&str, &str)] = &[];
    let cases = [
        ("502", none, &*protocol, Cause::ProtocolError),
        ("502", served, &*protocol, Cause::Status(502)),
        ("502", none, "Bad Gateway", Cause::Status(502)),
        ("502", none, &*long, Cause::Status(502)),
        ("503", none, &*closed, Cause::Closed),
        ("503", served, &*closed, Cause::Status(503)),
        ("503", none, &*stream, Cause::Reset),
        ("503", none, &*refused, Cause::Status(503)),
        ("503", none, &*protocol, Cause::Status(503)),
        ("500", none, &*protocol, Cause::Status(500)),
    ];
    for (status, headers, body, cause) in cases {
        let answer = read(status, headers, body, false);
        assert_eq!(answer.verdict, Verdict::Indeterminate(cause), "{status}");
    }
}

#[test]
fn a_retry_after_counts_for_429_and_503() {
    let wait: &[(&str, &str)] = &[("retry-after", "30")];
    for (status, counts) in [
        ("429", true),
        ("503", true),
        ("500", false),
        ("200", false),
        ("404", false),
    ] {
        let expected = counts.then_some(Duration::from_secs(30));
        assert_eq!(
            read(status, wait, GOOD, false).retry_after,
            expected,
            "{status}"
        );
    }
}

#[test]
fn a_wrong_content_type_is_named() {
    let html: &[(&str, &str)] = &[("content-type", "text/html; charset=utf-8")];
    let json: &[(&str, &str)] = &[("content-type", "application/json")];
    for (headers, is_named) in [(html, true), (json, false), (&[][..], false)] {
        let Verdict::Indeterminate(cause) = read("200", headers, "<html>", false).verdict else {
            panic!("a page is no record");
        };
        let line = cause.to_string();
        assert_eq!(
            line.contains("content-type is text/html"),
            is_named,
            "{line}"
        );
    }
    // A record counts whatever its type: there are auth clusters that omit it.
    assert_eq!(read("200", html, GOOD, false).verdict, active());
}

#[test]
fn invalid_records_are_indeterminate() {
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
    let not_utf8 = Response {
        headers: Request::new(&[(":status", b"200")]),
        body_size: 9,
        body: &|| b"{\"\xff\":1}".to_vec(),
    };
    let not_utf8 = not_utf8.answer(&hash(), false).verdict;
    assert!(
        matches!(not_utf8, Verdict::Indeterminate(_)),
        "{not_utf8:?}"
    );
}

#[test]
fn an_oversized_answer_is_not_even_read() {
    let bytes = MAX_ANSWER + 1;
    let response = Response {
        headers: Request::new(&[(":status", b"200")]),
        body_size: bytes,
        body: &|| panic!("too large to read"),
    };
    let answer = response.answer(&hash(), false);
    assert_eq!(answer, Answer::none(Cause::TooLarge { bytes }));
}

#[test]
fn the_largest_answer_is_read() {
    let padded = format!("{GOOD}{}", " ".repeat(MAX_ANSWER - GOOD.len()));
    assert_eq!(verdict("200", &padded), active());
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

#[test]
fn cache_control_shortens() {
    let cases: [(&str, &[&str], Option<u64>); 24] = [
        ("absent", &[], None),
        ("empty", &[""], None),
        (
            "other directives only",
            &["public, must-revalidate, immutable"],
            None,
        ),
        ("max-age", &["max-age=7"], Some(7)),
        ("zero", &["max-age=0"], Some(0)),
        ("no-store", &["no-store"], Some(0)),
        ("no-cache", &["no-cache"], Some(0)),
        (
            "no-cache with a field",
            &["no-cache=\"set-cookie\""],
            Some(0),
        ),
        ("in any case", &["Max-Age=7"], Some(7)),
        ("in any case", &["NO-STORE"], Some(0)),
        ("with spaces", &["private ,\tmax-age = 7 "], Some(7)),
        ("quoted", &["max-age=\"7\""], Some(7)),
        (
            "the shortest",
            &["max-age=9, max-age=7, max-age=8"],
            Some(7),
        ),
        ("beside no-store", &["max-age=9, no-store"], Some(0)),
        ("in two headers", &["max-age=9", "max-age=7"], Some(7)),
        ("in the second header", &["private", "no-store"], Some(0)),
        ("no number", &["max-age=soon"], Some(0)),
        ("nothing", &["max-age="], Some(0)),
        ("no equals sign", &["max-age"], Some(0)),
        ("negative", &["max-age=-1"], Some(0)),
        ("a fraction", &["max-age=1.5"], Some(0)),
        (
            "immense",
            &["max-age=99999999999999999999999"],
            Some(u64::MAX),
        ),
        ("another directive", &["s-maxage=3, x-max-age=4"], None),
        ("not text", &["\u{ff}=1, max-age=7"], Some(7)),
    ];
    for (name, values, expected) in cases {
        let headers = values.iter();
        let headers: Vec<_> = headers.map(|value| ("cache-control", *value)).collect();
        for status in ["200", "404"] {
            let answer = read(status, &headers, GOOD, false);
            let expected = expected.map(Duration::from_secs);
            assert_eq!(answer.max_age, expected, "{name}: {values:?}");
        }
    }
}

#[test]
fn an_overflow_is_distinguished_from_an_answer() {
    let overflow: [(&str, &[u8]); 3] = [
        (":status", b"503"),
        ("x-envoy-overloaded", b"true"),
        ("content-type", b"text/plain"),
    ];
    let without = |name: &str| {
        let rest = overflow.into_iter().filter(|(other, _)| *other != name);
        rest.collect::<Vec<_>>()
    };
    let with = |name, value| [&without(name)[..], &[(name, value)]].concat();
    let cases = [
        ("overflow", overflow.to_vec(), true),
        ("no connection", without("x-envoy-overloaded"), false),
        ("no status", without(":status"), false),
        ("another status", with(":status", b"200"), false),
        (
            "from the auth cluster",
            with("x-envoy-upstream-service-time", b"0"),
            false,
        ),
    ];
    for (name, headers, expected) in cases {
        let response = Response {
            headers: Request::new(&headers),
            body_size: 0,
            body: &Vec::new,
        };
        let cause = Verdict::Indeterminate(Cause::NotSent(Unsent::Overflow));
        let verdict = response.answer(&hash(), false).verdict;
        assert_eq!(verdict == cause, expected, "{name}");
    }
}
