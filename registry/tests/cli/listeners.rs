//! Where `serve` listens, and what it refuses or warns about.

use std::net::{SocketAddr, TcpListener};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{Registry, exchange, get, text};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const ADMIN_TOKEN: &str = "fedcba9876543210fedcba9876543210";

/// Returns the status and the error code of a response. The code is empty if there is none.
fn answer(to: SocketAddr, path: &str) -> (u16, String) {
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: registry\r\nconnection: close\r\n\
         authorization: Bearer {ADMIN_TOKEN}\r\n\r\n"
    );
    let (status, body) = exchange(to, request.as_bytes());
    let body: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
    let error = body["error"].as_str().unwrap_or_default();
    (status, error.to_owned())
}

#[test]
fn beyond_loopback_a_service_token_is_needed() {
    // `None`: the server starts.
    let refused = Some("KEYSTILE_SERVICE_TOKEN");
    let cases = [
        ("127.0.0.1:0", &[][..], None),
        ("127.8.8.8:0", &[], None),
        ("[::1]:0", &[], None),
        ("[::ffff:127.0.0.1]:0", &[], None),
        ("0.0.0.0:0", &[], refused),
        ("[::]:0", &[], refused),
        ("[::ffff:0.0.0.0]:0", &[], refused),
        ("192.0.2.1:0", &[], refused),
        ("[::ffff:192.0.2.1]:0", &[], refused),
        ("0.0.0.0:0", &["--insecure-no-token"], None),
        ("0.0.0.0:0", &["--admin-listen=127.0.0.1:0"], refused),
        (
            "127.0.0.1:0",
            &["--admin-listen=0.0.0.0:0", "--metrics-listen=0.0.0.0:0"],
            None,
        ),
    ];
    for (listen, more, problem) in cases {
        let registry = Registry::new();
        let args = [&["serve", "--json", "--listen", listen], more].concat();
        if problem.is_none() {
            let server = registry.start(registry.command(&args));
            let log = server.stop(Signal::SIGTERM);
            let warned = log.contains("there is no service token");
            let insecure = more.contains(&"--insecure-no-token");
            assert_eq!(warned, insecure, "{listen} {more:?}: {log}");
            continue;
        }
        let (code, message) = registry.error(&args);
        assert_eq!(code, Some(1), "{listen} {more:?}: {message}");
        for part in [
            listen,
            "hashes in the change feed",
            "each key's account",
            "Set KEYSTILE_SERVICE_TOKEN",
            "listen on 127.0.0.1",
            "--insecure-no-token",
        ] {
            assert!(
                message.contains(part),
                "{listen} {more:?}: no {part:?}: {message}"
            );
        }
        assert!(
            !registry.dir.path().join("keystile.db").exists(),
            "{listen}"
        );
        let mut command = registry.command(&args);
        if listen.contains("192.0.2.1") {
            // This machine has no such address.
            continue;
        }
        command.env("KEYSTILE_SERVICE_TOKEN", TOKEN);
        let log = registry.start(command).stop(Signal::SIGTERM);
        assert!(
            !log.contains("there is no service token"),
            "{listen}: {log}"
        );
    }
}

#[test]
fn admin_api_and_metrics_may_have_listeners_of_their_own() {
    let registry = Registry::new();
    let lookup = format!("/v1/key-hashes/{}", "0".repeat(64));
    // What each path returns on each listener, for each set of listeners.
    let here = |status: u16, error: &str| (status, error.to_owned());
    let unknown = || here(400, "unknown_route");
    for (admin, metrics) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut args = vec!["serve", "--json", "--listen=127.0.0.1:0"];
        args.extend(admin.then_some("--admin-listen=127.0.0.1:0"));
        args.extend(metrics.then_some("--metrics-listen=127.0.0.1:0"));
        let mut command = registry.command(&args);
        command.env("KEYSTILE_ADMIN_TOKEN", ADMIN_TOKEN);
        let server = registry.start(command);
        let only = |yes: bool, answer: (u16, String)| if yes { answer } else { unknown() };
        let mut listeners = vec![("main", server.address, true, !admin, !metrics)];
        if admin {
            listeners.push(("admin", server.secondary("admin"), false, true, false));
        }
        if metrics {
            listeners.push(("metrics", server.secondary("metrics"), false, false, true));
        }
        for (name, to, lookups, admin, metrics) in listeners {
            for (path, expected) in [
                (&lookup[..], only(lookups, here(404, "not_found"))),
                ("/v1/changes", only(lookups, here(200, ""))),
                ("/admin/v1/keys", only(admin, here(200, ""))),
                (
                    "/admin/v1/keys/key_none",
                    only(admin, here(404, "key_not_found")),
                ),
                ("/metrics", only(metrics, here(200, ""))),
                ("/openapi.json", only(lookups || admin, here(200, ""))),
                ("/healthz", here(200, "")),
                ("/readyz", here(200, "")),
                ("/", unknown()),
            ] {
                assert_eq!(answer(to, path), expected, "{args:?}, {name}: {path}");
            }
        }
        let mut ready = json!({"listening": server.address});
        for (name, is_there) in [("admin", admin), ("metrics", metrics)] {
            if is_there {
                ready[name] = json!(server.secondary(name));
            }
        }
        assert_eq!(server.ready(), ready, "{args:?}");
    }
}

