//! Row 10: answers that a healthy registry never gives, and auth clusters that cannot be reached. Also
//! similar answers that are verdicts nevertheless.

use keystile_e2e::keys::GOOD;
use keystile_e2e::scripted_auth::{Script, answer};

use crate::table::Expect::{Allowed, Refused};
use crate::table::{self, Case, Expect, case};

const INTERNAL: Expect = Refused("internal_error");

keystile_e2e::suite!(Alone, || table::trials(cases()));

fn cases() -> Vec<Case> {
    let scripted = bodies()
        .into_iter()
        .map(|(name, body, expect)| (name, Script::Answer(answer("200 OK", &body)), expect))
        .chain(statuses())
        .chain(connections());
    let mut cases: Vec<_> = scripted
        .map(|(name, script, expect)| case(&name, expect).scripted(script).lookups(1))
        .collect();
    cases.extend([
        case("10: timeout", INTERNAL)
            .on("impatient")
            .scripted(Script::Hang)
            .lookups(1),
        case("10: timeout, HEAD", INTERNAL)
            .on("impatient")
            .method("HEAD")
            .scripted(Script::Hang)
            .lookups(1),
        case("10: unknown cluster", INTERNAL)
            .on("unknown_cluster")
            .bearer("{active}"),
        case("10: connection refused", INTERNAL)
            .on("refused")
            .bearer("{active}"),
        case("10: no host", INTERNAL)
            .on("hostless")
            .bearer("{active}"),
        case("10: breaker full", INTERNAL)
            .on("breaker")
            .bearer("{active}"),
        case(
            "10: the other side: no lookup, no outage",
            Refused("api_key_missing"),
        )
        .on("unknown_cluster"),
    ]);
    cases
}

