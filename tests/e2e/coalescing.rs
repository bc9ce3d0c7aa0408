//! Many first requests with one key: they share a lookup, even if clients leave.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use keystile_e2e::client::Sent;
use keystile_e2e::envoy::Listener;
use keystile_e2e::keys::{GOOD, hash, made_up_key};
use keystile_e2e::load::{self, Request};
use keystile_e2e::rule_auth::RuleAuth;
use keystile_e2e::scripted_auth::{Script, answer};
use keystile_e2e::shipped;
use keystile_e2e::stack::{self, Stack};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use crate::stage::{Asks, Setup};
use crate::world::World;

trials! { Together:
    "coalescing: one lookup for all" => one_lookup_for_all,
    "coalescing: the first client leaves" => the_first_client_leaves,
    "coalescing: the first stream is reset" => the_first_stream_is_reset,
    "coalescing: as many as may" => as_many_as_may,
    "lookups: a burst on a new connection" => a_burst_on_a_new_connection,
    "coalescing: nobody waits for ever" => nobody_waits_for_ever,
}

const MANY: usize = 200;

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

/// Each worker makes one lookup, and all requests get its result, whatever that is.
fn one_lookup_for_all() -> Result<()> {
    let setup = Setup {
        workers: 2,
        ..Setup::new(json!({}))
    };
    setup.run(|stage| {
        let answers = [
            (answer("200 OK", GOOD), 200),
            (answer("404 Not Found", ""), 401),
            (answer("500 Oops", ""), 503),
        ];
        let mut lookups = 0;
        for (answer, status) in answers {
            let (key, verdict) = stage.held_key(answer)?;
            let sent = stage.send(&key, MANY)?;
            stage.wait_for_requests(MANY as u64)?;
            let asked = stage.lookups(&key)?;
            ensure!((1..=2).contains(&asked), "{status}: {asked} lookups");
            verdict.add_permits(asked);
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

/// Many keys are looked up at once before Envoy has a connection, on which it learns how many streams
/// the auth cluster accepts. The registry accepts enough of them, and the shipped configuration does not
/// need that.
fn a_burst_on_a_new_connection() -> Result<()> {
    let runtime = Runtime::new()?;
    let limited = RuleAuth::with_streams(Some(100), |_| false);
    let limited = runtime.block_on(limited.serve())?;
    let shipped = shipped::auth(limited.address)?;
    Setup {
        asks: Asks::Registry,
        max_concurrent: 1024,
        ..Setup::new(json!({}))
    }
    .run(|stage| a_burst(stage, stage.to, 250).context("the registry"))?;
    let plugin = json!({"lookup": {"cluster": "auth", "timeout": "10s", "max_concurrent": 1024}});
    let stack = Stack::start(stack::Setup {
        clusters: vec![shipped],
        ..stack::Setup::new(vec![Listener::new("stage", &plugin)])
    })?;
    a_burst(&stack, stack.envoy.listener("stage")?, 600).context("the shipped cluster")
}

fn a_burst(stack: &Stack, to: SocketAddr, keys: usize) -> Result<()> {
    let requests = (0..keys).map(|_| Request::new("/v1/x", made_up_key()));
    let outcomes = load::run(to, keys.div_ceil(100), 100, requests);
    let outcomes = stack.runtime.block_on(outcomes)?;
    ensure!(outcomes.by_status == [(401, keys)].into(), "{outcomes:?}");
    Ok(())
}

/// The lookup belongs to the worker. If the client that started it leaves, the other requests still
/// get the result, and there is no second lookup.
fn the_first_client_leaves() -> Result<()> {
    Setup::new(json!({})).run(|stage| {
        let answers = [
            (answer("200 OK", GOOD), 200),
            (answer("404 Not Found", ""), 401),
            (answer("500 Oops", ""), 503),
        ];
        for (answer, status) in answers {
            let (key, verdict) = stage.held_key(answer)?;
            let mut first = stage.send(&key, 1)?;
            stage.wait_for_lookups(&key, 1)?;
            let others = stage.send(&key, MANY - 1)?;
            stage.wait_for_requests(MANY as u64)?;
            first.remove(0).leave();
            // Some of the other clients leave too.
            let mut others = others.into_iter();
            others.by_ref().take(20).for_each(Sent::leave);
            stage.wait_for_requests(MANY as u64 - 21)?;
            verdict.add_permits(2);
            all_get(others.collect(), status)?;
            let lookups = stage.lookups(&key)?;
            ensure!(lookups == 1, "{status}: {lookups} lookups");
        }
        Ok(())
    })
}

/// The same on one HTTP/2 connection, where a client leaves by resetting its stream.
fn the_first_stream_is_reset(world: &World) -> Result<()> {
    Setup::new(json!({})).run(|stage| {
        for (answer, status) in [
            (answer("200 OK", GOOD), 200),
            (answer("404 Not Found", ""), 401),
        ] {
            let (key, verdict) = stage.held_key(answer)?;
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
            // Envoy takes 100 streams at a time here.
            let others: Vec<_> = (1..100).map(|_| one()).collect();
            stage.wait_for_requests(100)?;
            first.abort();
            stage.wait_for_requests(99)?;
            verdict.add_permits(2);
            for other in others {
                let got = runtime.block_on(other)??;
                ensure!(got == status, "{got}, not {status}");
            }
            let lookups = stage.lookups(&key)?;
            ensure!(lookups == 1, "{status}: {lookups} lookups");
        }
        Ok(())
    })
}

/// The maximum number of requests waits for one lookup. All are answered, although their replies nest
/// on Envoy's stack.
fn as_many_as_may(world: &World) -> Result<()> {
    const MOST: usize = 2048;
    let setup = Setup {
        timeout: "60s",
        ..Setup::new(json!({}))
    };
    setup.run(|stage| {
        let answers = [
            (answer("404 Not Found", ""), 401),
            (answer("500 Oops", ""), 503),
            (answer("200 OK", GOOD), 200),
        ];
        for (answer, status) in answers {
            let (key, verdict) = stage.held_key(answer)?;
            let load = stage.load("/v1/x", &key, MOST);
            stage.wait_for_requests(MOST as u64)?;
            // One more is refused at once.
            let refused = stage.get(&key)?;
            ensure!(refused.status == 503, "{refused:?}");
            let told = Instant::now();
            verdict.add_permits(1);
            let outcomes = world.runtime.block_on(load)??;
            println!("{MOST} waited: {status} after {:?}", told.elapsed());
            ensure!(
                outcomes.by_status == [(status, MOST)].into() && outcomes.failed == 0,
                "{status}: {outcomes:?}"
            );
            let lookups = stage.lookups(&key)?;
            ensure!(lookups == 1, "{status}: {lookups} lookups");
        }
        Ok(())
    })
}

/// If a lookup gets no answer, all requests get a reply in time, even if a client left.
fn nobody_waits_for_ever(world: &World) -> Result<()> {
    let setup = Setup {
        timeout: "3s",
        ..Setup::new(json!({}))
    };
    setup.run(|stage| {
        const MANY: usize = 1000;
        let key = made_up_key();
        stage.auth.script(&hash(&key)?, Script::Hang);
        let mut first = stage.send(&key, 1)?;
        stage.wait_for_lookups(&key, 1)?;
        let load = stage.load("/v1/x", &key, MANY);
        stage.wait_for_requests(MANY as u64 + 1)?;
        first.remove(0).leave();
        let outcomes = world.runtime.block_on(load)??;
        println!(
            "{MANY} waited up to {:?} for a lookup of 3 s",
            outcomes.slowest
        );
        ensure!(
            outcomes.by_status == [(503, MANY)].into() && outcomes.failed == 0,
            "{outcomes:?}"
        );
        ensure!(
            (Duration::from_millis(1000)..Duration::from_millis(3900)).contains(&outcomes.slowest),
            "the slowest waited {:?}",
            outcomes.slowest
        );
        ensure!(stage.lookups(&key)? == 1, "a lookup too many");
        stage.wait_for("requests.internal_error.total", MANY as u64)
    })
}
