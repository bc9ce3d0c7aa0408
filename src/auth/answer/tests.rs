use super::*;
use crate::auth::record::Fields;

fn verdict(status: &str, body: &str) -> Verdict {
    answer(status, &[], body).verdict
}

fn answer(status: &str, cache_control: &[&str], body: &str) -> Answer {
    Answer::read(
        Some(status.as_bytes()),
        cache_control.iter().map(|value| value.as_bytes()),
        body.len(),
        || body.as_bytes().to_vec(),
    )
}

fn active() -> Verdict {
    let record = Record::new(Fields::new("key_1"));
    Verdict::Active(Rc::new(record.unwrap()))
}

#[test]
fn status_decides_between_not_found_and_indeterminate() {
    for status in ["404", "410"] {
        for body in ["", "<html>", r#"{"key_id":"key_1","status":"active"}"#] {
            assert_eq!(verdict(status, body), Verdict::NotFound, "{status} {body}");
        }
    }
    let good = r#"{"key_id":"key_1","status":"active"}"#;
    for status in [
        "100", "201", "202", "204", "206", "301", "302", "304", "400", "401", "403", "409", "429",
        "500", "502", "503", "504", "0", "2000", "abc", "", "-200", "+200", "0200", "200 ",
    ] {
        let verdict = verdict(status, good);
        assert!(
            matches!(verdict, Verdict::Indeterminate(_)),
            "{status}: {verdict:?}"
        );
    }
    let reset = Answer::read(None, [].into_iter(), 0, || {
        panic!("there is no body to ask for")
    });
    assert_eq!(reset, Answer::none(Cause::NoAnswer));
}

#[test]
fn an_answer_about_another_hash_is_indeterminate() {
    let hash = KeyHash::from_hex("0a".repeat(32).as_bytes()).unwrap();
    let (own, upper) = ("0a".repeat(32), "0A".repeat(32));
    let (other, short) = ("0b".repeat(32), "0a".repeat(31));
    let cases: [(&[&str], bool); _] = [
        (&[], true),
        (&[&own], true),
        (&[&own, &own], true),
        (&[&upper], true),
        (&[&other], false),
        (&[&own, &other], false),
        (&[&other, &own], false),
        (&[&short], false),
        (&["", &own], false),
        (&["\u{ff}"], false),
        (&[&format!("{own},{own}")], false),
    ];
    let good = r#"{"key_id":"key_1","status":"active"}"#;
    let revoked = r#"{"key_id":"key_1","status":"revoked"}"#;
    for (said, counts) in cases {
        for (status, body) in [("200", good), ("200", revoked), ("404", "")] {
            let answer = answer(status, &["max-age=9"], body);
            let expected = if counts {
                answer.clone()
            } else {
                Answer::none(Cause::HashMismatch)
            };
            let said = said.iter().map(|said| said.as_bytes());
            assert_eq!(answer.about(&hash, said), expected, "{status} {body}");
        }
        let failed = answer("500", &[], "");
        let said = said.iter().map(|said| said.as_bytes());
        assert_eq!(failed.clone().about(&hash, said), failed);
    }
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
    let not_utf8 = Answer::read(Some(b"200"), [].into_iter(), 9, || b"{\"\xff\":1}".to_vec());
    assert!(
        matches!(not_utf8.verdict, Verdict::Indeterminate(_)),
        "{not_utf8:?}"
    );
}

#[test]
fn an_oversized_answer_is_not_even_read() {
    let bytes = MAX_ANSWER + 1;
    let answer = Answer::read(Some(b"200"), [].into_iter(), bytes, || {
        panic!("too large to read")
    });
    assert_eq!(answer, Answer::none(Cause::TooLarge { bytes }));
}

#[test]
fn the_largest_answer_is_read() {
    let record = r#"{"key_id":"key_1","status":"active"}"#;
    let padded = format!("{record}{}", " ".repeat(MAX_ANSWER - record.len()));
    assert_eq!(verdict("200", &padded), active());
}

#[test]
fn messages_of_causes() {
    let cases = [
        (Cause::NotSent(Unsent::NoCluster), "no such cluster"),
        (Cause::NoAnswer, "reset"),
        (Cause::WaitTimedOut, "within lookup.timeout"),
        (Cause::TooManyWait, "too many requests"),
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
        for status in ["200", "404"] {
            let answer = answer(status, values, "");
            let expected = expected.map(Duration::from_secs);
            assert_eq!(answer.max_age, expected, "{name}: {values:?}");
        }
    }
}
