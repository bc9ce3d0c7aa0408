//! Arbitrary values from clients. None may be reported as a failure of the database.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{Registry, Server, exchange, field};
use crate::test_database::{TestDatabase, on_both};

on_both! {
    no_request_is_a_failure_of_the_database,
}

const ADMIN: &str = "the-admin-token-0123456789abcdef0123";

fn serve(registry: &Registry) -> Server {
    let mut command = registry.command(&["serve", "--listen=127.0.0.1:0", "--json"]);
    command.env("KEYSTILE_ADMIN_TOKEN", ADMIN);
    registry.start(command)
}

/// Returns the status and body of the response to a request with this request line and these bytes
/// as a header.
fn send(server: &Server, line: &str, header: &[u8], body: &str) -> (u16, String) {
    let head = format!(
        "{line} HTTP/1.1\r\nhost: registry\r\nconnection: close\r\n\
         authorization: Bearer {ADMIN}\r\ncontent-length: {}\r\n",
        body.len()
    );
    let request = [head.as_bytes(), header, b"\r\n", body.as_bytes()].concat();
    exchange(server.address, &request)
}

async fn no_request_is_a_failure_of_the_database(database: TestDatabase) {
    check_requests(Registry::on(database), 201);
}

/// A database that cannot store every character.
#[test]
fn no_request_is_a_failure_of_a_database_in_latin_1() {
    check_requests(Registry::on(TestDatabase::latin_1()), 400);
}

/// `beyond` is the status expected for a name with characters that Latin-1 does not have.
fn check_requests(registry: Registry, beyond: u16) {
    let server = serve(&registry);
    let key = registry.json(&["create", "--account=a", "--environment=production"]);
    check_cursors(&server);
    check_ids_and_limits(&server);
    check_lookups(&server, &crate::sha256(field(&key, "key")));
    check_bodies(&server, field(&key, "key_id"), beyond);
    let log = server.stop(Signal::SIGTERM);
    for failure in ["the database failed", "one by one", "ERROR"] {
        assert!(!log.contains(failure), "{failure}: {log}");
    }
}

/// Anything that is not a cursor of this feed gets a reset.
fn check_cursors(server: &Server) {
    let newest = send(server, "GET /v1/changes", b"", "").1;
    let newest: Value = serde_json::from_str(&newest).expect("JSON");
    let parts: Vec<_> = field(&newest, "cursor").split('-').collect();
    let [feed_id, number, token] = parts[..] else {
        panic!("{newest}");
    };
    let long = "9".repeat(1000);
    let mut cursors = vec![
        format!("{feed_id}-{number}"),
        format!("{feed_id}-{}", i64::MAX),
    ];
    for number in [
        "9223372036854775807",
        "9223372036854775806",
        "9223372036854775808",
        "-1",
        "-9223372036854775808",
        "%2B1",
        "01",
        "%00",
        "1%00",
        &long,
        "1e9",
        "",
    ] {
        cursors.push(format!("{feed_id}-{number}-{token}"));
    }
    let texts = [
        "%00",
        "%ff",
        "%ed%a0%80",
        "-",
        "--",
        "%E2%9C%93",
        "'%3B--",
        &long,
    ];
    for text in texts {
        cursors.push(text.to_owned());
        cursors.push(format!("{text}-{number}-{token}"));
        cursors.push(format!("{feed_id}-{number}-{text}"));
    }
    let reset = json!({"cursor": newest["cursor"], "changes": [], "reset": true});
    for cursor in &cursors {
        let (status, body) = send(server, &format!("GET /v1/changes?after={cursor}"), b"", "");
        assert_eq!(status, 200, "{cursor}: {body}");
        let page: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(page, reset, "{cursor}");
    }
}

fn check_ids_and_limits(server: &Server) {
    let long = "9".repeat(1000);
    for id in [
        "key_%00",
        "%00",
        "key_%ff",
        "%ff",
        "key_%E2%9C%93",
        "key_'",
        "key_%25",
        "key_%2e%2e",
        &long,
        "aw_x",
    ] {
        let one = format!("/admin/v1/keys/{id}");
        for (line, expected, code) in [
            (format!("GET {one}"), 404, "key_not_found"),
            (format!("PATCH {one}"), 404, "key_not_found"),
            (format!("DELETE {one}"), 404, "key_not_found"),
            (format!("POST {one}/revoke"), 404, "key_not_found"),
            (format!("POST {one}/rotate"), 404, "key_not_found"),
            (
                format!("GET /admin/v1/keys?cursor={id}"),
                400,
                "invalid_cursor",
            ),
        ] {
            let (status, body) = send(server, &line, b"", "{}");
            assert_eq!(status, expected, "{line}: {body}");
            assert!(body.contains(code), "{line}: {body}");
        }
    }
    let limits = [
        "0",
        "-1",
        "1001",
        "4294967296",
        "18446744073709551616",
        "%00",
        "1%00",
        "1e3",
        &long,
    ];
    for limit in limits {
        for path in ["/v1/changes", "/admin/v1/keys"] {
            let line = format!("GET {path}?limit={limit}");
            let (status, body) = send(server, &line, b"", "");
            assert_eq!(status, 400, "{line}: {body}");
            assert!(body.contains("invalid_limit"), "{line}: {body}");
        }
    }
}

