//! Tests of the built binary, from its command line to its HTTP responses.

mod attacks;
mod audit;
mod files;
mod harness;
#[path = "../support/http2.rs"]
mod http2;
mod listeners;
mod logs;
#[path = "../support/open_files.rs"]
mod open_files;
mod options;
mod refused;
mod restored;
mod serve;
mod serve_tls;
mod tags;
#[path = "../support/database.rs"]
mod test_database;
#[path = "../support/sql.rs"]
mod test_sql;
mod tls;
mod tokens;
mod values;

use std::process::Stdio;

use keystile::request::key_hash::KeyHasher;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{Registry, Server, field, get, text};
use crate::test_database::{TestDatabase, on_both};

on_both! {
    a_key_from_creation_to_deletion,
    a_key_is_changed_and_replaced,
    processes_that_start_together_share_a_new_database,
}

async fn a_key_from_creation_to_deletion(database: TestDatabase) {
    let registry = Registry::on(database);
    let server = registry.serve();
    let created = registry.json(&[
        "create",
        "--account=acct_1",
        "--name=Bob's laptop",
        "--environment=production",
        "--expires-at=2027-01-01T01:00:00.5+01:00",
        "--endpoint=/v1/astro",
        "--endpoint=/v1/numerology/",
    ]);
    let (key, key_id) = (field(&created, "key"), field(&created, "key_id"));
    assert!(key.starts_with("aw_") && key.len() == 46, "{created}");
    let preview = format!("{}…{}", &key[..8], &key[42..]);
    let endpoints = json!(["/v1/astro", "/v1/numerology/"]);
    let mut record = json!({
        "key_id": key_id,
        "preview": preview,
        "account_id": "acct_1",
        "name": "Bob's laptop",
        "environment": "production",
        "status": "active",
        "expires_at": "2027-01-01T00:00:00Z",
        "endpoints": endpoints,
        "created_at": created["created_at"],
        "revoked_at": null,
    });
    assert_eq!(registry.json(&["list"]), json!([record]));
    record["key"] = json!(key);
    assert_eq!(created, record);

    let hash = sha256(key);
    let mut answer = json!({
        "key_id": key_id,
        "status": "active",
        "account_id": "acct_1",
        "environment": "production",
        "expires_at": "2027-01-01T00:00:00Z",
        "endpoints": endpoints,
    });
    assert_eq!(server.lookup(&hash), (200, answer.clone()));

    let revoked = json!({"key_id": key_id, "status": "revoked"});
    assert_eq!(registry.json(&["revoke", key_id]), revoked);
    let first = registry.json(&["list"])[0]["revoked_at"].clone();
    assert!(first.is_string(), "{first}");
    assert_eq!(registry.json(&["revoke", key_id]), revoked);
    assert_eq!(registry.json(&["list"])[0]["revoked_at"], first);
    answer["status"] = json!("revoked");
    assert_eq!(server.lookup(&hash), (200, answer));

    let deleted = json!({"key_id": key_id, "deleted": true});
    assert_eq!(registry.json(&["delete", key_id]), deleted);
    assert_eq!(server.lookup(&hash), (404, json!({"error": "not_found"})));
    assert_eq!(registry.json(&["list"]), json!([]));

    for command in ["delete", "revoke"] {
        let (code, message) = registry.error(&[command, key_id, "--json"]);
        assert_eq!(code, Some(1), "{message}");
        assert!(message.contains("there is no key") && message.contains(key_id));
    }
    let log = server.stop(Signal::SIGTERM);
    assert!(!log.contains(&hash) && !log.contains(key), "{log}");
}

