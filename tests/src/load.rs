//! A client for many requests over a few HTTP/2 connections, several at once on each. It keeps counts,
//! not responses.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http2::SendRequest;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use crate::client::DEADLINE;
use crate::recording_upstream::ENTITLED;
use crate::traffic::{connect, status};

/// A `GET` request.
#[derive(Clone, Debug)]
pub struct Request {
    /// The path, with its query.
    pub path: String,
    /// The value of `x-api-key`.
    pub key: String,
    /// The value of `x-request-id`, if it has one.
    pub request_id: Option<String>,
    /// The value of [`ENTITLED`], if it has one.
    pub entitled: Option<String>,
}

impl Request {
    /// Creates a request without the optional headers.
    pub fn new(path: &str, key: String) -> Self {
        Self {
            path: path.to_owned(),
            key,
            request_id: None,
            entitled: None,
        }
    }
}

/// The outcomes of the requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcomes {
    /// How many got a complete response, by status.
    pub by_status: BTreeMap<u16, usize>,
    /// How many got none: they were reset, cut off or too slow.
    pub failed: usize,
    /// How long the slowest response took.
    pub slowest: Duration,
}

impl Outcomes {
    fn add(&mut self, other: Self) {
        for (status, count) in other.by_status {
            *self.by_status.entry(status).or_default() += count;
        }
        self.failed += other.failed;
        self.slowest = self.slowest.max(other.slowest);
    }
}

/// The requests yet to be sent, shared by all streams.
type Queue = Arc<Mutex<mpsc::Receiver<Request>>>;

/// Sends all requests, roughly in order, over HTTP/2 with prior knowledge. Uses `connections`
/// connections with up to `streams` requests at once on each. Reconnects if the other side closes one.
///
/// # Errors
/// When a connection cannot be opened, or HTTP/2 cannot carry a request.
pub async fn run(
    to: SocketAddr,
    connections: usize,
    streams: usize,
    requests: impl Iterator<Item = Request> + Send,
) -> Result<Outcomes> {
    ensure!(
        connections > 0 && streams > 0,
        "connections and streams must be at least 1"
    );
    let (hand_out, queue) = mpsc::channel(connections * streams);
    let queue = Arc::new(Mutex::new(queue));
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        tasks.spawn(over_connection(to, streams, Arc::clone(&queue)));
    }
    drop(queue);
    for request in requests {
        if hand_out.send(request).await.is_err() {
            // All connections have failed. The tasks say why.
            break;
        }
    }
    drop(hand_out);
    let mut outcomes = Outcomes::default();
    while let Some(done) = tasks.join_next().await {
        outcomes.add(done??);
    }
    Ok(outcomes)
}

async fn over_connection(to: SocketAddr, streams: usize, queue: Queue) -> Result<Outcomes> {
    let mut outcomes = Outcomes::default();
    let mut more = true;
    while more {
        let sender = connect(to).await?;
        let mut tasks = JoinSet::new();
        for _ in 0..streams {
            tasks.spawn(on_stream(to, sender.clone(), Arc::clone(&queue)));
        }
        drop(sender);
        while let Some(done) = tasks.join_next().await {
            let (part, closed) = done??;
            outcomes.add(part);
            more &= closed;
        }
    }
    Ok(outcomes)
}

/// Sends one request after the other. Also returns true if the connection closed before the last.
async fn on_stream(
    to: SocketAddr,
    mut sender: SendRequest<Empty<Bytes>>,
    queue: Queue,
) -> Result<(Outcomes, bool)> {
    let mut outcomes = Outcomes::default();
    loop {
        let next = queue.lock().await.recv().await;
        let Some(next) = next else {
            return Ok((outcomes, false));
        };
        let mut request =
            hyper::Request::get(format!("http://{to}{}", next.path)).header("x-api-key", next.key);
        if let Some(id) = next.request_id {
            request = request.header("x-request-id", id);
        }
        if let Some(id) = next.entitled {
            request = request.header(ENTITLED, id);
        }
        let request = request.body(Empty::new())?;
        let sent = Instant::now();
        match tokio::time::timeout(DEADLINE, status(&mut sender, request)).await {
            Ok(Ok(status)) => {
                *outcomes.by_status.entry(status).or_default() += 1;
                outcomes.slowest = outcomes.slowest.max(sent.elapsed());
            }
            _ => outcomes.failed += 1,
        }
        if sender.is_closed() {
            return Ok((outcomes, true));
        }
    }
}
