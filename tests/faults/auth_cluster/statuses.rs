//! Answers with statuses of all kinds, each with the record of an active key in its body.

use keystile_e2e::keys::GOOD;
use keystile_e2e::scripted_auth::{Script, answer, answer_with};

use super::expect::Expect::{Internal, Refused};
use super::records::allowed;
use super::rows::{Row, Table};

pub(crate) fn tables() -> Vec<Table> {
    // Statuses that allow no body get one too, as a server may do by mistake.
    let indeterminate = [
        "201 Created",
        "202 Accepted",
        "203 Non-Authoritative Information",
        "204 No Content",
        "205 Reset Content",
        "206 Partial Content",
        "207 Multi-Status",
        "226 IM Used",
        "299 Fine",
        "300 Multiple Choices",
        "303 See Other",
        "304 Not Modified",
        "305 Use Proxy",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
        "400 Bad Request",
        "401 Unauthorized",
        "402 Payment Required",
        "403 Forbidden",
        "405 Method Not Allowed",
        "406 Not Acceptable",
        "407 Proxy Authentication Required",
        "408 Request Timeout",
        "409 Conflict",
        "411 Length Required",
        "412 Precondition Failed",
        "418 I'm a teapot",
        "421 Misdirected Request",
        "422 Unprocessable Content",
        "425 Too Early",
        "426 Upgrade Required",
        "429 Too Many Requests",
        "431 Request Header Fields Too Large",
        "451 Unavailable For Legal Reasons",
        "499 Client Closed Request",
        "500 Internal Server Error",
        "501 Not Implemented",
        "502 Bad Gateway",
        "503 Service Unavailable",
        "504 Gateway Timeout",
        "505 HTTP Version Not Supported",
        "507 Insufficient Storage",
        "511 Network Authentication Required",
        "520 Unknown",
        "599 Network Connect Timeout",
        "600 What",
        "999 Request Denied",
        "000 None",
        "099 Early",
        "020 Early",
        "20 Short",
        "2000 Long",
        "-200 Signed",
        "2e2 Number",
        "abc Letters",
        "4o4 Letters",
        "404.0 Fraction",
        "\u{662}\u{660}\u{660} Digits of another script",
    ];
    let indeterminate = indeterminate.map(|status| {
        let script = Script::Answer(answer(status, GOOD));
        Row::new(&format!("status {status}"), script, Internal)
    });
    let headed = [
        ("301 Moved Permanently", "location: /v1/key-hashes/0"),
        ("302 Found", "location: http://127.0.0.1:1/"),
        ("302 Found, relative", "location: ."),
        (
            "503 Service Unavailable, to be kept",
            "cache-control: max-age=3600",
        ),
        (
            "500 Internal Server Error, to be kept",
            "cache-control: max-age=3600",
        ),
        (
            "401 Unauthorized, with a challenge",
            "www-authenticate: Bearer",
        ),
    ];
    let headed = headed.map(|(status, line)| {
        let script = Script::Answer(answer_with(status, &[line], GOOD));
        Row::new(&format!("status {status}"), script, Internal)
    });
    let not_found = ["404 Not Found", "410 Gone"].map(|status| {
        let script = Script::Answer(answer(status, GOOD));
        Row::new(
            &format!("status {status}"),
            script,
            Refused("api_key_not_found"),
        )
    });
    let good = ["200", "200 ", "200 404 Not Found"].map(|status| {
        let script = Script::Answer(answer(status, GOOD));
        Row::new(&format!("status {status:?}"), script, allowed())
    });
    let verdicts = not_found.into_iter().chain(good).collect();
    vec![
        Table::new("a status that is no verdict", indeterminate.into()),
        Table::new("a status with a header for others", headed.into()),
        Table::new("a status that is a verdict", verdicts),
    ]
}