async fn a_key_is_changed_and_replaced(database: TestDatabase) {
    let registry = Registry::on(database);
    let server = registry.serve();
    let old = registry.json(&["create", "--account=a", "--name=n", "--endpoint=/x"]);
    let old_id = field(&old, "key_id");
    let until = "--expires-at=2999-01-01T00:00:00Z";
    let updated = registry.json(&["update", old_id, "--no-name", "--every-endpoint", until]);
    assert_eq!(registry.json(&["get", old_id]), updated);
    assert_eq!(updated["name"], json!(null));
    assert_eq!(updated["endpoints"], json!(null));
    assert_eq!(updated["expires_at"], "2999-01-01T00:00:00Z");
    let updated = registry.json(&["update", old_id, "--no-expiry", "--endpoint=/y"]);
    assert_eq!(updated["expires_at"], json!(null));
    assert_eq!(updated["endpoints"], json!(["/y"]));

    let new = registry.json(&["rotate", old_id, "--grace=1h"]);
    assert_eq!(new["endpoints"], json!(["/y"]));
    assert_eq!(new["previous"], registry.json(&["get", old_id]));
    assert!(new["previous"]["expires_at"].is_string(), "{new}");
    for key in [&old, &new] {
        assert_eq!(server.lookup(&sha256(field(key, "key"))).0, 200);
    }
    let ids = [old_id, field(&new, "key_id")];
    assert_eq!(registry.json(&["list", "--limit=1"])[0]["key_id"], ids[0]);
    let second = registry.json(&["list", "--limit=1", "--after", ids[0]]);
    assert_eq!(second[0]["key_id"], ids[1]);
    assert_eq!(registry.json(&["list", "--after", ids[1]]), json!([]));
    let shown = text(&registry.run(&["rotate", ids[1]]).stdout);
    assert!(
        shown.contains(&format!("then run `revoke {}`", ids[1])),
        "{shown}"
    );

    registry.json(&["revoke", old_id]);
    let (code, message) = registry.error(&["rotate", old_id]);
    assert_eq!(code, Some(1), "{message}");
    assert!(message.contains("is revoked"), "{message}");
}

#[test]
fn a_key_that_was_made_elsewhere_comes_from_standard_input() {
    let registry = Registry::new();
    let create = ["create", "--account", "acct_1", "--key-stdin", "--json"];
    let key = "legacy-0123456789abcdef0123456789";
    let created = registry.run_with(&create, &format!("{key}\nsomething else\n"));
    let created: serde_json::Value = serde_json::from_slice(&created.stdout).expect("JSON");
    assert_eq!(created["key"], key);
    // At most a quarter of the key.
    assert_eq!(created["preview"], "legacy…89");
    let cases = [
        (key.to_owned(), "this key is registered already"),
        (String::new(), "standard input: a key is 32 to 8192"),
        (
            "aw_tooshort\n".to_owned(),
            "standard input: a key is 32 to 8192",
        ),
        ("x".repeat(100_000), "standard input: a key is 32 to 8192"),
    ];
    for (input, expected) in cases {
        let refused = registry.run_with(&create, &input);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        assert!(refused.stdout.is_empty(), "{refused:?}");
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(said.contains(expected), "{said}");
        assert!(!said.contains("tooshort"), "{said}");
    }
}

#[test]
fn absent_options_are_null() {
    let registry = Registry::new();
    let server = registry.serve();
    let created = registry.json(&["create", "--account", "acct_1"]);
    let answer = json!({
        "key_id": created["key_id"],
        "status": "active",
        "account_id": "acct_1",
        "environment": null,
        "expires_at": null,
        "endpoints": null,
    });
    assert_eq!(
        server.lookup(&sha256(field(&created, "key"))),
        (200, answer)
    );
}