/// `hash` belongs to a key of the environment `production`.
fn check_lookups(server: &Server, hash: &str) {
    for path in [
        "%00",
        "%ff",
        &format!("{}%00", &hash[..61]),
        &format!("{hash}%00"),
    ] {
        let line = format!("GET /v1/key-hashes/{path}");
        let (status, body) = send(server, &line, b"", "");
        assert_eq!(status, 400, "{line}: {body}");
    }
    // HTTP itself forbids some of these values.
    let environments: [(&[u8], u16); 12] = [
        (b"production", 200),
        (b"", 200),
        (b"Production", 404),
        (b"production\0", 400),
        (b"\0", 400),
        (b"\x7f", 400),
        (b"\xff", 404),
        ("\u{e4}".as_bytes(), 404),
        ("\u{2713}".as_bytes(), 404),
        (b"\xed\xa0\x80", 404),
        (b"a\tb\"\\u0000'", 404),
        (&[b'e'; 7000], 404),
    ];
    for (environment, expected) in environments {
        let header = [b"x-keystile-environment: ", environment, b"\r\n"].concat();
        let line = format!("GET /v1/key-hashes/{hash}");
        let (status, body) = send(server, &line, &header, "");
        assert_eq!(status, expected, "{environment:?}: {body}");
    }
}

fn check_bodies(server: &Server, key_id: &str, beyond: u16) {
    let create = "POST /admin/v1/keys";
    let update = &*format!("PATCH /admin/v1/keys/{key_id}");
    let rotate = &*format!("POST /admin/v1/keys/{key_id}/rotate");
    let of_key = format!(
        r#"{{"account_id": "a", "key": "{}\u0000"}}"#,
        "k".repeat(40)
    );
    let named = if beyond == 201 { 200 } else { beyond };
    let cases = [
        (create, r#"{"account_id": "a\u0000"}"#, 400),
        (create, r#"{"account_id": "a", "name": "a\u0000"}"#, 400),
        (
            create,
            r#"{"account_id": "a", "environment": "\u0000"}"#,
            400,
        ),
        (
            create,
            r#"{"account_id": "a", "expires_at": "\u0000"}"#,
            400,
        ),
        (
            create,
            r#"{"account_id": "a", "endpoints": ["\u0000"]}"#,
            400,
        ),
        (
            create,
            r#"{"account_id": "a", "endpoints": ["/\u0000"]}"#,
            400,
        ),
        (create, r#"{"account_id": "a", "\u0000": 1}"#, 400),
        (create, &of_key, 400),
        (create, r#"{"account_id": "a", "name": "\ud800"}"#, 400),
        (create, r#"{"account_id": "a", "name": "größer"}"#, 201),
        (create, r#"{"account_id": "a", "name": "\uffff"}"#, beyond),
        (create, r#"{"account_id": "a", "name": "✓"}"#, beyond),
        (
            create,
            r#"{"account_id": "a", "expires_at": "0000-01-01T00:00:00Z"}"#,
            201,
        ),
        (
            create,
            r#"{"account_id": "a", "expires_at": "9999-12-31T23:59:59Z"}"#,
            201,
        ),
        (
            create,
            r#"{"account_id": "a", "expires_at": "10000-01-01T00:00:00Z"}"#,
            400,
        ),
        (update, r#"{"name": "a\u0000"}"#, 400),
        (update, r#"{"name": "✓"}"#, named),
        (rotate, r#"{"grace": "\u0000"}"#, 400),
        (rotate, r#"{"grace": "99999999999999999999s"}"#, 400),
        (rotate, r#"{"grace": "3650d"}"#, 201),
    ];
    for (line, body, expected) in cases {
        let (status, answer) = send(server, line, b"", body);
        assert_eq!(status, expected, "{line} {body}: {answer}");
        let says_so = answer.contains("\"invalid_body\"");
        assert_eq!(says_so, expected == 400, "{line} {body}: {answer}");
    }
}
