//! A client that sends requests over HTTP/2 at an even rate, and records each response's time.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::MissedTickBehavior;

use crate::client::DEADLINE;

/// Enough connections for each of Envoy's workers to get some.
const CONNECTIONS: usize = 16;

/// A response, or the lack of one.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// The status, if there was a complete response in time.
    pub status: Option<u16>,
    /// When the request was sent.
    pub sent: Instant,
    /// When the response was complete, or it was clear that there would be none.
    pub answered: Instant,
}

impl Seen {
    /// Returns true if the request got neither a response nor a reset before the deadline.
    pub fn hung(&self) -> bool {
        self.status.is_none() && self.answered.duration_since(self.sent) >= DEADLINE
    }
}

/// A request without a body.
pub type Request = hyper::Request<Empty<Bytes>>;

/// Requests at an even rate, until this is dropped.
pub struct Traffic {
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<()>>,
}

impl Traffic {
    /// Starts to send `GET path` with `x-api-key: key`, `rate` times a second.
    ///
    /// # Errors
    /// When the connections fail, or HTTP/2 cannot carry the request.
    pub fn start(
        runtime: &Runtime,
        to: SocketAddr,
        path: &str,
        key: &str,
        rate: u32,
    ) -> Result<Self> {
        let request = hyper::Request::get(format!("http://{to}{path}")).header("x-api-key", key);
        let request = request.body(Empty::new())?;
        Self::of(runtime, to, rate, move || request.clone())
    }

    /// Starts to send the requests that `next` returns, `rate` times a second. Reconnects if the other
    /// side closes a connection.
    ///
    /// # Errors
    /// When the connections fail.
    pub fn of(
        runtime: &Runtime,
        to: SocketAddr,
        rate: u32,
        next: impl FnMut() -> Request + Send + 'static,
    ) -> Result<Self> {
        let connections = runtime.block_on(async {
            let mut connections = Vec::new();
            for _ in 0..CONNECTIONS {
                connections.push(connect(to).await?);
            }
            anyhow::Ok(connections)
        })?;
        let seen = Arc::<Mutex<_>>::default();
        let (stop, stopped) = watch::channel(false);
        let task = send_all(to, connections, rate, next, Arc::clone(&seen), stopped);
        Ok(Self {
            seen,
            stop,
            task: runtime.spawn(task),
        })
    }

    /// Returns everything seen so far, in the order of the responses.
    ///
    /// # Errors
    /// When requests cannot be sent any more.
    pub fn seen(&self) -> Result<Vec<Seen>> {
        ensure!(!self.task.is_finished(), "requests cannot be sent any more");
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(seen.clone())
    }

    /// Stops sending, waits for the requests under way, and returns everything seen.
    ///
    /// # Errors
    /// When not all requests could be sent.
    pub fn finish(mut self, runtime: &Runtime) -> Result<Vec<Seen>> {
        // If the task has already ended, its result says why.
        self.stop.send(true).ok();
        runtime.block_on(&mut self.task)??;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::take(&mut *seen))
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Returns the 99th percentile of how long responses took. All of them must be a 200.
///
/// # Errors
/// When one is not, or there are none.
pub fn p99(seen: &[&Seen]) -> Result<Duration> {
    let others: Vec<_> = seen
        .iter()
        .filter(|seen| seen.status != Some(200))
        .collect();
    ensure!(
        others.is_empty(),
        "{} of {} valid requests were not answered with 200, the first with {:?}",
        others.len(),
        seen.len(),
        others[0].status
    );
    let took = seen
        .iter()
        .map(|seen| seen.answered.duration_since(seen.sent));
    let mut took: Vec<_> = took.collect();
    took.sort();
    let at = took.len() * 99 / 100;
    took.get(at).copied().context("no valid request was sent")
}

/// Opens an HTTP/2 connection with prior knowledge.
///
/// # Errors
/// When the connection fails.
pub async fn connect(to: SocketAddr) -> Result<SendRequest<Empty<Bytes>>> {
    let stream = TcpStream::connect(to).await;
    let stream = stream.with_context(|| format!("cannot connect to {to}"))?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    // It ends with its last sender. Its errors show in the requests.
    tokio::spawn(connection);
    Ok(sender)
}

async fn send_all(
    to: SocketAddr,
    mut connections: Vec<SendRequest<Empty<Bytes>>>,
    rate: u32,
    mut next: impl FnMut() -> Request,
    seen: Arc<Mutex<Vec<Seen>>>,
    mut stopped: watch::Receiver<bool>,
) -> Result<()> {
    let mut clock = tokio::time::interval(Duration::from_secs(1) / rate);
    clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut under_way = JoinSet::new();
    'sending: loop {
        for connection in &mut connections {
            tokio::select! {
                _ = clock.tick() => {}
                _ = stopped.changed() => break 'sending,
            }
            if connection.is_closed() {
                *connection = connect(to).await?;
            }
            let (mut connection, request, seen) = (connection.clone(), next(), Arc::clone(&seen));
            under_way.spawn(async move {
                let sent = Instant::now();
                let answer = status_of_sent(to, &mut connection, request);
                let answer = tokio::time::timeout(DEADLINE, answer).await;
                let one = Seen {
                    status: answer.ok().and_then(Result::ok),
                    sent,
                    answered: Instant::now(),
                };
                seen.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(one);
            });
            while under_way.try_join_next().is_some() {}
        }
    }
    under_way.join_all().await;
    Ok(())
}

/// Does the same as [`status`], but retries on a new connection if this one was closed before the
/// other side began to process the request.
async fn status_of_sent(
    to: SocketAddr,
    sender: &mut SendRequest<Empty<Bytes>>,
    request: Request,
) -> Result<u16> {
    match status(sender, request.clone()).await {
        Err(problem) if is_untouched(&problem) => {
            Ok(status(&mut connect(to).await?, request).await?)
        }
        answer => Ok(answer?),
    }
}

/// Returns true if the other side has not begun to process a request: it was not sent, or it came
/// after the last one that a closing connection takes (RFC 9113 section 6.8).
fn is_untouched(problem: &hyper::Error) -> bool {
    let cause = std::error::Error::source(problem);
    let cause = cause.and_then(|cause| cause.downcast_ref::<h2::Error>());
    problem.is_canceled()
        || cause.is_some_and(|cause| {
            cause.is_go_away() && cause.is_remote() && cause.reason() == Some(h2::Reason::NO_ERROR)
        })
}

/// Sends a request and returns the status of its complete response.
///
/// # Errors
/// When there is none: the stream or the connection was reset or closed.
pub async fn status(
    sender: &mut SendRequest<Empty<Bytes>>,
    request: Request,
) -> hyper::Result<u16> {
    let mut response = sender.send_request(request).await?;
    while let Some(frame) = response.body_mut().frame().await {
        frame?;
    }
    Ok(response.status().as_u16())
}
