//! Clusters that are configured for another protocol than their auth server speaks, and answers from
//! something other than the auth server: Envoy's log says what to check.

use anyhow::{Context, Result, ensure};
use keystile_e2e::client;
use keystile_e2e::envoy::{Listener, cluster, http2_cluster};
use keystile_e2e::keys::made_up_key;
use keystile_e2e::process::wait_until;
use keystile_e2e::scripted_auth::{Script, answer, keep_alive_answer};
use keystile_e2e::stack::{Setup, Stack};
use keystile_e2e::trials::trial;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::http2_only::Http2Only;

keystile_e2e::suite!(Together, trials);

/// A server, and what the log says about lookups and polls.
struct Case {
    name: &'static str,
    server: Server,
    /// Whether the cluster is configured for HTTP/2.
    http2: bool,
    /// Fields of `lookup`.
    lookup: Value,
    lookups: &'static str,
    /// Empty if polls are answered as usual.
    polls: &'static str,
}

enum Server {
    /// Answers everything, even what is no HTTP/1.1, with these bytes, and closes the connection.
    Answers(Vec<u8>),
    /// Speaks only HTTP/2.
    Http2Only,
}

const PROTOCOL: &str = "no answer: protocol error. Is the cluster configured for HTTP/2";

const CLOSED: &str = "no answer: the auth cluster closed the connection";

fn trials() -> Vec<Trial> {
    cases()
        .into_iter()
        .map(|case| trial(case.name, move || case.run()))
        .collect()
}

fn cases() -> Vec<Case> {
    let case = |name, answer, lookups, polls| Case {
        name,
        server: Server::Answers(answer),
        http2: false,
        lookup: json!({}),
        lookups,
        polls,
    };
    let html = |status| {
        let page = "<!doctype html><title>Sign in</title>";
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: text/html; charset=utf-8\r\nconnection: close\r\n\
             content-length: {}\r\n\r\n",
            page.len()
        );
        (head + page).into_bytes()
    };
    vec![
        Case {
            http2: true,
            ..case(
                "hints: HTTP/2 to a server of HTTP/1.1",
                keep_alive_answer("400 Bad Request", &[], b""),
                PROTOCOL,
                PROTOCOL,
            )
        },
        Case {
            http2: true,
            ..case(
                "hints: HTTP/2 to a server that closes",
                Vec::new(),
                CLOSED,
                CLOSED,
            )
        },
        Case {
            server: Server::Http2Only,
            ..case(
                "hints: HTTP/1.1 to a server of HTTP/2",
                Vec::new(),
                PROTOCOL,
                PROTOCOL,
            )
        },
        case(
            "hints: a login page",
            html("200 OK"),
            "(its content-type is text/html)",
            "(its content-type is text/html)",
        ),
        case(
            "hints: a gateway's 404",
            html("404 Not Found"),
            "answer 404 with an HTML page, as from a gateway or a missing route",
            "(its content-type is text/html)",
        ),
        Case {
            lookup: json!({"require_key_hash": true}),
            ..case(
                "hints: no hash",
                answer("404 Not Found", ""),
                "answer 404 without x-keystile-key-hash, which lookup.require_key_hash demands",
                "answer 404",
            )
        },
    ]
}

impl Case {
    /// Sends a request, and waits for a poll of the feed.
    fn run(self) -> Result<()> {
        let runtime = Runtime::new()?;
        let mut plugin = json!({
            "lookup": {"cluster": "auth", "timeout": "10s"},
            "feed": {"interval": "100ms"},
        });
        for (name, value) in self.lookup.as_object().into_iter().flatten() {
            plugin["lookup"][name] = value.clone();
        }
        let mut setup = Setup::new(vec![Listener::new("hints", &plugin)]);
        let server = match self.server {
            Server::Http2Only => runtime.block_on(Http2Only::default().serve())?,
            Server::Answers(bytes) => {
                // The first line of any request, and of HTTP/2's preface.
                setup.auth.script("HTTP/", Script::Answer(bytes));
                runtime.block_on(setup.auth.serve(setup.fallback.clone(), false))?
            }
        };
        setup.clusters = vec![if self.http2 {
            http2_cluster("auth", server.address)
        } else {
            cluster("auth", Some(server.address))
        }];
        setup.servers = vec![server];
        let stack = Stack::start(Setup {
            runtime: Some(runtime),
            ..setup
        })?;
        let line = format!("x-api-key: {}", made_up_key());
        let answer = client::get(stack.envoy.listener("hints")?, "/v1/x", [&*line])?;
        ensure!(answer.status == 503, "{answer:?}");
        for (about, hint) in [
            ("cluster \"auth\": ", self.lookups),
            ("change feed of cluster auth: ", self.polls),
        ] {
            wait_until(|| {
                let log = stack.envoy.written();
                let mut lines = log.lines().filter(|line| line.contains(about));
                Ok(lines.any(|line| line.contains(hint)))
            })
            .with_context(|| format!("no {hint:?}:\n{}", stack.envoy.written()))?;
        }
        stack.envoy.no_vm_died()
    }
}
