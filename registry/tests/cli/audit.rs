//! What the log says about changes and who made them.

use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::signal::Signal;
use nix::unistd::{User, geteuid};
use serde_json::Value;

use crate::harness::{Registry, Server, exchange, field, text};

pub(crate) const ADMIN: &str = "Admin-token-0123456789abcdef0123456789";
pub(crate) const SERVICE: &str = "Service-token-0123456789abcdef01234567";

/// Returns the name of the user that runs the tests, or the user ID if there is no name.
fn user() -> String {
    let user = User::from_uid(geteuid()).expect("users");
    user.map_or_else(|| geteuid().to_string(), |user| user.name)
}

/// Returns the only log line about a change.
fn change(log: &str) -> &str {
    let lines: Vec<_> = log.lines().filter(|it| it.contains("a key was ")).collect();
    let [line] = lines[..] else {
        panic!("{} lines: {log}", lines.len());
    };
    line
}

#[test]
fn changes_by_commands_are_logged_with_who_made_them() {
    let registry = Registry::new();
    let created = registry.run(&["create", "--account=a", "--json"]);
    let (log, created) = (text(&created.stderr), text(&created.stdout));
    let created: Value = serde_json::from_str(&created).expect("JSON");
    let (key, key_id) = (field(&created, "key"), field(&created, "key_id"));
    let expected = |done: &str, action: &str| {
        let user = user();
        format!("a key was {done} key_id=\"{key_id}\" action=\"{action}\" actor=\"cli:{user}\"")
    };
    let line = change(&log);
    assert!(line.contains(&expected("created", "create")), "{line}");
    assert!(line.contains(" INFO "), "{line}");
    assert!(!log.contains(&key[8..42]), "{log}");
    let cases: [(&[&str], _); 3] = [
        (&["update", key_id, "--name=x"], ("updated", "update")),
        (&["revoke", key_id], ("revoked", "revoke")),
        (&["delete", key_id], ("deleted", "delete")),
    ];
    for (args, (done, action)) in cases {
        let log = text(&registry.run(args).stderr);
        let line = change(&log);
        assert!(line.contains(&expected(done, action)), "{args:?}: {line}");
    }
    // Neither showing keys nor a command that fails is a change.
    let quiet: [&[&str]; 6] = [
        &["list"],
        &["get", key_id],
        &["update", key_id, "--name=y"],
        &["revoke", key_id],
        &["delete", key_id],
        &["rotate", key_id],
    ];
    for args in quiet {
        let log = text(&registry.run(args).stderr);
        assert!(!log.contains("a key was "), "{args:?}: {log}");
    }
}

#[test]
fn a_rotation_names_both_keys() {
    let registry = Registry::new();
    let old = registry.json(&["create", "--account=a"]);
    let args = [
        "rotate",
        field(&old, "key_id"),
        "--json",
        "--log-format=json",
    ];
    let output = registry.run(&args);
    let new: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let log = text(&output.stderr);
    let line: Value = serde_json::from_str(change(&log)).expect("JSON");
    let expected = [
        ("level", "INFO"),
        ("message", "a key was rotated"),
        ("key_id", field(&old, "key_id")),
        ("new_key_id", field(&new, "key_id")),
        ("action", "rotate"),
        ("actor", &format!("cli:{}", user())),
    ];
    for (name, value) in expected {
        assert_eq!(line[name], value, "{name}: {line}");
    }
    assert!(line.get("sudo_user").is_none(), "{line}");
}

#[test]
fn sudo_is_told_and_cannot_forge_a_line() {
    let cases = [
        ("alice", Some("alice")),
        ("", None),
        (
            "a\n2026-01-01T00:00:00Z  INFO forged",
            Some("a?2026-01-01T00?00?00Z??INFO?forged"),
        ),
        ("\u{1b}[2J\" actor=\"cli:bob", Some("??2J??actor??cli?bob")),
        (&"x".repeat(10_000), Some(&"x".repeat(64))),
    ];
    for (value, expected) in cases {
        let registry = Registry::new();
        let mut command = registry.command(&["create", "--account=a"]);
        let output = command.env("SUDO_USER", value).output().expect("run");
        let log = text(&output.stderr);
        let line = change(&log);
        match expected {
            None => assert!(!line.contains("sudo_user"), "{line}"),
            Some(name) => {
                let end = format!("actor=\"cli:{}\" sudo_user=\"{name}\"", user());
                assert!(line.ends_with(&end), "{value:?}: {line}");
            }
        }
    }
}

