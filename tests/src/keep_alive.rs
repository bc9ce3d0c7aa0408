//! Keep-alive clients: one for HTTP/1.1 that sends exactly the bytes it is given, and one for HTTP/2
//! with several requests at once.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::client::{DEADLINE, Response, exchange_http2};

/// An HTTP/2 request.
pub type Http2Request = hyper::Request<Full<Bytes>>;

/// A keep-alive connection for HTTP/1.1. It is opened when needed, and reopened after the other side
/// has closed it.
pub struct KeepAliveClient {
    to: SocketAddr,
    stream: Option<TcpStream>,
}

impl KeepAliveClient {
    /// Creates a client that is not connected yet.
    pub fn new(to: SocketAddr) -> Self {
        Self { to, stream: None }
    }

    /// Sends a request other than `HEAD` or `CONNECT` and reads the response.
    ///
    /// # Errors
    /// When there is no complete response in time, or more than one.
    pub fn exchange(&mut self, request: &[u8]) -> Result<Response> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => open(self.to)?,
        };
        // If the request is refused early, writing may fail although there is a response.
        let written = stream.write_all(request);
        let response = read(&mut stream).with_context(|| format!("{written:?}"))?;
        if response.header("connection")? != Some("close") {
            self.stream = Some(stream);
        }
        Ok(response)
    }
}

fn open(to: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Reads one response. Any bytes after it are an error.
fn read(stream: &mut TcpStream) -> Result<Response> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        if let Some((response, length)) = whole(&bytes)? {
            if bytes.len() > length {
                bail!("more than one answer: {response:?}");
            }
            return Ok(response);
        }
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Err(std::io::Error::from(ErrorKind::UnexpectedEof))
                .with_context(|| format!("cut off: {:?}", String::from_utf8_lossy(&bytes)));
        }
        bytes.extend_from_slice(&buffer[..read]);
    }
}

/// Returns the response at the start of these bytes and its length, once it is complete.
fn whole(bytes: &[u8]) -> Result<Option<(Response, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(start) = head.parse(bytes)? else {
        return Ok(None);
    };
    let status = head.code.context("no status")?;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let mut response = Response {
        status,
        headers: head
            .headers
            .iter()
            .map(|header| (header.name.to_ascii_lowercase(), text(header.value)))
            .collect(),
        body: Vec::new(),
    };
    if status == 100 {
        let behind = whole(&bytes[start..])?;
        return Ok(behind.map(|(response, length)| (response, start + length)));
    }
    if response.header("transfer-encoding")? == Some("chunked") {
        return Ok(dechunked(&bytes[start..])?.map(|(body, length)| {
            response.body = body;
            (response, start + length)
        }));
    }
    let length = match response.header("content-length")? {
        Some(length) => length.parse()?,
        // A response without either header has no body: 204, 304.
        None => 0,
    };
    let body = bytes.get(start..start + length);
    Ok(body.map(|body| {
        response.body = body.to_vec();
        (response, start + length)
    }))
}

/// Returns a chunked body without trailers and its encoded length, once it is complete.
fn dechunked(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let size = httparse::parse_chunk_size(&bytes[at..]);
        let size = size.map_err(|_| anyhow!("not a chunk: {:?}", &bytes[at..]))?;
        let httparse::Status::Complete((start, size)) = size else {
            return Ok(None);
        };
        let (start, size) = (at + start, usize::try_from(size)?);
        let Some(chunk) = bytes.get(start..start + size + 2) else {
            return Ok(None);
        };
        at = start + size + 2;
        body.extend_from_slice(&chunk[..size]);
        if size == 0 {
            return Ok(Some((body, at)));
        }
    }
}

/// Sends all HTTP/1.1 requests over this number of connections, one after the other on each. Returns
/// the responses in the order of the requests.
pub fn exchange_all<R: AsRef<[u8]> + Sync>(
    to: SocketAddr,
    connections: usize,
    requests: &[R],
) -> Vec<Result<Response>> {
    let share = requests.len().div_ceil(connections).max(1);
    thread::scope(|scope| {
        let shares: Vec<_> = requests
            .chunks(share)
            .map(|requests| {
                let one_by_one = move || {
                    let mut client = KeepAliveClient::new(to);
                    let answers = requests.iter().map(|r| client.exchange(r.as_ref()));
                    answers.collect::<Vec<_>>()
                };
                (requests.len(), scope.spawn(one_by_one))
            })
            .collect();
        shares
            .into_iter()
            .flat_map(|(count, answers)| {
                answers.join().unwrap_or_else(|_| {
                    let panicked = || Err(anyhow!("the client panicked"));
                    std::iter::repeat_with(panicked).take(count).collect()
                })
            })
            .collect()
    })
}

/// Sends all requests over one HTTP/2 connection, up to `at_once` at a time. Reconnects if it is
/// closed. Returns the responses in the order of the requests, with trailers after the headers.
///
/// # Errors
/// When a connection cannot be opened. The error of a single request takes its response's place.
pub async fn exchange_all_http2(
    to: SocketAddr,
    at_once: usize,
    requests: Vec<Http2Request>,
) -> Result<Vec<Result<Response>>> {
    let permits = Arc::new(Semaphore::new(at_once));
    let mut sender = connect(to).await?;
    let mut tasks = JoinSet::new();
    let mut answers: Vec<_> = requests.iter().map(|_| Err(anyhow!("not sent"))).collect();
    for (index, request) in requests.into_iter().enumerate() {
        let permit = Arc::clone(&permits).acquire_owned().await?;
        if sender.is_closed() {
            sender = connect(to).await?;
        }
        let mut sender = sender.clone();
        tasks.spawn(async move {
            let exchange = exchange_http2(&mut sender, request);
            let answer = tokio::time::timeout(DEADLINE, exchange).await;
            drop(permit);
            let answer =
                answer.unwrap_or_else(|_| Err(std::io::Error::from(ErrorKind::TimedOut).into()));
            (index, answer)
        });
    }
    while let Some(done) = tasks.join_next().await {
        let (index, answer) = done?;
        answers[index] = answer;
    }
    Ok(answers)
}

async fn connect(to: SocketAddr) -> Result<SendRequest<Full<Bytes>>> {
    let stream = tokio::net::TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    // It ends with its last sender. Its errors show in the requests.
    tokio::spawn(connection);
    Ok(sender)
}
