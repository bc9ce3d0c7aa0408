//! Many first requests with one key: one lookup, whoever leaves meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use keystile_e2e::auth::{Script, answer};
use keystile_e2e::client::{self, Sent};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::stage::{Setup, Stage};
use crate::world::{GOOD, World, hash, made_up_key};

const MANY: usize = 200;

/// A key whose lookups are answered when they are told to.
fn held_key(stage: &Stage<'_>, answer: Vec<u8>) -> Result<(String, Arc<Notify>)> {
    let (key, verdict) = (made_up_key(), Arc::new(Notify::new()));
    stage.world.keep_secret(&key);
    let script = Script::AnswerWhen(Arc::clone(&verdict), answer);
    stage.auth.script(&hash(&key)?, script);
    Ok((key, verdict))
}

fn send(stage: &Stage<'_>, key: &str, requests: usize) -> Result<Vec<Sent>> {
    let key = format!("x-api-key: {key}");
    let head = client::head("GET", "/v1/x", [key.as_str()]);
    (0..requests)
        .map(|_| client::send(stage.to, head.as_bytes()))
        .collect()
}

/// Tells all lookups under way to go on.
fn tell(verdict: &Notify, lookups: usize) {
    for _ in 0..lookups {
        verdict.notify_one();
    }
}

fn all_get(sent: Vec<Sent>, status: u16) -> Result<()> {
    for (number, sent) in sent.into_iter().enumerate() {
        let response = sent
            .response()
            .with_context(|| format!("the request {number}"))?;
        ensure!(
            response.status == status,
            "the request {number}: {response:?}"
        );
    }
    Ok(())
}

/// Each worker asks once, whatever the answer is, and each request gets it.
pub(crate) fn one_lookup_for_all(world: &World) -> Result<()> {
    let setup = Setup {
        workers: 2,
        ..Setup::new(json!({}))
    };
    setup.run(world, |stage| {
        let answers = [
            (answer("200 OK", GOOD), 200),
            (answer("404 Not Found", ""), 401),
            (answer("500 Oops", ""), 503),
        ];
        let mut lookups = 0;
        for (answer, status) in answers {
            let (key, verdict) = held_key(stage, answer)?;
            let sent = send(stage, &key, MANY)?;
            stage.wait_for_requests(MANY as u64)?;
            let asked = stage.lookups(&key)?;
            ensure!((1..=2).contains(&asked), "{status}: {asked} lookups");
            tell(&verdict, asked);
            all_get(sent, status)?;
            ensure!(stage.lookups(&key)? == asked, "{status}: a lookup too many");
            if status != 503 {
                lookups += asked as u64;
            }
        }
        stage.wait_for("verdicts.lookup.total", lookups)?;
        stage.wait_for("verdicts.coalesced.total", 2 * MANY as u64 - lookups)?;
        stage.wait_for("requests.internal_error.total", MANY as u64)
    })
}

/// The answer is lost with the client whose request made the lookup, so one more is made for the
/// others.
pub(crate) fn the_first_client_leaves(world: &World) -> Result<()> {
    Setup::new(json!({})).run(world, |stage| {
        let answers = [
            (answer("200 OK", GOOD), 200),
            (answer("404 Not Found", ""), 401),
            (answer("500 Oops", ""), 503),
        ];
        for (answer, status) in answers {
            let (key, verdict) = held_key(stage, answer)?;
            let mut first = send(stage, &key, 1)?;
            stage.wait_for_lookups(&key, 1)?;
            let others = send(stage, &key, MANY - 1)?;
            stage.wait_for_requests(MANY as u64)?;
            first.remove(0).leave();
            stage.wait_for_lookups(&key, 2)?;
            // Some of those who wait leave too.
            let mut others = others.into_iter();
            others.by_ref().take(20).for_each(Sent::leave);
            stage.wait_for_requests(MANY as u64 - 21)?;
            tell(&verdict, 2);
            all_get(others.collect(), status)?;
            let lookups = stage.lookups(&key)?;
            ensure!(lookups == 2, "{status}: {lookups} lookups");
        }
        Ok(())
    })
}

/// The same on one connection of HTTP/2, where a client leaves by a reset of its stream.
pub(crate) fn the_first_stream_is_reset(world: &World) -> Result<()> {
    Setup::new(json!({})).run(world, |stage| {
        for (answer, status) in [
            (answer("200 OK", GOOD), 200),
            (answer("404 Not Found", ""), 401),
        ] {
            let (key, verdict) = held_key(stage, answer)?;
            let to = stage.to;
            let runtime = &world.runtime;
            let sender = runtime.block_on(async {
                let stream = TokioIo::new(TcpStream::connect(to).await?);
                let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
                tokio::spawn(connection);
                anyhow::Ok(sender)
            })?;
            let one = || {
                let mut sender = sender.clone();
                let request = hyper::Request::get(format!("http://{to}/v1/x"))
                    .header("x-api-key", &key)
                    .body(Empty::<Bytes>::new());
                runtime.spawn(async move {
                    let response = sender.send_request(request?).await?;
                    anyhow::Ok(response.status().as_u16())
                })
            };
            let first = one();
            stage.wait_for_lookups(&key, 1)?;
            // Envoy takes 100 at a time here.
            let others: Vec<_> = (1..100).map(|_| one()).collect();
            stage.wait_for_requests(100)?;
            first.abort();
            stage.wait_for_lookups(&key, 2)?;
            tell(&verdict, 2);
            for other in others {
                let got = runtime.block_on(other)??;
                ensure!(got == status, "{got}, not {status}");
            }
            let lookups = stage.lookups(&key)?;
            ensure!(lookups == 2, "{status}: {lookups} lookups");
        }
        Ok(())
    })
}

/// When the second lookup gets no answer either, the others are still told in time.
pub(crate) fn nobody_waits_for_ever(world: &World) -> Result<()> {
    let setup = Setup {
        timeout: "2s",
        ..Setup::new(json!({}))
    };
    setup.run(world, |stage| {
        let key = made_up_key();
        stage.auth.script(&hash(&key)?, Script::Hang);
        let mut first = send(stage, &key, 1)?;
        stage.wait_for_lookups(&key, 1)?;
        let sent = Instant::now();
        let others = send(stage, &key, MANY - 1)?;
        stage.wait_for_requests(MANY as u64)?;
        first.remove(0).leave();
        stage.wait_for_lookups(&key, 2)?;
        all_get(others, 503)?;
        let waited = sent.elapsed();
        println!("{} waited {waited:?} for a lookup of 2 s", MANY - 1);
        ensure!(
            (Duration::from_millis(1900)..Duration::from_millis(2900)).contains(&waited),
            "they waited {waited:?}"
        );
        ensure!(stage.lookups(&key)? == 2, "a lookup too many");
        stage.wait_for("requests.internal_error.total", MANY as u64 - 1)
    })
}
