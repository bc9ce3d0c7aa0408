//! Large bodies of requests that wait for their verdict.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use h2::SendStream;
use h2::client::ResponseFuture;
use keystile_e2e::counters::{Counters, End};
use keystile_e2e::recording_upstream::{DIFFERS, counting};
use libtest_mimic::Trial;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::task::JoinHandle;

use super::held::Held;
use super::wire::{Answers, Wire};
use super::{LISTENER, SHIPPED, STREAMED, connect2, request2};
use crate::range::{OnDemand, PATH, Range, Steady};

const MIB: usize = 1024 * 1024;

/// How many bytes a client writes at once.
const PIECE: usize = 16 * 1024;

/// A count that does not change for this long is final.
const STILL: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug)]
enum Form {
    Length,
    Chunked,
    Http2,
}

#[derive(Clone, Copy)]
struct Upload {
    listener: &'static str,
    form: Form,
    known: bool,
    size: usize,
    at_once: usize,
}

pub(super) fn trials(plain: &Arc<OnDemand>, shipped: &Arc<OnDemand>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for (form_name, form) in [
        ("content-length", Form::Length),
        ("chunked", Form::Chunked),
        ("HTTP/2", Form::Http2),
    ] {
        for (range, listener, count, size, at_once, long) in [
            (shipped, SHIPPED, "8 MB", 8 * MIB, 1, false),
            (plain, STREAMED, "64 MB, streamed", 64 * MIB, 1, false),
            (shipped, SHIPPED, "100 MB", 100 * MIB, 1, true),
            (shipped, SHIPPED, "8 of 32 MB", 32 * MIB, 8, true),
            (
                plain,
                LISTENER,
                "100 MB on Envoy's defaults",
                100 * MIB,
                1,
                true,
            ),
        ] {
            for (verdict, known) in [("allowed", true), ("refused", false)] {
                let upload = Upload {
                    listener,
                    form,
                    known,
                    size,
                    at_once,
                };
                let name = format!("client: uploads {count}, {form_name}, {verdict}");
                let trial = range.trial(&name, move |range, name| {
                    range.case(name, Steady::on(listener)?, |counters| {
                        upload.run(range, counters, name)
                    })
                });
                trials.push(trial.with_ignored_flag(long));
            }
        }
    }
    trials
}

impl Upload {
    /// Returns a limit for the bytes that Envoy may read of a body while it waits.
    fn bound(self) -> usize {
        match (self.listener, self.form) {
            // A window of 64 KiB and a buffer of the same size. For HTTP/1, the socket buffers of both
            // sides come on top.
            (SHIPPED, Form::Http2) => 256 * 1024,
            (SHIPPED, _) => MIB,
            // The same, with Envoy's default of 16 MiB.
            (_, Form::Http2) => 33 * MIB,
            // 1 MiB, plus the socket buffers.
            _ => 12 * MIB,
        }
    }

    fn run(self, range: &Range, counters: &Counters, name: &str) -> Result<()> {
        let held = match self.known {
            true => Held::known(range)?,
            false => Held::unknown(range)?,
        };
        let to = range.envoy.listener(self.listener)?;
        let before = range.envoy.resident_bytes()?;
        let taken: Vec<_> = (0..self.at_once)
            .map(|_| Arc::new(AtomicUsize::new(0)))
            .collect();
        let bodies: Vec<_> = range.runtime.block_on(async {
            let mut bodies = Vec::new();
            for taken in &taken {
                bodies.push(Body::begin(to, self, &held, Arc::clone(taken)).await?);
            }
            anyhow::Ok(bodies)
        })?;
        held.wait_for_lookup(range)?;
        let all = || taken.iter().map(|taken| taken.load(Ordering::Relaxed));
        let paused = still(|| all().sum());
        let most = all().max().unwrap_or(0);
        let waiting = range.envoy.resident_bytes()?;
        ensure!(
            most < self.bound(),
            "{most} bytes were taken of a request that waits"
        );
        ensure!(
            range.upstream.arrived_for(&held.id) == 0,
            "reached the upstream before the verdict"
        );

        let (peak, (answers, took)) = peak(range, || {
            held.tell();
            let told = Instant::now();
            let answers = range.runtime.block_on(async {
                let mut answers = Vec::new();
                for body in bodies {
                    answers.push(body.end(counters).await?);
                }
                anyhow::Ok(answers)
            });
            (answers, told.elapsed())
        });
        let after = range.envoy.resident_bytes()?;
        let mib = |bytes: u64| bytes as f64 / MIB as f64;
        println!(
            "{name}: {:.2} MiB of {} taken before the verdict, the end {:.2} s behind it; \
             Envoy's memory {:.1} MiB before, {:.1} waiting, {:.1} at most, {:.1} after",
            mib(paused as u64),
            (self.size * self.at_once) / MIB,
            took.as_secs_f64(),
            mib(before),
            mib(waiting),
            mib(peak),
            mib(after),
        );
        for (status, body, differs) in answers? {
            ensure!(
                status == if self.known { 200 } else { 401 },
                "{status} {body}"
            );
            if self.known {
                ensure!(
                    body == self.size.to_string() && differs.is_none(),
                    "{body} bytes arrived, out of order from {differs:?}"
                );
            }
        }
        let arrived = range.upstream.arrived_for(&held.id);
        let should = if self.known { self.at_once } else { 0 };
        ensure!(arrived == should as u64, "{arrived} reached the upstream");
        // Each body may be in the buffers of both sides, and the allocator may keep some memory.
        let bound = before + (2 * self.at_once * self.bound() + 16 * MIB) as u64;
        ensure!(peak < bound, "Envoy took {:.1} MiB", mib(peak));
        range
            .envoy
            .wait_for_counter(&format!("http.{}.downstream_rq_active", self.listener), 0)
    }
}

