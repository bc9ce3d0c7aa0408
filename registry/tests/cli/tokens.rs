//! The tokens that `serve` reads from its environment.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::process::{Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{Registry, get, text};

const ADMIN: &str = "KEYSTILE_ADMIN_TOKEN";
const SERVICE: &str = "KEYSTILE_SERVICE_TOKEN";
const GOOD: &str = "0123456789abcdef0123456789abcdef";

/// Runs a server that must not start, and returns its output.
fn refused(registry: &Registry, tokens: &[(&str, &OsStr)]) -> Output {
    let mut command = registry.command(&["serve", "--listen=127.0.0.1:0"]);
    command.envs(tokens.iter().copied());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("spawn");
    let deadline = Instant::now() + Duration::from_secs(20);
    while child.try_wait().expect("wait").is_none() {
        if Instant::now() >= deadline {
            child.kill().expect("kill");
            let output = child.wait_with_output();
            panic!("{tokens:?}: the server started: {output:?}");
        }
        sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().expect("output");
    assert_eq!(output.status.code(), Some(1), "{tokens:?}: {output:?}");
    assert!(output.stdout.is_empty(), "{tokens:?}: {output:?}");
    output
}

#[test]
fn a_token_that_could_be_guessed_is_refused() {
    let registry = Registry::new();
    let values: [OsString; 9] = [
        "".into(),
        "x".into(),
        "admin-secret".into(),
        GOOD[1..].into(),
        format!("{GOOD} {GOOD}").into(),
        format!("{GOOD}\n").into(),
        format!("{GOOD}ä").into(),
        "ä".repeat(32).into(),
        OsString::from_vec([GOOD.as_bytes(), &[0xff]].concat()),
    ];
    for variable in [ADMIN, SERVICE] {
        for value in &values {
            let message = text(&refused(&registry, &[(variable, value)]).stderr);
            for part in [variable, "at least 32 characters", "`openssl rand -hex 32`"] {
                assert!(message.contains(part), "{variable} {value:?}: {message}");
            }
            let shown = value.to_string_lossy();
            let parts = shown.split(' ').filter(|part| part.len() > 4);
            for part in parts {
                assert!(!message.contains(part.trim_end()), "{value:?}: {message}");
            }
        }
    }
}

#[test]
fn the_same_token_twice_is_refused() {
    let registry = Registry::new();
    let good = OsStr::new(GOOD);
    let message = text(&refused(&registry, &[(ADMIN, good), (SERVICE, good)]).stderr);
    for part in [ADMIN, SERVICE, "must differ", "`openssl rand -hex 32`"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(!message.contains(GOOD), "{message}");
}

#[test]
fn tokens_of_32_characters_open_what_they_are_for() {
    let registry = Registry::new();
    let off = get(registry.serve().address, "/admin/v1/keys");
    assert_eq!((off.0, &off.1["error"]), (404, &json!("admin_api_off")));
    let mut command = registry.command(&["serve", "--listen=127.0.0.1:0", "--json"]);
    command.env(ADMIN, GOOD).env(SERVICE, GOOD.to_uppercase());
    let server = registry.start(command);
    for path in ["/admin/v1/keys", "/v1/changes"] {
        assert_eq!(get(server.address, path).0, 401, "{path}");
    }
    let with = |path: &str, token: &str| {
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: registry\r\nconnection: close\r\n\
             authorization: Bearer {token}\r\n\r\n"
        );
        crate::harness::exchange(server.address, request.as_bytes()).0
    };
    let cases = [
        ("/admin/v1/keys", GOOD, 200),
        ("/v1/changes", &*GOOD.to_uppercase(), 200),
        ("/admin/v1/keys", &*GOOD.to_uppercase(), 401),
        ("/v1/changes", GOOD, 401),
    ];
    for (path, token, status) in cases {
        assert_eq!(with(path, token), status, "{path} {token}");
    }
    let log = server.stop(Signal::SIGTERM);
    let shown = log.to_lowercase();
    assert!(!shown.contains(GOOD), "{log}");
}
