//! Clients that leave before the reply, and verdicts that come after Envoy's own reply.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use keystile_e2e::keys::{GOOD, hash, made_up_key};
use keystile_e2e::process::{until, wait_until};
use keystile_e2e::scripted_auth::{Script, answer};
use serde_json::json;
use tokio::net::TcpStream;

use crate::stage::Setup;
use crate::world::World;

trials! { Together:
    "leaving: impatient clients in grace" => impatient_clients_in_grace,
    "leaving: ask and leave" => ask_and_leave,
    "leaving: while others are answered" => while_others_are_answered,
    "leaving: long requests wait" => long_requests_wait,
    "leaving: too late" => too_late,
}

/// Clients less patient than `lookup.timeout` do not prevent stale verdicts from being served, nor
/// cause more than one lookup a second.
fn impatient_clients_in_grace() -> Result<()> {
    let cache = json!({"allow_ttl": "1s", "stale_if_error": "1m", "jitter": 0, "refresh_ahead": 1});
    let setup = Setup {
        timeout: "1s",
        ..Setup::new(cache)
    };
    setup.run(|stage| {
        let key = stage.create()?.key;
        ensure!(stage.get(&key)?.status == 200, "before the outage");
        let known = Instant::now();
        stage.auth.script(&hash(&key)?, Script::Hang);
        until(known + Duration::from_secs(1));
        let (before, began) = (stage.lookups(&key)?, Instant::now());
        let mut requests = 0;
        while began.elapsed() < Duration::from_secs(5) {
            let sent = stage.send(&key, 1)?;
            until(Instant::now() + Duration::from_millis(200));
            sent.into_iter().for_each(|sent| sent.leave());
            requests += 1;
        }
        let lookups = stage.lookups(&key)? - before;
        ensure!(lookups <= 5, "{lookups} lookups in 5 s");
        wait_until(|| Ok(stage.counter("verdicts.stale.total")? > requests / 4))
            .context("too few are served in grace")?;
        println!(
            "{requests} impatient requests in 5 s of grace: {lookups} lookups, {} stale",
            stage.counter("verdicts.stale.total")?
        );
        Ok(())
    })
}

/// A client that repeatedly sends a request and leaves costs one lookup.
fn ask_and_leave() -> Result<()> {
    Setup::new(json!({})).run(|stage| {
        let key = made_up_key();
        stage.auth.script(&hash(&key)?, Script::Hang);
        for _ in 0..300 {
            let sent = stage.send(&key, 1)?;
            stage.wait_for_requests(1)?;
            sent.into_iter().for_each(|sent| sent.leave());
            stage.wait_for_requests(0)?;
        }
        let lookups = stage.lookups(&key)?;
        println!("asked and left 300 times: {lookups} lookups");
        ensure!(lookups == 1, "{lookups} lookups");
        Ok(())
    })
}

/// Clients that leave while others get their replies do not affect the others.
fn while_others_are_answered() -> Result<()> {
    const MANY: usize = 1000;
    Setup::new(json!({})).run(|stage| {
        for round in 0..6 {
            let (answer, status) = match round % 2 {
                0 => (answer("200 OK", GOOD), 200),
                _ => (answer("404 Not Found", ""), 401),
            };
            let (key, verdict) = stage.held_key(answer)?;
            let staying = stage.send(&key, 50)?;
            let leaving = stage.load("/v1/x", &key, MANY);
            stage.wait_for_requests(MANY as u64 + 50)?;
            let last = stage.send(&key, 50)?;
            stage.wait_for_requests(MANY as u64 + 100)?;
            verdict.add_permits(1);
            leaving.abort();
            for sent in staying.into_iter().chain(last) {
                let got = sent.response()?.status;
                ensure!(got == status, "round {round}: {got}");
            }
            stage.wait_for_requests(0)?;
            let lookups = stage.lookups(&key)?;
            ensure!(lookups == 1, "round {round}: {lookups} lookups");
        }
        Ok(())
    })
}

/// Waiting requests take little of the filter's memory, however long they are.
fn long_requests_wait(world: &World) -> Result<()> {
    const MANY: usize = 500;
    let setup = Setup {
        timeout: "60s",
        ..Setup::new(json!({}))
    };
    setup.run(|stage| {
        let record = r#"{"key_id":"key_1","status":"active","endpoints":["/v1/x"]}"#;
        let path = format!("/v1/x/{}", "x".repeat(50_000));
        let before = stage.envoy.wasm_memory_bytes()?;
        // They are still decided by their own paths.
        for (path, status) in [(path.clone(), 200), (format!("/v2{path}"), 403)] {
            let (key, verdict) = stage.held_key(answer("200 OK", record))?;
            let load = stage.load(&path, &key, MANY);
            stage.wait_for_requests(MANY as u64)?;
            verdict.add_permits(1);
            let outcomes = world.runtime.block_on(load)??;
            ensure!(
                outcomes.by_status == [(status, MANY)].into() && outcomes.failed == 0,
                "{outcomes:?}"
            );
        }
        let more = stage.envoy.wasm_memory_bytes()?.saturating_sub(before);
        println!("{MANY} requests of 50 KB waited: {} KiB more", more / 1024);
        ensure!(more < 2 * 1024 * 1024, "{more} bytes more");
        Ok(())
    })
}

/// Envoy itself answers a waiting request, and the client does not read the response. The verdict
/// comes too late for that request and changes nothing.
fn too_late(world: &World) -> Result<()> {
    for (answer, status) in [
        (answer("200 OK", GOOD), 200),
        (answer("404 Not Found", ""), 401),
    ] {
        let setup = Setup {
            stream_idle_timeout: Some("1s"),
            ..Setup::new(json!({}))
        };
        setup.run(|stage| {
            let (key, verdict) = stage.held_key(answer)?;
            let to = stage.to;
            let answered = world.runtime.block_on(async {
                let stream = TokioIo::new(TcpStream::connect(to).await?);
                let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                    .initial_stream_window_size(0)
                    .handshake(stream)
                    .await?;
                tokio::spawn(connection);
                let answered: Vec<_> = (0..10)
                    .map(|_| {
                        let mut sender = sender.clone();
                        let request = hyper::Request::get(format!("http://{to}/v1/x"))
                            .header("x-api-key", &key)
                            .body(Empty::<Bytes>::new());
                        tokio::spawn(async move {
                            let response = sender.send_request(request?).await?;
                            // KeepAliveClient, so that the stream stays open.
                            anyhow::Ok(response)
                        })
                    })
                    .collect();
                let mut responses = Vec::new();
                for answered in answered {
                    responses.push(answered.await??);
                }
                anyhow::Ok(responses)
            })?;
            for response in &answered {
                ensure!(response.status() == 504, "{}", response.status());
            }
            verdict.add_permits(1);
            // The lookup's answer counts for the next requests.
            wait_until(|| Ok(stage.get(&key)?.status == status)).context("the next request")?;
            let (_, entry) = stage.logged("/v1/x", &key)?;
            ensure!(entry.contains("source=cache"), "{entry}");
            drop(answered);
            let log = stage.envoy.written();
            ensure!(!log.contains("envoy bug"), "Envoy found a bug: {log}");
            let counted = stage.counter("verdicts.lookup.total")?
                + stage.counter("verdicts.coalesced.total")?;
            ensure!(
                counted == 0,
                "{counted} requests that Envoy answered itself were counted as verdicts"
            );
            Ok(())
        })?;
    }
    Ok(())
}
