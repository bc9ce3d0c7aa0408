//! What the log says about requests that are refused for lack of the right token.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::audit::{ADMIN, SERVICE, is_local, lines, send, serve};
use crate::harness::Registry;

const WRONG: &str = "Mistaken-token-0123456789abcdef0123456";

/// There is at most one line per second for each API, and the lines' counts add up to all refusals.
#[test]
fn refused_requests_are_logged_once_a_second() {
    let registry = Registry::new();
    let server = serve(&registry);
    let bearer = |token: &str| format!("authorization: Bearer {token}");
    let headers: [(&str, Vec<String>); 5] = [
        ("no token", Vec::new()),
        ("no token", vec![format!("authorization: Basic {WRONG}")]),
        ("wrong token", vec![bearer(WRONG)]),
        ("no token", vec![bearer("")]),
        ("repeated header", vec![bearer(WRONG), bearer(WRONG)]),
    ];
    let requests = [
        ("admin", "GET /admin/v1/keys", "GET", "/admin/v1/keys"),
        (
            "admin",
            "DELETE /admin/v1/keys/key_made_up",
            "DELETE",
            "/admin/v1/keys/{key_id}",
        ),
        ("admin", "MADE_UP /admin/v1/keys", "other", "/admin/v1/keys"),
        (
            "service",
            "GET /v1/changes?after=made_up",
            "GET",
            "/v1/changes",
        ),
        (
            "service",
            "GET /v1/key-hashes/made_up",
            "GET",
            "/v1/key-hashes/{key_hash}",
        ),
    ];
    let started = Instant::now();
    let (mut sent, mut expected) = ([0u64; 2], Vec::new());
    // More than a second for each row, so that each gets a line.
    for row in 0..headers.len() {
        let begun = Instant::now();
        let (reason, headers) = &headers[row];
        while begun.elapsed() < Duration::from_millis(1100) {
            let (api, line, ..) = requests[row];
            let status = send(server.address, line, headers, "");
            assert_eq!(status, 401, "{line} {headers:?}");
            sent[usize::from(api == "service")] += 1;
        }
        let (api, _, method, route) = requests[row];
        expected.push((api, *reason, method, route));
    }
    // The last line of each API counts the refusals that had no line.
    std::thread::sleep(Duration::from_millis(1100));
    for (at, line) in [(0, "GET /admin/v1/keys"), (1, "GET /v1/changes")] {
        assert_eq!(send(server.address, line, &[], ""), 401);
        sent[at] += 1;
    }
    let seconds = started.elapsed().as_secs();
    let log = server.stop(Signal::SIGTERM);
    let all = lines(&log, "a request was refused");
    for (api, reason, method, route) in expected {
        let found = all.iter().any(|line| {
            (&line["api"], &line["reason"]) == (&api.into(), &reason.into())
                && (&line["method"], &line["route"]) == (&method.into(), &route.into())
                && line["level"] == "WARN"
                && is_local(&line["peer"])
        });
        assert!(found, "{api} {reason} {method} {route}: {log}");
    }
    for (api, sent) in [("admin", sent[0]), ("service", sent[1])] {
        let of_api: Vec<_> = all.iter().filter(|line| line["api"] == api).collect();
        let lines = u64::try_from(of_api.len()).expect("a number");
        assert!(lines <= seconds + 1, "{api}: {lines} lines in {seconds} s");
        let suppressed = of_api.iter().map(|line| line["suppressed"].as_u64());
        let suppressed: u64 = suppressed.map(|it| it.expect("a number")).sum();
        assert_eq!(lines + suppressed, sent, "{api}: {log}");
        assert!(suppressed > lines, "{api}: no flood");
    }
    for secret in [ADMIN, SERVICE, WRONG, "made_up", "Basic"] {
        assert!(!log.contains(secret), "{secret}: {log}");
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
