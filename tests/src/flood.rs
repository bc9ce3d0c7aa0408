//! Clients that open many connections and send little on them, or that send many requests and read
//! nothing.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::http2::{WINDOW, get, preface, request};

/// How many connections are opened at a time, so that others get a turn.
const AT_ONCE: usize = 50;

/// What all connections of a flood do.
#[derive(Clone, Debug)]
pub struct Flood {
    /// A name for such connections.
    pub name: &'static str,
    /// What each connection sends first.
    pub first: Vec<u8>,
    /// What each connection then sends every second.
    pub again: &'static [u8],
}

/// How far a flood got.
#[derive(Debug, Default)]
pub struct Reached {
    /// How many connections were opened.
    pub opened: AtomicUsize,
    /// The most connections that were open at the same time.
    pub most: AtomicUsize,
}

impl Flood {
    /// Connections that send nothing.
    pub fn silent() -> Self {
        Self {
            name: "silent",
            first: Vec::new(),
            again: b"",
        }
    }

    /// Connections that send one byte of a request's head each second.
    pub fn dribbling() -> Self {
        Self {
            name: "dribbled heads",
            first: b"GET / HTTP/1.1\r\nx: ".to_vec(),
            again: b"x",
        }
    }

    /// HTTP/2 connections that send no request and answer no ping.
    pub fn http2() -> Self {
        Self {
            name: "HTTP/2 without pongs",
            first: preface(WINDOW),
            again: b"",
        }
    }

    /// HTTP/2 connections whose request never ends.
    pub fn unfinished() -> Self {
        Self {
            name: "HTTP/2, streams without an end",
            first: [preface(WINDOW), request(1, 0, "/healthz", &[])].concat(),
            again: b"",
        }
    }

    /// HTTP/2 connections that never read their response.
    pub fn unread() -> Self {
        Self {
            name: "HTTP/2, answers that nobody reads",
            first: [preface(0), get(1, "/healthz")].concat(),
            again: b"",
        }
    }

    /// Connections that stay idle after one request.
    pub fn idle() -> Self {
        Self {
            name: "idle after a request",
            first: b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
            again: b"",
        }
    }

    /// Keeps `connections` connections open until it is told to stop. Replaces those that are closed.
    pub fn run(&self, to: SocketAddr, connections: usize, stop: &AtomicBool, reached: &Reached) {
        let mut streams: Vec<TcpStream> = Vec::new();
        let mut last = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            for _ in 0..AT_ONCE.min(connections.saturating_sub(streams.len())) {
                if let Ok(stream) = open(to, &self.first) {
                    streams.push(stream);
                    reached.opened.fetch_add(1, Ordering::Relaxed);
                }
            }
            reached.most.fetch_max(streams.len(), Ordering::Relaxed);
            streams.retain_mut(is_open);
            if last.elapsed() >= Duration::from_secs(1) {
                last = Instant::now();
                for stream in &mut streams {
                    // Closed connections are noticed above.
                    let _ = stream.write_all(self.again);
                }
            }
            thread::park_timeout(Duration::from_millis(10));
        }
    }
}

/// Sends the same request `each` times over each connection and reads nothing. The responses stay
/// unread as long as the caller keeps the returned connections.
///
/// # Errors
/// When a connection cannot be opened.
pub fn unread_answers(
    to: SocketAddr,
    path: &str,
    http2: bool,
    connections: usize,
    each: u32,
) -> Result<Vec<TcpStream>> {
    let requests = if http2 {
        let requests = (0..each).map(|number| get(2 * number + 1, path));
        let all: Vec<_> = [preface(0)].into_iter().chain(requests).collect();
        all.concat()
    } else {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        request.repeat(each as usize).into_bytes()
    };
    (0..connections).map(|_| open(to, &requests)).collect()
}

/// Returns true if the server has neither closed nor reset a connection. Does not block. Reads and
/// drops what the server has sent; over HTTP/2, no response comes before the client opens a window.
pub fn is_open(stream: &mut TcpStream) -> bool {
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(problem) => return problem.kind() == ErrorKind::WouldBlock,
        }
    }
}

/// Opens a connection and sends as much as the server takes at once.
fn open(to: SocketAddr, bytes: &[u8]) -> Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(1))?;
    stream.set_nonblocking(true)?;
    // The server may already have closed it, or take no more.
    let _ = stream.write_all(bytes);
    Ok(stream)
}
