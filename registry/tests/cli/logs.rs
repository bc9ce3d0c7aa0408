//! What the log says about requests, and what it never says.

use std::net::SocketAddr;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::{Registry, Server, exchange, field};
use crate::http2::{Frame, WINDOW, get, kind, preface};
use crate::test_database::{TestDatabase, on_both};

on_both! {
    nothing_that_a_client_makes_up_is_in_the_text,
    nothing_that_a_client_makes_up_is_in_the_json,
}

const ADMIN: &str = "the-admin-token-0123456789abcdef0123";
const SERVICE: &str = "the-service-token-0123456789abcdef01";
const WRONG: &str = "a-token-that-is-wrong-0123456789abcd";
/// A key that is not registered.
const KEY: &str = "aw_Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmF";
/// A hash that no registered key has.
const HASH: &str = "c0ffee5eedc0ffee5eedc0ffee5eedc0ffee5eedc0ffee5eedc0ffee5eedc0ff";

/// Starts a server that logs all that the process and its libraries can.
fn serve(registry: &Registry, format: &str) -> Server {
    let mut command = registry.command(&["serve", "--listen=127.0.0.1:0", "--json"]);
    command
        .env("KEYSTILE_ADMIN_TOKEN", ADMIN)
        .env("KEYSTILE_SERVICE_TOKEN", SERVICE)
        .env("KEYSTILE_LOG_FORMAT", format)
        .env("RUST_LOG", "trace");
    registry.start(command)
}

fn send(server: &Server, line: &str, token: &str, body: &str) -> (u16, String) {
    let length = body.len();
    let request = format!(
        "{line} HTTP/1.1\r\nhost: {KEY}\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
         x-request-id: {KEY}\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    exchange(server.address, request.as_bytes())
}

/// Sends requests that are refused or fail, with keys and hashes wherever they fit. Returns the
/// keys that were created.
async fn misbehave(server: &Server, database: &TestDatabase) -> Vec<String> {
    let upper = HASH.to_uppercase();
    let keys = "/admin/v1/keys";
    let cases = [
        (format!("GET /v1/key-hashes/{HASH}"), SERVICE, "", 404),
        (format!("GET /v1/key-hashes/{HASH}"), WRONG, "", 401),
        (format!("GET /v1/key-hashes/{upper}"), SERVICE, "", 400),
        (format!("GET /v1/key-hashes/{KEY}"), SERVICE, "", 400),
        (format!("PUT /v1/key-hashes/{HASH}"), SERVICE, "", 405),
        (format!("{KEY} /v1/key-hashes/{HASH}"), SERVICE, "", 405),
        (format!("GET /v1/changes?limit={KEY}"), SERVICE, "", 400),
        (format!("GET /v1/changes?after={KEY}"), SERVICE, "", 200),
        (format!("GET /{KEY}"), SERVICE, "", 400),
        (format!("GET {keys}"), WRONG, "", 401),
        (format!("GET {keys}/{KEY}"), WRONG, "", 401),
        (format!("GET {keys}/{KEY}"), ADMIN, "", 404),
        (format!("GET {keys}/key_{HASH}"), ADMIN, "", 404),
        (format!("DELETE {keys}/key_{HASH}"), ADMIN, "", 404),
        (format!("POST {keys}/{KEY}/revoke"), ADMIN, "", 404),
        (format!("POST {keys}/{KEY}/rotate"), ADMIN, "", 404),
        (format!("GET {keys}?cursor={KEY}"), ADMIN, "", 400),
        (format!("POST {keys}"), ADMIN, KEY, 400),
    ];
    for (line, token, body, status) in cases {
        assert_eq!(send(server, &line, token, body).0, status, "{line}");
    }
    let field = format!("{{\"account_id\": \"a\", \"{KEY}\": \"{HASH}\"}}");
    let value = format!("{{\"account_id\": \"{KEY} {HASH}\"}}");
    for body in [field, value] {
        let line = format!("POST {keys}");
        assert_eq!(send(server, &line, ADMIN, &body).0, 400, "{body}");
    }

    let good = r#"{"account_id": "a"}"#;
    let (status, created) = send(server, &format!("POST {keys}"), ADMIN, good);
    assert_eq!(status, 201, "{created}");
    let created: Value = serde_json::from_str(&created).expect("JSON");
    let line = format!(
        "POST {keys}/{}/rotate",
        created["key_id"].as_str().expect("ID")
    );
    let (status, rotated) = send(server, &line, ADMIN, "");
    assert_eq!(status, 201, "{rotated}");
    let rotated: Value = serde_json::from_str(&rotated).expect("JSON");

    send_unreadable_path(server.address).await;
    database.run("ALTER TABLE api_keys RENAME TO away").await;
    for (line, token, body) in [
        (format!("GET /v1/key-hashes/{HASH}"), SERVICE, ""),
        (format!("POST {keys}"), ADMIN, good),
        (format!("GET {keys}/key_{}", &HASH[..26]), ADMIN, ""),
    ] {
        assert_eq!(send(server, &line, token, body).0, 503, "{line}");
    }
    [created, rotated].map(|key| field_of(&key)).to_vec()
}

fn field_of(created: &Value) -> String {
    field(created, "key").to_owned()
}

/// Sends an HTTP/2 request with an invalid path. The library resets its stream.
async fn send_unreadable_path(address: SocketAddr) {
    let path = format!("/v1/key-hashes/{HASH} {KEY}");
    let request = [preface(WINDOW), get(1, &path)].concat();
    let mut stream = TcpStream::connect(address).await.expect("connect");
    stream.write_all(&request).await.expect("send");
    while Frame::read(&mut stream).await.expect("a frame").kind != kind::RST_STREAM {}
}

async fn misbehaved(database: TestDatabase, format: &str) -> String {
    let registry = Registry::on(database);
    let server = serve(&registry, format);
    let database = registry.database.as_ref().expect("a database");
    let made = misbehave(&server, database).await;
    let log = server.stop(Signal::SIGTERM);
    let upper = HASH.to_uppercase();
    let mut secrets = vec![ADMIN, SERVICE, WRONG, KEY, HASH, &upper];
    secrets.extend(made.iter().map(String::as_str));
    for secret in secrets {
        // A part of a secret must not leak either.
        let secret = &secret[..secret.len().min(16)];
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret}");
    }
    log
}