#[test]
fn without_json_each_address_is_a_line_of_text() {
    let registry = Registry::new();
    let args = [
        "serve",
        "--listen=127.0.0.1:0",
        "--admin-listen=[::1]:0",
        "--metrics-listen=127.0.0.1:0",
    ];
    let mut command = registry.command(&args);
    let mut child = command
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("spawn");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(
        child.stdout.take().expect("stdout"),
    ));
    for start in [
        "listening on 127.0.0.1:",
        "admin API on [::1]:",
        "metrics on 127.0.0.1:",
    ] {
        let line = lines.next().expect("a line").expect("text");
        let port = line
            .strip_prefix(start)
            .unwrap_or_else(|| panic!("{start}: {line}"));
        assert!(port.parse::<u16>().is_ok_and(|port| port > 0), "{line}");
    }
    child.kill().expect("kill");
    child.wait().expect("wait");
}

#[test]
fn exposed_admin_api_is_warned_about() {
    let off = "--admin-listen answers 404";
    let shared = "--admin-listen to give it a separate port";
    let cases = [
        ("--listen=127.0.0.1:0", None, true, None),
        ("--listen=0.0.0.0:0", None, false, None),
        ("--listen=0.0.0.0:0", None, true, Some(shared)),
        (
            "--listen=0.0.0.0:0",
            Some("--admin-listen=127.0.0.1:0"),
            true,
            None,
        ),
        (
            "--listen=0.0.0.0:0",
            Some("--admin-listen=127.0.0.1:0"),
            false,
            Some(off),
        ),
    ];
    let registry = Registry::new();
    for (listen, admin_listen, token, warning) in cases {
        let mut args = vec!["serve", "--json", listen];
        args.extend(admin_listen);
        let mut command = registry.command(&args);
        command.env("KEYSTILE_SERVICE_TOKEN", TOKEN);
        if token {
            command.env("KEYSTILE_ADMIN_TOKEN", ADMIN_TOKEN);
        }
        let server = registry.start(command);
        if warning == Some(off) {
            let off = answer(server.secondary("admin"), "/admin/v1/keys");
            assert_eq!(off, (404, "admin_api_off".to_owned()), "{args:?}");
        }
        let log = server.stop(Signal::SIGTERM);
        for text in [off, shared] {
            assert_eq!(
                log.contains(text),
                warning == Some(text),
                "{args:?} {token}: {log}"
            );
        }
    }
}

#[test]
fn listeners_that_cannot_be_are_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("bind");
    let taken = taken.local_addr().expect("address").to_string();
    let free = "127.0.0.1:8999";
    let cases: [(&[&str], &[&str]); 6] = [
        (
            &["--listen", free, "--admin-listen", free],
            &["--listen and --admin-listen", free, "different ports"],
        ),
        (
            &["--listen", free, "--metrics-listen", free],
            &["--listen and --metrics-listen", free],
        ),
        (
            &["--admin-listen", free, "--metrics-listen", free],
            &["--admin-listen and --metrics-listen", free],
        ),
        (
            &["--listen=127.0.0.1:0", "--admin-listen", &taken],
            &["--admin-listen", &taken],
        ),
        (
            &["--listen=127.0.0.1:0", "--metrics-listen", &taken],
            &["--metrics-listen", &taken],
        ),
        (&["--listen", &taken], &["--listen", &taken]),
    ];
    let registry = Registry::new();
    for (args, parts) in cases {
        let (code, message) = registry.error(&[&["serve"], args].concat());
        assert_eq!(code, Some(1), "{args:?}: {message}");
        for part in parts {
            assert!(message.contains(part), "{args:?}: no {part:?}: {message}");
        }
    }
}

#[test]
fn connections_fit_into_the_limit_of_open_files() {
    let registry = Registry::new();
    let serve = ["serve", "--json", "--listen=127.0.0.1:0"];
    let cases = [
        (1024, "--max-connections=897", Err("leaves room for 896")),
        (
            1024,
            "--max-connections=896",
            Ok("connections=896 files=1024"),
        ),
        (1024, "--concurrency=1", Ok("connections=896 files=1024")),
        (140, "--concurrency=1", Err("the limit of 140 open files")),
    ];
    for (files, option, expected) in cases {
        let args = [&serve[..], &[option]].concat();
        let mut command = registry.command_with_files(files, &args);
        match expected {
            Ok(part) => {
                let server = registry.start(command);
                assert_eq!(get(server.address, "/healthz").0, 200, "{option}");
                let log = server.stop(Signal::SIGTERM);
                assert!(log.contains(part), "{option}: {log}");
            }
            Err(part) => {
                let output = command.output().expect("run");
                let message = text(&output.stderr);
                assert_eq!(output.status.code(), Some(1), "{option}: {message}");
                assert!(message.contains(part), "{option}: {message}");
            }
        }
    }
}
