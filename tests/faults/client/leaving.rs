//! Clients that disconnect, or close their write side, while their lookup is in flight.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use h2::Reason;
use h2::client::{ResponseFuture, SendRequest};
use keystile_e2e::counters::{Counters, End};
use keystile_e2e::process::wait_until;
use libtest_mimic::Trial;

use super::held::Held;
use super::wire::Wire;
use super::{LISTENER, connect2, plain, request2, status2};
use crate::range::{OnDemand, PATH, Range, Steady};

/// A client's protocol, and how the client disconnects.
#[derive(Clone, Copy, Debug)]
enum How {
    /// HTTP/1: closes its connection.
    Closes,
    /// HTTP/1: resets its connection.
    Resets,
    /// HTTP/2, all on one connection: RST_STREAM.
    ResetsStream,
}

#[derive(Clone, Copy, Debug)]
enum Who {
    /// The request that started the lookup.
    Leader,
    /// A request that waits for that lookup.
    Follower,
    /// Every third request, including the one that started the lookup. Not every second:
    /// Envoy takes it for an attack if half of 500 streams on an HTTP/2 connection are reset,
    /// and closes the connection.
    EveryThird,
    All,
}

const HOWS: [(&str, How); 3] = [
    ("HTTP/1, closes", How::Closes),
    ("HTTP/1, resets", How::Resets),
    ("HTTP/2", How::ResetsStream),
];

const WHO: [(&str, Who, usize); 5] = [
    ("the leader", Who::Leader, 20),
    ("a follower", Who::Follower, 20),
    ("all", Who::All, 20),
    ("every third of 500", Who::EveryThird, 500),
    ("all 500", Who::All, 500),
];

pub(super) fn trials(range: &Arc<OnDemand>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for (over, how) in HOWS {
        for (name, who, requests) in WHO {
            for known in [true, false] {
                if !known && matches!(how, How::Resets) {
                    continue;
                }
                let verdict = if known { "allowed" } else { "refused" };
                let name = format!("client: leaves, {over}: {name}, others {verdict}");
                trials.push(range.trial(&name, move |range, name| {
                    let steady = Steady::on(LISTENER)?;
                    range.case(name, steady, |counters| {
                        leave(range, counters, how, who, requests, known)
                    })
                }));
            }
        }
    }
    trials.push(
        range
            .trial("client: leaves again and again", again_and_again)
            .with_ignored_flag(true),
    );
    trials.push(range.trial("client: half-closes before the verdict", half_closes));
    trials
}

enum Waiting {
    Http1(Wire),
    Http2(ResponseFuture, h2::SendStream<Bytes>),
}

impl Waiting {
    async fn leave(self, how: How) -> Result<()> {
        match self {
            Self::Http1(wire) if matches!(how, How::Resets) => wire.reset(),
            Self::Http1(wire) => {
                drop(wire);
                Ok(())
            }
            Self::Http2(_, mut stream) => {
                stream.send_reset(Reason::CANCEL);
                Ok(())
            }
        }
    }

    async fn status(self) -> Result<u16> {
        match self {
            Self::Http1(mut wire) => Ok(wire.read.one().await?.status),
            Self::Http2(response, _stream) => status2(response).await,
        }
    }
}

async fn ask(
    to: SocketAddr,
    connection: Option<&SendRequest<Bytes>>,
    held: &Held,
) -> Result<Waiting> {
    let Some(connection) = connection else {
        let wire = Wire::with(to, &plain("GET", PATH, &held.lines(), b"")).await?;
        return Ok(Waiting::Http1(wire));
    };
    let mut connection = connection.clone().ready().await?;
    let (response, stream) =
        connection.send_request(request2(to, "GET", &held.headers())?, true)?;
    Ok(Waiting::Http2(response, stream))
}