/// A body that is being sent.
struct Body {
    answer: Answer,
    sending: JoinHandle<Result<()>>,
}

enum Answer {
    Http1(Answers),
    Http2(ResponseFuture),
}

impl Body {
    /// Sends a request's headers, and begins to send its body.
    async fn begin(
        to: SocketAddr,
        upload: Upload,
        held: &Held,
        taken: Arc<AtomicUsize>,
    ) -> Result<Self> {
        let size = upload.size;
        if let Form::Http2 = upload.form {
            let mut connection = connect2(to).await?.ready().await?;
            let request = request2(to, "POST", &held.headers())?;
            let (response, stream) = connection.send_request(request, false)?;
            return Ok(Self {
                answer: Answer::Http2(response),
                sending: tokio::spawn(send2(stream, size, taken)),
            });
        }
        let chunked = matches!(upload.form, Form::Chunked);
        let form = match chunked {
            true => "transfer-encoding: chunked".to_owned(),
            false => format!("content-length: {size}"),
        };
        let lines = held.lines();
        let head = format!("POST {PATH} HTTP/1.1\r\nhost: test\r\n{lines}{form}\r\n\r\n");
        let wire = Wire::with(to, head.as_bytes()).await?;
        Ok(Self {
            answer: Answer::Http1(wire.read),
            sending: tokio::spawn(send1(wire.write, size, chunked, taken)),
        })
    }

    /// Returns the answer's status and body, and where the upload differs from what was sent.
    async fn end(self, counters: &Counters) -> Result<(u16, String, Option<String>)> {
        let mut whole = None;
        let end = counters
            .watch_for(Duration::from_secs(120), "an upload", async {
                let (status, body, differs) = match self.answer {
                    Answer::Http1(mut answers) => {
                        let response = answers.one().await?;
                        let differs = response.header(DIFFERS)?.map(str::to_owned);
                        (response.status, response.text(), differs)
                    }
                    Answer::Http2(response) => {
                        let response = response.await?;
                        let differs = response.headers().get(DIFFERS);
                        let differs = differs.map(|at| format!("{at:?}"));
                        let status = response.status().as_u16();
                        let mut body = Vec::new();
                        let mut stream = response.into_body();
                        while let Some(data) = stream.data().await {
                            body.extend_from_slice(&data?);
                        }
                        (status, String::from_utf8_lossy(&body).into_owned(), differs)
                    }
                };
                whole = Some((status, body, differs));
                anyhow::Ok(status)
            })
            .await;
        match end {
            // A refused client need not send the rest.
            End::Answered(401) => self.sending.abort(),
            _ => self.sending.await??,
        }
        whole.with_context(|| end.to_string())
    }
}

async fn send1(
    mut write: OwnedWriteHalf,
    size: usize,
    chunked: bool,
    taken: Arc<AtomicUsize>,
) -> Result<()> {
    for from in (0..size).step_by(PIECE) {
        let data = counting(from, PIECE.min(size - from));
        if chunked {
            write
                .write_all(format!("{:x}\r\n", data.len()).as_bytes())
                .await?;
        }
        write.write_all(&data).await?;
        if chunked {
            write.write_all(b"\r\n").await?;
        }
        taken.fetch_add(data.len(), Ordering::Relaxed);
    }
    if chunked {
        write.write_all(b"0\r\n\r\n").await?;
    }
    // Envoy would treat a closed write side as a disconnect.
    write.forget();
    Ok(())
}

async fn send2(mut stream: SendStream<Bytes>, size: usize, taken: Arc<AtomicUsize>) -> Result<()> {
    let mut from = 0;
    while from < size {
        stream.reserve_capacity(PIECE.min(size - from));
        let capacity = std::future::poll_fn(|context| stream.poll_capacity(context)).await;
        let capacity = capacity.context("the stream is over")??;
        let data = counting(from, capacity.min(size - from));
        from += data.len();
        taken.fetch_add(data.len(), Ordering::Relaxed);
        stream.send_data(data.into(), from == size)?;
    }
    Ok(())
}

/// Waits until a count no longer changes, and returns it.
pub(super) fn still(count: impl Fn() -> usize) -> usize {
    let (mut last, mut since) = (count(), Instant::now());
    while since.elapsed() < STILL {
        thread::park_timeout(Duration::from_millis(10));
        let now = count();
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    last
}

/// Returns Envoy's peak memory while `run` runs, in bytes, and the result of `run`.
fn peak<T>(range: &Range, run: impl FnOnce() -> T) -> (u64, T) {
    let first = range.envoy.resident_bytes().unwrap_or(0);
    let (peak, over) = (AtomicU64::new(first), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                if let Ok(now) = range.envoy.resident_bytes() {
                    peak.fetch_max(now, Ordering::Relaxed);
                }
                thread::park_timeout(Duration::from_millis(10));
            }
        });
        let result = run();
        over.store(true, Ordering::Relaxed);
        (peak.load(Ordering::Relaxed), result)
    })
}