fn bodies() -> Vec<(String, String, Expect)> {
    let record = |rest: &str| format!(r#"{{"key_id":"key_1","account_id":"acct_1",{rest}}}"#);
    let huge = "k".repeat(1024 * 1024);
    [
        ("10: empty body", String::new(), INTERNAL),
        (
            "10: HTML",
            "<html><body>It works!</body></html>".to_owned(),
            INTERNAL,
        ),
        ("10: cut-off JSON", GOOD[..30].to_owned(), INTERNAL),
        ("10: trailing garbage", format!("{GOOD} x"), INTERNAL),
        ("10: an array", format!("[{GOOD}]"), INTERNAL),
        (
            "10: an array of fields",
            r#"["key_1","active","acct_1",null,null,null]"#.to_owned(),
            INTERNAL,
        ),
        (
            "10: no status",
            r#"{"key_id":"key_1"}"#.to_owned(),
            INTERNAL,
        ),
        (
            "10: no key_id",
            r#"{"status":"active"}"#.to_owned(),
            INTERNAL,
        ),
        (
            "10: unknown status",
            record(r#""status":"suspended""#),
            INTERNAL,
        ),
        (
            "10: status in another case",
            record(r#""status":"ACTIVE""#),
            INTERNAL,
        ),
        ("10: status is true", record(r#""status":true"#), INTERNAL),
        (
            "10: status twice",
            record(r#""status":"revoked","status":"active""#),
            INTERNAL,
        ),
        (
            "10: key_id is a number",
            r#"{"key_id":1,"status":"active"}"#.to_owned(),
            INTERNAL,
        ),
        (
            "10: key_id with a line break",
            r#"{"key_id":"k\r\nx-admin: 1","status":"active"}"#.to_owned(),
            INTERNAL,
        ),
        (
            "10: key_id of 1 MB",
            format!(r#"{{"key_id":"{huge}","status":"active"}}"#),
            INTERNAL,
        ),
        (
            "10: 10 MB body",
            format!("{GOOD}{}", " ".repeat(10 * 1024 * 1024)),
            INTERNAL,
        ),
        (
            "10: deep JSON",
            record(&format!(
                r#""status":"active","x":{}{}"#,
                "[".repeat(20_000),
                "]".repeat(20_000)
            )),
            Allowed,
        ),
        (
            "10: deep endpoints",
            record(&format!(
                r#""status":"active","endpoints":{}{}"#,
                "[".repeat(20_000),
                "]".repeat(20_000)
            )),
            INTERNAL,
        ),
        (
            "10: expires_at unreadable",
            record(r#""status":"active","expires_at":"soon""#),
            INTERNAL,
        ),
        (
            "10: endpoints is a string",
            record(r#""status":"active","endpoints":"/""#),
            INTERNAL,
        ),
        (
            "10: the other side: unknown fields",
            record(r#""status":"active","x":{"y":[1]},"endpoints":null"#),
            Allowed,
        ),
        (
            "8: endpoints is empty",
            record(r#""status":"active","endpoints":[]"#),
            Refused("endpoint_restricted"),
        ),
        (
            "8: endpoint is empty",
            record(r#""status":"active","endpoints":[""]"#),
            Refused("endpoint_restricted"),
        ),
        (
            "8: endpoint is everything",
            record(r#""status":"active","endpoints":["/"]"#),
            Allowed,
        ),
    ]
    .map(|(name, body, expect)| (name.to_owned(), body, expect))
    .to_vec()
}

fn statuses() -> impl Iterator<Item = (String, Script, Expect)> {
    let indeterminate = [
        "201 Created",
        "202 Accepted",
        "204 No Content",
        "206 Partial Content",
        "301 Moved",
        "302 Found",
        "304 Not Modified",
        "400 Bad Request",
        "401 Unauthorized",
        "403 Forbidden",
        "405 Method Not Allowed",
        "429 Too Many Requests",
        "500 Oops",
        "502 Bad Gateway",
        "503 Unavailable",
        "504 Timeout",
    ];
    let indeterminate = indeterminate.map(|status| {
        // A body on 204 and 304 would be a broken message, which is a separate case.
        let body = if status.starts_with("204") || status.starts_with("304") {
            ""
        } else {
            GOOD
        };
        (
            format!("10: {status}"),
            Script::Answer(answer(status, body)),
            INTERNAL,
        )
    });
    let not_found = ["404 Not Found", "410 Gone"].map(|status| {
        let script = Script::Answer(answer(status, GOOD));
        (
            format!("5: {status} with a record"),
            script,
            Refused("api_key_not_found"),
        )
    });
    indeterminate.into_iter().chain(not_found)
}

fn connections() -> Vec<(String, Script, Expect)> {
    let many_headers: String = (0..1000).map(|n| format!("x-{n}: y\r\n")).collect();
    let with_headers = |headers: &str| {
        format!(
            "HTTP/1.1 200 OK\r\n{headers}content-length: {}\r\n\r\n{GOOD}",
            GOOD.len()
        )
    };
    let cut_off = format!("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{GOOD}");
    [
        (
            "10: closed without an answer",
            Script::Answer(Vec::new()),
            INTERNAL,
        ),
        (
            "10: reset without an answer",
            Script::AnswerAndReset(Vec::new()),
            INTERNAL,
        ),
        (
            "10: not HTTP",
            Script::Answer(b"220 smtp ready\r\n".to_vec()),
            INTERNAL,
        ),
        (
            "10: cut-off headers",
            Script::Answer(b"HTTP/1.1 200 OK\r\ncont".to_vec()),
            INTERNAL,
        ),
        (
            "10: closed inside the body",
            Script::Answer(cut_off.clone().into_bytes()),
            INTERNAL,
        ),
        (
            "10: reset inside the body",
            Script::AnswerAndReset(cut_off.into_bytes()),
            INTERNAL,
        ),
        (
            "10: 1000 headers",
            Script::Answer(with_headers(&many_headers).into_bytes()),
            INTERNAL,
        ),
        (
            "10: two lengths",
            Script::Answer(with_headers("content-length: 1\r\n").into_bytes()),
            INTERNAL,
        ),
        (
            "10: the other side: odd headers",
            Script::Answer(
                with_headers("x-\u{e4}: 1\r\n")
                    .replace('\u{e4}', "a")
                    .into_bytes(),
            ),
            Allowed,
        ),
    ]
    .map(|(name, script, expect)| (name.to_owned(), script, expect))
    .to_vec()
}
