//! A client for requests at an even rate, over HTTP/2, that remembers when which answer came.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::MissedTickBehavior;

use crate::client::DEADLINE;

/// Connections enough for each of Envoy's workers to get some.
const CONNECTIONS: usize = 16;

/// An answer, or that there was none.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// The status, if there was a whole answer in time.
    pub status: Option<u16>,
    /// When the request was sent.
    pub sent: Instant,
    /// When the answer was there.
    pub answered: Instant,
}

/// Requests with one key, at an even rate, until this is dropped.
pub struct Traffic {
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<Result<()>>,
}

impl Traffic {
    /// Begins to send `GET path` with `x-api-key: key`, so many a second.
    ///
    /// # Errors
    /// When there is nobody to send them to.
    pub fn start(
        runtime: &Runtime,
        to: SocketAddr,
        path: &str,
        key: &str,
        rate: u32,
    ) -> Result<Self> {
        let request = hyper::Request::get(format!("http://{to}{path}")).header("x-api-key", key);
        let request = request.body(Empty::new())?;
        let connections = runtime.block_on(async {
            let mut connections = Vec::new();
            for _ in 0..CONNECTIONS {
                connections.push(connect(to).await?);
            }
            anyhow::Ok(connections)
        })?;
        let seen = Arc::<Mutex<_>>::default();
        let task = send_all(connections, request, rate, Arc::clone(&seen));
        Ok(Self {
            seen,
            task: runtime.spawn(task),
        })
    }

    /// All that was seen so far, in the order of the answers.
    ///
    /// # Errors
    /// When requests cannot be sent any more.
    pub fn seen(&self) -> Result<Vec<Seen>> {
        anyhow::ensure!(!self.task.is_finished(), "a connection was closed");
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(seen.clone())
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A connection with prior knowledge of HTTP/2.
pub(crate) async fn connect(to: SocketAddr) -> Result<SendRequest<Empty<Bytes>>> {
    let stream = TcpStream::connect(to).await;
    let stream = stream.with_context(|| format!("cannot connect to {to}"))?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    // It ends with its last sender, and how it ends its requests tell.
    tokio::spawn(connection);
    Ok(sender)
}

async fn send_all(
    connections: Vec<SendRequest<Empty<Bytes>>>,
    request: hyper::Request<Empty<Bytes>>,
    rate: u32,
    seen: Arc<Mutex<Vec<Seen>>>,
) -> Result<()> {
    let mut clock = tokio::time::interval(Duration::from_secs(1) / rate);
    clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut under_way = JoinSet::new();
    for connection in connections.iter().cycle() {
        clock.tick().await;
        let (mut connection, request, seen) =
            (connection.clone(), request.clone(), Arc::clone(&seen));
        under_way.spawn(async move {
            let sent = Instant::now();
            let answer = tokio::time::timeout(DEADLINE, status(&mut connection, request)).await;
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
    Ok(())
}

/// The status of an answer that arrives whole.
pub(crate) async fn status(
    sender: &mut SendRequest<Empty<Bytes>>,
    request: hyper::Request<Empty<Bytes>>,
) -> hyper::Result<u16> {
    let mut response = sender.send_request(request).await?;
    while let Some(frame) = response.body_mut().frame().await {
        frame?;
    }
    Ok(response.status().as_u16())
}