async fn nothing_that_a_client_makes_up_is_in_the_text(database: TestDatabase) {
    let log = misbehaved(database, "text").await;
    for part in [
        "DEBUG access: answered method=\"GET\" route=\"/v1/key-hashes/{key_hash}\" status=404 duration_us=",
        "DEBUG access: answered method=\"other\" route=\"/v1/key-hashes/{key_hash}\" status=405",
        "DEBUG access: answered method=\"GET\" route=\"none\" status=400",
        "ERROR keystile_registry::http::error: the database failed cause=",
        "INFO keystile_registry::keys::admin: a key was created key_id=\"key_",
    ] {
        assert!(log.contains(part), "{part}\n{log}");
    }
}

async fn nothing_that_a_client_makes_up_is_in_the_json(database: TestDatabase) {
    let log = misbehaved(database, "json").await;
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    assert!(lines.iter().all(|line| line["timestamp"].is_string()));
    let answered = |status: u16| {
        let mut answered = lines.iter().filter(|line| line["target"] == "access");
        answered.any(|line| {
            line["level"] == "DEBUG"
                && line["message"] == "answered"
                && line["method"] == "GET"
                && line["route"] == "/v1/key-hashes/{key_hash}"
                && line["status"] == status
                && line["duration_us"].is_u64()
        })
    };
    assert!(answered(404) && answered(400) && answered(503), "{log}");
    let failed = |line: &&Value| line["message"] == "the database failed";
    let failed = lines.iter().find(failed).expect("the cause");
    assert!(failed["cause"].is_string(), "{failed}");
}

#[test]
fn requests_are_not_in_the_log_unless_asked_for() {
    let registry = Registry::new();
    let command = registry.command(&["serve", "--listen=127.0.0.1:0", "--json"]);
    let server = registry.start(command);
    assert_eq!(server.lookup(HASH).0, 404);
    let log = server.stop(Signal::SIGTERM);
    assert!(
        !log.contains("answered") && log.contains("listening"),
        "{log}"
    );
}

#[test]
fn fatal_errors_are_logged_as_json_too() {
    let registry = Registry::new();
    let args = ["get", "key_none", "--log-format=json"];
    let (code, message) = registry.error(&args);
    assert_eq!(code, Some(1), "{message}");
    let line: Value = serde_json::from_str(&message).expect(&message);
    assert_eq!(line["level"], json!("ERROR"));
    let text = field(&line, "message");
    assert!(text.contains("key_none"), "{text}");
    // Even if the log is off, or `RUST_LOG` is invalid.
    for level in ["off", "what=ever=else"] {
        let mut command = registry.command(&args);
        let output = command.env("RUST_LOG", level).output().expect("run");
        assert!(!output.stderr.is_empty(), "{level}");
    }
}
