//! Clients that never finish sending their headers, on the shipped settings.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use keystile_e2e::counters::{Counters, End};
use keystile_e2e::http2::kind::{CONTINUATION, HEADERS};
use keystile_e2e::http2::{block, frame};
use libtest_mimic::Trial;
use tokio::task::JoinSet;

use super::SHIPPED;
use super::frames::Frames;
use super::wire::Wire;
use crate::range::{OnDemand, PATH, Steady, known_key};

/// Clients of each kind.
const CLIENTS: u64 = 20;

/// The pause between two bytes.
const PAUSE: Duration = Duration::from_millis(100);

/// `request_headers_timeout` of `envoy/envoy.yaml`.
const TIMEOUT: Duration = Duration::from_secs(10);

/// `listener_filters_timeout` of `envoy/envoy.yaml`.
const BEGINNING: Duration = Duration::from_secs(5);

/// The time by which each client must be cut off.
const DEADLINE: Duration = Duration::from_secs(25);

#[derive(Clone, Copy)]
enum Slow {
    RequestLine,
    Headers,
    /// HTTP/2, in one frame.
    Frame,
    /// HTTP/2, with one frame for each byte.
    Continuations,
}

pub(super) fn trials(shipped: &Arc<OnDemand>) -> Vec<Trial> {
    let trial = shipped.trial("client: slow headers", |range, name| {
        range.case(name, Steady::on(SHIPPED)?, |counters| {
            let to = range.envoy.listener(SHIPPED)?;
            let timed_out = format!("http.{SHIPPED}.downstream_rq_header_timeout");
            let before = range.envoy.counter(&timed_out)?;
            let key = format!("x-api-key: {}\r\n", known_key()?);
            range.runtime.block_on(async {
                let mut clients = JoinSet::new();
                for (kind, slow) in [
                    ("a slow request line", Slow::RequestLine),
                    ("slow headers", Slow::Headers),
                    ("slow headers in HTTP/2", Slow::Frame),
                    ("slow headers in many frames", Slow::Continuations),
                ] {
                    for _ in 0..CLIENTS {
                        clients.spawn(client(to, counters.clone(), kind, slow, key.clone()));
                    }
                }
                let mut last = Duration::ZERO;
                while let Some(took) = clients.join_next().await {
                    last = last.max(took??);
                }
                println!(
                    "{name}: the last one ended after {:.1} s",
                    last.as_secs_f64()
                );
                anyhow::Ok(())
            })?;
            let timed_out = range.envoy.counter(&timed_out)? - before;
            // Slow request lines end before that timeout.
            ensure!(timed_out == 3 * CLIENTS, "{timed_out} headers timed out");
            Ok(())
        })
    });
    vec![trial.with_ignored_flag(true)]
}

async fn client(
    to: SocketAddr,
    counters: Counters,
    kind: &'static str,
    slow: Slow,
    key: String,
) -> Result<Duration> {
    let began = Instant::now();
    let end = match slow {
        Slow::RequestLine => over1(&counters, to, kind, "GET /".to_owned()).await?,
        Slow::Headers => {
            let begin = format!("GET {PATH} HTTP/1.1\r\nhost: test\r\n{key}x-slow: ");
            over1(&counters, to, kind, begin).await?
        }
        Slow::Frame => over2(&counters, to, kind, false).await?,
        Slow::Continuations => over2(&counters, to, kind, true).await?,
    };
    let took = began.elapsed();
    let (expected, timeout) = match slow {
        // Before it has a complete line, Envoy does not know that this is HTTP.
        Slow::RequestLine => (End::Reset, BEGINNING),
        _ => (End::Answered(408), TIMEOUT),
    };
    ensure!(end == expected, "{kind}: {end}");
    ensure!(took >= timeout - PAUSE, "{kind}: after {took:?} already");
    Ok(took)
}

async fn over1(counters: &Counters, to: SocketAddr, kind: &str, begin: String) -> Result<End> {
    let Wire {
        mut read,
        mut write,
    } = Wire::with(to, begin.as_bytes()).await?;
    let dripping = tokio::spawn(async move {
        loop {
            tokio::time::sleep(PAUSE).await;
            if tokio::io::AsyncWriteExt::write_all(&mut write, b"a")
                .await
                .is_err()
            {
                return;
            }
        }
    });
    let answer = async { anyhow::Ok(read.one().await?.status) };
    let end = counters.watch_for(DEADLINE, kind, answer).await;
    dripping.abort();
    Ok(end)
}

/// Opens an HTTP/2 stream whose headers come byte by byte, and never end.
async fn over2(counters: &Counters, to: SocketAddr, kind: &str, many_frames: bool) -> Result<End> {
    let connection = Frames::connect(to).await?;
    let pseudo = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "test"),
    ];
    let begin = block(&pseudo);
    // A header value of a few hundred bytes.
    let long = "a".repeat(400);
    let rest = block(&[("x-slow", &*long)]);
    let first = match many_frames {
        true => frame(HEADERS, 0, 1, &begin),
        false => {
            let whole = frame(HEADERS, 0, 1, &[&*begin, &*rest].concat());
            whole[..whole.len() - rest.len()].to_vec()
        }
    };
    connection.send(&first).await?;
    let answer = async {
        for byte in rest {
            tokio::time::sleep(PAUSE).await;
            let next = match many_frames {
                true => frame(CONTINUATION, 0, 1, &[byte]),
                false => vec![byte],
            };
            if connection.answers() > 0 {
                // The status is not decoded here; Envoy counts these timeouts.
                return Ok(408);
            }
            if connection.send(&next).await.is_err() {
                break;
            }
        }
        bail!("closed")
    };
    Ok(counters.watch_for(DEADLINE, kind, answer).await)
}
