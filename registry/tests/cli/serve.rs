//! What `serve` does besides answering requests.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{Registry, field, get};
use crate::test_database::{TestDatabase, on_both};

on_both! {
    old_changes_are_pruned,
    a_request_in_progress_is_finished,
}

const ADMIN: &str = "the-admin-token-0123456789abcdef0123";

async fn old_changes_are_pruned(database: TestDatabase) {
    let registry = Registry::on(database);
    let args = ["serve", "--listen=127.0.0.1:0", "--json"];
    let mut command = registry.command(&args);
    command.arg("--keep-changes=0s");
    let server = registry.start(command);
    let newest = get(server.address, "/v1/changes").1;
    let start = field(&newest, "cursor");
    registry.json(&["create", "--account=a"]);
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let news = get(server.address, &format!("/v1/changes?after={start}")).1;
        if news["reset"] == json!(true) {
            break;
        }
        assert!(Instant::now() < deadline, "{news}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(registry.json(&["list"]).as_array().map(Vec::len), Some(1));
}

async fn a_request_in_progress_is_finished(database: TestDatabase) {
    let registry = Registry::on(database);
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut command = registry.command(&["serve", "--listen=127.0.0.1:0", "--json"]);
        command.env("KEYSTILE_ADMIN_TOKEN", ADMIN);
        let server = registry.start(command);
        let body = r#"{"account_id": "late"}"#;
        let mut stream = TcpStream::connect(server.address).expect("connect");
        let length = body.len();
        write!(
            stream,
            "POST /admin/v1/keys HTTP/1.1\r\nhost: registry\r\nexpect: 100-continue\r\n\
             authorization: Bearer {ADMIN}\r\ncontent-length: {length}\r\n\r\n"
        )
        .expect("send");
        let mut answer = BufReader::new(stream.try_clone().expect("clone"));
        let mut line = String::new();
        answer.read_line(&mut line).expect("receive");
        // The server sends this when the request's handler starts to read the body.
        assert!(line.starts_with("HTTP/1.1 100 "), "{line}");
        server.signal(signal);
        while TcpStream::connect(server.address).is_ok() {
            tokio::task::yield_now().await;
        }
        let released = Instant::now();
        stream.write_all(body.as_bytes()).expect("send");
        let mut rest = String::new();
        answer.read_to_string(&mut rest).expect("receive");
        let (head, created) = rest.trim_start().split_once("\r\n\r\n").expect("an answer");
        assert!(head.starts_with("HTTP/1.1 201 "), "{head}");
        let created: Value = serde_json::from_str(created).expect("JSON");
        let log = server.ended();
        assert!(log.contains("stopped"), "{log}");
        assert!(!log.contains("not finished in time"), "{log}");
        // The server waits up to 10 seconds for requests in progress, but stops as soon as there
        // are none.
        assert!(released.elapsed() < Duration::from_secs(5), "{log}");
        let stored = registry.json(&["get", field(&created, "key_id")]);
        assert_eq!(stored["account_id"], "late");
    }
}
