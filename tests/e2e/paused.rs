//! Paused requests: what they send meanwhile, and clients that leave.

use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, ensure};
use keystile_e2e::client::{self, Sent};
use keystile_e2e::keys::GOOD;
use keystile_e2e::process::wait_until;
use keystile_e2e::scripted_auth::{Script, answer};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::world::World;

trials! { Together:
    "paused: body is held" => body_is_held,
    "paused: large body is whole" => large_body_is_whole,
    "paused: continue is no answer" => continue_is_no_answer,
    "paused: client leaves" => client_leaves,
    "paused: many at once" => many_at_once,
}

/// A request whose headers have been sent and whose lookup is in flight.
struct Waiting {
    id: String,
    sent: Sent,
    verdict: Arc<Semaphore>,
}

fn wait_for_verdict(world: &World, listener: &str, answer: Vec<u8>, body: &str) -> Result<Waiting> {
    let id = format!("e2e-{}", ulid::Ulid::generate());
    let verdict = Arc::new(Semaphore::new(0));
    let key = world.scripted_key(Script::AnswerWhen(Arc::clone(&verdict), answer))?;
    let head = client::head(
        "POST",
        "/v1/x",
        [
            &format!("x-request-id: {id}"),
            &format!("x-api-key: {key}"),
            body,
        ],
    );
    let sent = client::send(world.envoy.listener(listener)?, head.as_bytes())?;
    wait_until(|| Ok(!world.auth.lookups_of(&id).is_empty())).context("no lookup")?;
    Ok(Waiting { id, sent, verdict })
}

/// Waits until every worker has run, so that anything pending is done.
fn let_workers_run(world: &World) -> Result<()> {
    for _ in 0..50 {
        let response = client::get(world.envoy.listener("plain")?, "/v1/x", [])?;
        ensure!(response.status == 401, "{response:?}");
    }
    Ok(())
}

/// Body and trailers that arrive before the verdict are held until then, and forwarded whole or not at
/// all.
fn body_is_held(world: &World) -> Result<()> {
    for listener in ["plain", "stop_iteration"] {
        for (verdict, status) in [(answer("200 OK", GOOD), 200), (answer("404 No", ""), 401)] {
            let name = format!("{listener}, {status}");
            let mut waiting =
                wait_for_verdict(world, listener, verdict, "transfer-encoding: chunked")?;
            waiting.sent.send(b"5\r\nhello\r\n6\r\n world\r\n")?;
            waiting
                .sent
                .send(b"0\r\nx-trailer: 1\r\nx-keystile-key-id: evil\r\n\r\n")?;
            let_workers_run(world)?;
            let early = world.upstream.with("x-request-id", &waiting.id);
            ensure!(
                early.is_empty(),
                "{name}: forwarded without a verdict: {early:?}"
            );

            waiting.verdict.add_permits(1);
            let response = waiting.sent.response()?;
            ensure!(response.status == status, "{name}: {response:?}");
            let received = world.upstream.with("x-request-id", &waiting.id);
            if status == 200 {
                let echo: Value = serde_json::from_slice(&response.body)?;
                ensure!(echo["body"] == "hello world", "{name}: {echo}");
                ensure!(echo["whole"] == true, "{name}: {echo}");
                let trailers = serde_json::json!([["x-trailer", "1"]]);
                ensure!(echo["trailers"] == trailers, "{name}: {echo}");
                ensure!(!echo.to_string().contains("evil"), "{name}: {echo}");
                ensure!(received.len() == 1, "{name}: {} times", received.len());
            } else {
                ensure!(received.is_empty(), "{name}: refused, and forwarded");
            }
        }
    }
    Ok(())
}

/// A body far larger than the buffers, sent while the verdict is pending, arrives whole.
fn large_body_is_whole(world: &World) -> Result<()> {
    const SIZE: usize = 8 * 1024 * 1024;
    let length = format!("content-length: {SIZE}");
    let mut waiting = wait_for_verdict(world, "plain", answer("200 OK", GOOD), &length)?;
    let verdict = Arc::clone(&waiting.verdict);
    // The proxy stops reading at its limit, so the rest of the body can be sent only after this.
    let told = thread::spawn(move || verdict.add_permits(1));
    waiting.sent.send(&vec![b'x'; SIZE])?;
    let response = waiting.sent.response()?;
    ensure!(
        told.join().is_ok(),
        "the thread that releases the verdict panicked"
    );
    ensure!(response.status == 200, "{}", response.status);
    let echo: Value = serde_json::from_slice(&response.body)?;
    let body = echo["body"].as_str().unwrap_or_default();
    ensure!(body.len() == SIZE, "{} bytes arrived", body.len());
    Ok(())
}

/// Envoy's own "100 Continue" is not the reply: the verdict that comes after it counts.
fn continue_is_no_answer(world: &World) -> Result<()> {
    for (verdict, status) in [(answer("200 OK", GOOD), 200), (answer("404 No", ""), 401)] {
        let lines = "content-length: 5\r\nexpect: 100-continue";
        let mut waiting = wait_for_verdict(world, "plain", verdict, lines)?;
        waiting.verdict.add_permits(1);
        waiting.sent.send(b"hello")?;
        let response = waiting.sent.response()?;
        ensure!(response.status == status, "{response:?}");
    }
    Ok(())
}

/// A client that leaves while its lookup is in flight does not affect others.
fn client_leaves(world: &World) -> Result<()> {
    for listener in ["plain", "stop_iteration"] {
        for verdict in [answer("200 OK", GOOD), answer("404 No", "")] {
            let waiting = wait_for_verdict(world, listener, verdict, "content-length: 5")?;
            waiting.sent.leave();
            let_workers_run(world)?;
            waiting.verdict.add_permits(1);
            let_workers_run(world)?;
            let received = world.upstream.with("x-request-id", &waiting.id);
            ensure!(
                received.is_empty(),
                "{listener}: forwarded for a client that left"
            );
        }
    }
    Ok(())
}

/// Many requests at once, with different outcomes: each gets its own.
fn many_at_once(world: &World) -> Result<()> {
    const EACH: usize = 40;
    let outcomes = [
        ("active", 200, "acct_1"),
        ("revoked", 401, "api_key_revoked"),
        ("unknown", 401, "api_key_not_found"),
        ("deleted", 401, "api_key_not_found"),
        ("astro", 403, "endpoint_restricted"),
        ("expired", 401, "This API key has expired."),
    ];
    let to = world.envoy.listener("plain")?;
    thread::scope(|scope| {
        let clients: Vec<_> = outcomes
            .into_iter()
            .map(|(key, status, text)| {
                scope.spawn(move || -> Result<()> {
                    let key_line = format!("x-api-key: {}", world.key(key)?);
                    let request = client::head("GET", "/v1/x", [key_line.as_str()]);
                    let sent: Vec<_> = (0..EACH)
                        .map(|_| client::send(to, request.as_bytes()))
                        .collect::<Result<_>>()?;
                    for sent in sent {
                        let response = sent.response()?;
                        ensure!(response.status == status, "{key}: {response:?}");
                        ensure!(response.text().contains(text), "{key}: {}", response.text());
                    }
                    Ok(())
                })
            })
            .collect();
        for client in clients {
            match client.join() {
                Ok(result) => result?,
                Err(_) => anyhow::bail!("a client panicked"),
            }
        }
        Ok(())
    })
}
