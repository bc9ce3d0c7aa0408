//! A client for many requests: over a few connections of HTTP/2, some at once on each. It keeps
//! counts, not answers.

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
use crate::gate::ENTITLED;
use crate::traffic::{connect, status};

/// A `GET`.
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
    /// A request without other headers.
    pub fn new(path: &str, key: String) -> Self {
        Self {
            path: path.to_owned(),
            key,
            request_id: None,
            entitled: None,
        }
    }
}

/// What became of the requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcomes {
    /// How many got a whole answer, by its status.
    pub by_status: BTreeMap<u16, usize>,
    /// How many got none: reset, cut off, or not in time.
    pub failed: usize,
    /// How long the slowest answer took.
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

/// The requests that are still to be sent, shared by all streams.
type Queue = Arc<Mutex<mpsc::Receiver<Request>>>;

/// Sends all requests, in about their order, with prior knowledge of HTTP/2: over that many
/// `connections`, with up to `streams` requests at once on each. A connection that the other side
/// closes is opened again.
///
/// # Errors
/// When a connection cannot be opened, or a request is none that HTTP/2 can carry.
pub async fn run(
    to: SocketAddr,
    connections: usize,
    streams: usize,
    requests: impl Iterator<Item = Request> + Send,
) -> Result<Outcomes> {
    ensure!(connections > 0 && streams > 0, "nothing to send on");
    let (hand_out, queue) = mpsc::channel(connections * streams);
    let queue = Arc::new(Mutex::new(queue));
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        tasks.spawn(over_connection(to, streams, Arc::clone(&queue)));
    }
    drop(queue);
    for request in requests {
        if hand_out.send(request).await.is_err() {
            // Every connection failed, as the tasks will tell.
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

/// One request after the other. Also gives whether the connection was closed before the last.
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