#[test]
fn the_key_is_shown_once_and_stored_nowhere() {
    let registry = Registry::new();
    // A running server keeps the write-ahead log in place.
    let server = registry.serve();
    let output = registry.run(&["create", "--account", "acct_1"]);
    let shown = text(&output.stdout);
    let key = shown
        .split_whitespace()
        .find(|word| word.starts_with("aw_"))
        .expect("the key");
    assert_eq!(shown.matches(key).count(), 1, "{shown}");
    assert!(shown.contains("key_0"), "{shown}");
    assert!(shown.contains("never shown again"), "{shown}");

    let list = text(&registry.run(&["list"]).stdout);
    let (head, middle, tail) = (&key[..8], &key[8..42], &key[42..]);
    assert!(list.contains(&format!(" {head}…{tail} ")), "{list}");
    assert!(!list.contains(&middle[..4]), "{list}");

    let holds = |bytes: &[u8], text: &str| {
        bytes
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    assert!(registry.dir.path().join("keystile.db-wal").exists());
    let bytes = registry.database_bytes();
    assert!(holds(&bytes, head), "the record is there");
    assert!(!holds(&bytes, key) && !holds(&bytes, middle));
    server.stop(Signal::SIGINT);
    let bytes = registry.database_bytes();
    assert!(holds(&bytes, head), "the record is there");
    assert!(!holds(&bytes, key) && !holds(&bytes, middle));
}

#[test]
fn the_list_is_a_table() {
    let registry = Registry::new();
    registry.json(&["create", "--account=acct_1", "--name=größer"]);
    registry.json(&["create", "--account=a", "--expires-at=2020-01-01T00:00:00Z"]);
    let list = text(&registry.run(&["list"]).stdout);
    let lines: Vec<_> = list.lines().collect();
    let column = |line: &str, text: &str| {
        let at = line.find(text).expect(text);
        line[..at].chars().count()
    };
    assert_eq!(lines.len(), 3, "{list}");
    assert!(lines[0].starts_with("KEY ID"), "{list}");
    for line in &lines[1..] {
        assert_eq!(column(line, "active"), column(lines[0], "STATUS"), "{list}");
    }
    assert!(lines[1].contains("größer"), "{list}");
    assert!(lines[2].contains("2020-01-01T00:00:00Z"), "{list}");
}

#[test]
fn a_pepper_makes_the_hash_an_hmac() {
    let peppered = |key: &str| {
        let hasher = KeyHasher::new(Some("Jefe")).expect("hasher");
        hasher.hash(key.as_bytes()).to_string()
    };
    // RFC 4231, test case 2: the hasher computes an HMAC. The stored hashes of the new keys must be
    // the hasher's.
    assert_eq!(
        peppered("what do ya want for nothing?"),
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    );

    let registry = Registry::new();
    let server = registry.serve();
    let by_option = registry.json(&["create", "--account=a", "--pepper=Jefe"]);
    let by_variable = registry
        .command(&["create", "--account=a", "--json"])
        .env("KEYSTILE_PEPPER", "Jefe")
        .output()
        .expect("run");
    let by_variable = serde_json::from_slice(&by_variable.stdout).expect("JSON");
    for created in [by_option, by_variable] {
        let key = field(&created, "key");
        assert_eq!(server.lookup(&peppered(key)).0, 200);
        assert_eq!(server.lookup(&sha256(key)).0, 404);
    }
}

#[test]
fn without_json_the_address_is_a_line_of_text() {
    let registry = Registry::new();
    let command = registry.command(&["serve", "--listen=127.0.0.1:0"]);
    let server = Server::start(command, |line| {
        let address = line.strip_prefix("listening on ").expect(line);
        address.strip_suffix('\n').expect(line).to_owned()
    });
    assert_eq!(
        get(server.address, "/healthz"),
        (200, json!({"status": "ok"}))
    );
}

async fn processes_that_start_together_share_a_new_database(database: TestDatabase) {
    let registry = Registry::on(database);
    let children: Vec<_> = (0..8)
        .map(|_| {
            registry
                .command(&["create", "--account=a"])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("spawn")
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().expect("exit");
        assert!(output.status.success(), "{output:?}");
    }
    let keys = registry.json(&["list"]);
    assert_eq!(keys.as_array().map(Vec::len), Some(8), "{keys}");
}

fn sha256(key: &str) -> String {
    KeyHasher::default().hash(key.as_bytes()).to_string()
}
