//! What the log says about requests that are refused for lack of the right token.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::audit::{ADMIN, SERVICE, is_local, lines, send, serve};
use crate::harness::Registry;

const WRONG: &str = "Mistaken-token-0123456789abcdef0123456";

/// A request that is refused, and what the log says about it.
struct Row {
    headers: Vec<String>,
    line: &'static str,
    api: &'static str,
    reason: &'static str,
    method: &'static str,
    route: &'static str,
}

fn rows() -> [Row; 5] {
    let bearer = |token: &str| format!("authorization: Bearer {token}");
    [
        Row {
            headers: Vec::new(),
            line: "GET /admin/v1/keys",
            api: "admin",
            reason: "no token",
            method: "GET",
            route: "/admin/v1/keys",
        },
        Row {
            headers: vec![format!("authorization: Basic {WRONG}")],
            line: "DELETE /admin/v1/keys/key_made_up",
            api: "admin",
            reason: "no token",
            method: "DELETE",
            route: "/admin/v1/keys/{key_id}",
        },
        Row {
            headers: vec![bearer(WRONG)],
            line: "MADE_UP /admin/v1/keys",
            api: "admin",
            reason: "wrong token",
            method: "other",
            route: "/admin/v1/keys",
        },
        Row {
            headers: vec![bearer("")],
            line: "GET /v1/changes?after=made_up",
            api: "service",
            reason: "no token",
            method: "GET",
            route: "/v1/changes",
        },
        Row {
            headers: vec![bearer(WRONG), bearer(WRONG)],
            line: "GET /v1/key-hashes/made_up",
            api: "service",
            reason: "repeated header",
            method: "GET",
            route: "/v1/key-hashes/{key_hash}",
        },
    ]
}

#[test]
fn the_log_says_what_was_refused_and_why() {
    let registry = Registry::new();
    for row in rows() {
        // Each row has a server of its own, because a server logs one refusal a second.
        let server = serve(&registry);
        let status = send(server.address, row.line, &row.headers, "");
        assert_eq!(status, 401, "{} {:?}", row.line, row.headers);
        let log = server.stop(Signal::SIGTERM);
        let all = lines(&log, "a request was refused");
        let [line] = &all[..] else {
            panic!("{} {:?}: {log}", row.line, row.headers);
        };
        let told = ["level", "api", "reason", "method", "route"].map(|field| &line[field]);
        let expected = ["WARN", row.api, row.reason, row.method, row.route];
        assert_eq!(told, expected, "{log}");
        assert_eq!(line["suppressed"], 0, "{log}");
        assert!(is_local(&line["peer"]), "{log}");
        for secret in [ADMIN, SERVICE, WRONG, "made_up", "Basic"] {
            assert!(!log.contains(secret), "{secret}: {log}");
        }
    }
}

/// There is at most one line per second for each API, and the lines' counts add up to all refusals.
#[test]
fn refused_requests_are_logged_once_a_second() {
    /// The number of requests to each API in the flood.
    const FLOOD: u64 = 50;
    let registry = Registry::new();
    let server = serve(&registry);
    let refused = || {
        for line in ["GET /admin/v1/keys", "GET /v1/changes"] {
            assert_eq!(send(server.address, line, &[], ""), 401);
        }
    };
    let started = Instant::now();
    for _ in 0..FLOOD {
        refused();
    }
    // The last line of each API counts the refusals that had no line.
    std::thread::sleep(Duration::from_millis(1100));
    refused();
    let seconds = started.elapsed().as_secs();
    let log = server.stop(Signal::SIGTERM);
    let all = lines(&log, "a request was refused");
    for api in ["admin", "service"] {
        let of_api: Vec<_> = all.iter().filter(|line| line["api"] == api).collect();
        let lines = u64::try_from(of_api.len()).expect("a number");
        assert!(lines <= seconds + 1, "{api}: {lines} lines in {seconds} s");
        let suppressed = of_api.iter().map(|line| line["suppressed"].as_u64());
        let suppressed: u64 = suppressed.map(|it| it.expect("a number")).sum();
        assert_eq!(lines + suppressed, FLOOD + 1, "{api}: {log}");
        assert!(suppressed > lines, "{api}: no flood");
    }
}

#[test]
fn requests_to_an_admin_api_that_is_off_are_logged() {
    let registry = Registry::new();
    let server = registry.serve();
    let token = [format!("authorization: Bearer {ADMIN}")];
    let status = send(server.address, "GET /admin/v1/keys", &token, "");
    assert_eq!(status, 404);
    let log = server.stop(Signal::SIGTERM);
    let line = log.lines().find(|it| it.contains("a request was refused"));
    let line = line.expect(&log);
    assert!(line.contains("the admin API is off"), "{line}");
    assert!(!log.contains(ADMIN), "{log}");
}