fn leave(
    range: &Range,
    counters: &Counters,
    how: How,
    who: Who,
    requests: usize,
    known: bool,
) -> Result<()> {
    let held = if known {
        Held::known(range)?
    } else {
        Held::unknown(range)?
    };
    let to = range.envoy.listener(LISTENER)?;
    let kind = "waiting";
    let (gone, active) = (
        match how {
            How::Closes | How::Resets => "downstream_cx_destroy_remote_active_rq",
            How::ResetsStream => "downstream_rq_rx_reset",
        },
        format!("http.{LISTENER}.downstream_rq_active"),
    );
    let gone = format!("http.{LISTENER}.{gone}");
    let gone_before = range.envoy.counter(&gone)?;
    let connection = match how {
        How::ResetsStream => Some(range.runtime.block_on(connect2(to))?),
        _ => None,
    };

    let mut all = vec![
        range
            .runtime
            .block_on(ask(to, connection.as_ref(), &held))?,
    ];
    held.wait_for_lookup(range)?;
    range.runtime.block_on(async {
        for _ in 1..requests {
            all.push(ask(to, connection.as_ref(), &held).await?);
        }
        anyhow::Ok(())
    })?;
    wait_until(|| Ok(range.envoy.counter(&active)? >= requests as u64))
        .context("not all requests are paused")?;

    let mut staying = Vec::new();
    let mut left = 0;
    for (at, waiting) in all.into_iter().enumerate() {
        let leaves = match who {
            Who::Leader => at == 0,
            Who::Follower => at == requests / 2,
            Who::EveryThird => at % 3 == 0,
            Who::All => true,
        };
        if leaves {
            range.runtime.block_on(waiting.leave(how))?;
            counters.count(kind, End::Left);
            left += 1;
        } else {
            staying.push(waiting);
        }
    }
    range
        .envoy
        .wait_for_counter(&gone, gone_before + left)
        .context("Envoy did not notice the disconnects")?;
    let expected = if known { 200 } else { 401 };
    let stays = staying.len() as u64;
    held.tell();
    range.runtime.block_on(async {
        for waiting in staying {
            let end = counters.watch(kind, waiting.status()).await;
            ensure!(end == End::Answered(expected), "{end}");
        }
        Ok(())
    })?;
    range.envoy.wait_for_counter(&active, 0)?;
    let (arrived, lookups) = (range.upstream.arrived_for(&held.id), held.lookups(range));
    let should = if known { stays } else { 0 };
    ensure!(
        arrived == should,
        "{arrived} reached the upstream, not {should}"
    );
    // One lookup for each worker. Each may be repeated once, when the request
    // that started it disconnects.
    ensure!(lookups <= 4, "{lookups} lookups");
    Ok(())
}

/// If disconnects left anything in memory, it would add up here.
fn again_and_again(range: &Range, name: &str) -> Result<()> {
    const ROUNDS: usize = 20;
    range.case(name, Steady::on(LISTENER)?, |counters| {
        let mut sizes = Vec::new();
        for round in 0..ROUNDS {
            let (_, how) = HOWS[round % HOWS.len()];
            leave(range, counters, how, Who::EveryThird, 500, round % 2 == 0)?;
            sizes.push((range.envoy.resident_bytes()?, range.envoy.wasm_memory_bytes()?));
        }
        let mib = |bytes: u64| bytes as f64 / (1024.0 * 1024.0);
        let (early, late) = (sizes[ROUNDS / 4], sizes[ROUNDS - 1]);
        println!(
            "{name}: after round {}: Envoy {:.1} MiB, the filter {:.1}; after round {ROUNDS}: {:.1}, {:.1}",
            ROUNDS / 4 + 1, mib(early.0), mib(early.1), mib(late.0), mib(late.1)
        );
        ensure!(late.1 <= early.1 + 512 * 1024, "the filter's memory grows");
        ensure!(late.0 <= early.0 + 32 * 1024 * 1024, "Envoy's memory grows");
        Ok(())
    })
}

/// Envoy treats an HTTP/1 client that closes its write side as disconnected.
fn half_closes(range: &Range, name: &str) -> Result<()> {
    range.case(name, Steady::on(LISTENER)?, |counters| {
        let to = range.envoy.listener(LISTENER)?;
        for (kind, body) in [
            ("half-closed, no body", ""),
            ("half-closed, a body", "hello"),
        ] {
            for known in [true, false] {
                let held = if known {
                    Held::known(range)?
                } else {
                    Held::unknown(range)?
                };
                let request = plain("POST", PATH, &held.lines(), body.as_bytes());
                let mut wire = range.runtime.block_on(Wire::with(to, &request))?;
                held.wait_for_lookup(range)?;
                range.runtime.block_on(wire.half_close())?;
                let end = range.runtime.block_on(counters.watch(kind, async {
                    Ok::<_, anyhow::Error>(wire.read.one().await?.status)
                }));
                held.tell();
                ensure!(end == End::Reset, "{end}");
                let arrived = range.upstream.arrived_for(&held.id);
                ensure!(arrived == 0, "{arrived} reached the upstream");
            }
        }
        range
            .envoy
            .wait_for_counter(&format!("http.{LISTENER}.downstream_rq_active"), 0)
    })
}