/// This is the case in a container, where the user has no name.
#[test]
fn a_user_without_a_name_is_a_number() {
    if !geteuid().is_root() {
        println!("not tested: only root can become another user");
        return;
    }
    let has_no_name = |user: &u32| User::from_uid((*user).into()).expect("users").is_none();
    let nobody = (50_000..60_000)
        .find(has_no_name)
        .expect("a number without a name");
    let registry = Registry::new();
    let folder = registry.dir.path();
    // Other users may not enter the build folder.
    let program = folder.join("keystile-registry");
    // Copied by another process: a program cannot start while a child that another test has just
    // forked holds the file open for writing.
    let installed = Command::new("install")
        .args(["-m", "755", env!("CARGO_BIN_EXE_keystile-registry")])
        .arg(&program)
        .status()
        .expect("install");
    assert!(installed.success(), "{installed}");
    chown(folder, Some(nobody), Some(nobody)).expect("chown");
    let mut command = Command::new(&program);
    command.args(["create", "--account=a"]).current_dir(folder);
    let output = command.uid(nobody).gid(nobody).output().expect("run");
    let log = text(&output.stderr);
    let actor = format!("actor=\"cli:{nobody}\"");
    assert!(change(&log).contains(&actor), "{log}");
}

pub(crate) fn serve(registry: &Registry) -> Server {
    let mut command = registry.command(&["serve", "--listen=127.0.0.1:0", "--json"]);
    command
        .env("KEYSTILE_ADMIN_TOKEN", ADMIN)
        .env("KEYSTILE_SERVICE_TOKEN", SERVICE)
        .env("KEYSTILE_LOG_FORMAT", "json");
    registry.start(command)
}

pub(crate) fn send(to: SocketAddr, line: &str, headers: &[String], body: &str) -> u16 {
    let headers: String = headers.iter().map(|it| format!("{it}\r\n")).collect();
    let request = format!(
        "{line} HTTP/1.1\r\nhost: registry\r\nconnection: close\r\ncontent-length: {}\r\n\
         {headers}\r\n{body}",
        body.len()
    );
    exchange(to, request.as_bytes()).0
}

pub(crate) fn lines(log: &str, message: &str) -> Vec<Value> {
    let lines = log
        .lines()
        .map(|line| serde_json::from_str(line).expect(line));
    lines
        .filter(|line: &Value| line["message"] == message)
        .collect()
}

pub(crate) fn is_local(peer: &Value) -> bool {
    let peer = peer
        .as_str()
        .and_then(|peer| peer.parse::<SocketAddr>().ok());
    peer.is_some_and(|peer| peer.ip().is_loopback() && peer.port() > 0)
}

#[test]
fn changes_by_the_admin_api_are_logged_with_their_peer() {
    let registry = Registry::new();
    let server = serve(&registry);
    let key = registry.json(&["create", "--account=a"]);
    let path = format!("/admin/v1/keys/{}", field(&key, "key_id"));
    let token = [format!("authorization: Bearer {ADMIN}")];
    let cases = [
        (
            "POST /admin/v1/keys".to_owned(),
            r#"{"account_id": "a"}"#,
            201,
        ),
        (format!("PATCH {path}"), "{}", 200),
        (format!("POST {path}/rotate"), "", 201),
        (format!("POST {path}/revoke"), "", 200),
        (format!("DELETE {path}"), "", 204),
        (format!("DELETE {path}"), "", 404),
    ];
    for (line, body, status) in cases {
        assert_eq!(send(server.address, &line, &token, body), status, "{line}");
    }
    let log = server.stop(Signal::SIGTERM);
    for (done, action) in [
        ("created", "create"),
        ("updated", "update"),
        ("rotated", "rotate"),
        ("revoked", "revoke"),
        ("deleted", "delete"),
    ] {
        let lines = lines(&log, &format!("a key was {done}"));
        let [line] = &lines[..] else {
            panic!("{done}: {log}");
        };
        assert_eq!(
            (&line["level"], &line["action"], &line["actor"]),
            (&"INFO".into(), &action.into(), &"admin".into()),
            "{line}"
        );
        assert!(is_local(&line["peer"]), "{line}");
        assert_eq!(line["new_key_id"].is_string(), done == "rotated", "{line}");
        if done != "created" {
            assert_eq!(line["key_id"], key["key_id"], "{line}");
        }
    }
}
