//! An HTTP/1.1 client that sends exactly the bytes it is given, and an HTTP/2 client.

use std::fmt;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};

/// How long a request may take. After that, it counts as hanging.
pub(crate) const DEADLINE: Duration = Duration::from_secs(15);

/// A response, with header names in lower case. `Debug` shows it as text.
#[derive(Clone, Default)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The headers, followed by any HTTP/2 trailers. Bytes that are not UTF-8 are replaced.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// Returns the value of a header, if there is one.
    ///
    /// # Errors
    /// When the header is repeated.
    pub fn header(&self, name: &str) -> Result<Option<&str>> {
        let mut values = self.headers.iter().filter(|(other, _)| other == name);
        let value = values.next().map(|(_, value)| value.as_str());
        ensure!(values.next().is_none(), "{name} is repeated");
        Ok(value)
    }

    /// Returns the body as text. Bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> String {
        lossy(&self.body)
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {}", self.status, self.headers, self.text())
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A connection that has sent its request.
pub struct Sent(TcpStream);

impl Sent {
    /// Reads the response: up to its length if it has one, else until the connection ends. If Envoy
    /// answers early, it closes the connection only a second later.
    ///
    /// # Errors
    /// When there is no complete response in time.
    pub fn response(self) -> Result<Response> {
        self.response_and_bytes().map(|(response, _)| response)
    }

    /// Does the same, and also returns the response's bytes as received.
    ///
    /// # Errors
    /// When there is no complete response in time.
    pub fn response_and_bytes(mut self) -> Result<(Response, Vec<u8>)> {
        let mut bytes = Vec::new();
        let mut buffer = [0; 64 * 1024];
        loop {
            if let Some(response) = parse(&bytes, false)? {
                return Ok((response, bytes));
            }
            let read = self.0.read(&mut buffer).with_context(|| {
                format!("the response is incomplete after {} bytes", bytes.len())
            })?;
            if read == 0 {
                let response = parse(&bytes, true)?
                    .with_context(|| format!("cut off: {:?}", String::from_utf8_lossy(&bytes)))?;
                return Ok((response, bytes));
            }
            bytes.extend_from_slice(&buffer[..read]);
        }
    }

    /// Sends more of the request.
    ///
    /// # Errors
    /// When the other side has closed the connection.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.0.write_all(bytes)?)
    }

    /// Closes the connection without reading the response.
    pub fn leave(self) {
        // It does not matter if this fails.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// Returns the head of a request with these extra header lines. It asks for `connection: close`.
pub fn head<'a>(method: &str, target: &str, lines: impl IntoIterator<Item = &'a str>) -> String {
    let mut head = format!("{method} {target} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
    for line in lines {
        head.push_str(line);
        head.push_str("\r\n");
    }
    head + "\r\n"
}

/// Connects and sends bytes. They should ask for `connection: close`, as [`head`] does.
///
/// # Errors
/// When the connection fails.
pub fn send(to: SocketAddr, bytes: &[u8]) -> Result<Sent> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    stream.set_nodelay(true)?;
    stream.write_all(bytes)?;
    Ok(Sent(stream))
}

/// Sends a `GET` with these extra header lines and reads the response.
///
/// # Errors
/// When there is no complete response in time.
pub fn get<'a>(
    from: SocketAddr,
    target: &str,
    lines: impl IntoIterator<Item = &'a str>,
) -> Result<Response> {
    send(from, head("GET", target, lines).as_bytes())?.response()
}

/// Returns the response in `bytes` if it is complete. Without a length, the `end` completes it.
fn parse(mut bytes: &[u8], end: bool) -> Result<Option<Response>> {
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(length) = head.parse(bytes)? else {
            return Ok(None);
        };
        bytes = &bytes[length..];
        let mut response = Response {
            status: head.code.context("no status")?,
            headers: head
                .headers
                .iter()
                .map(|header| (header.name.to_ascii_lowercase(), lossy(header.value)))
                .collect(),
            body: bytes.to_vec(),
        };
        if response.status == 100 {
            continue;
        }
        if response.header("transfer-encoding")? == Some("chunked") && end {
            response.body = dechunk(bytes)?;
        }
        let length = response.header("content-length")?.map(str::parse::<usize>);
        let whole = matches!(length, Some(Ok(length)) if bytes.len() >= length);
        return Ok((whole || end).then_some(response));
    }
}

fn dechunk(mut rest: &[u8]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let Ok(httparse::Status::Complete((start, size))) = httparse::parse_chunk_size(rest) else {
            bail!("a chunk is cut off");
        };
        if size == 0 {
            return Ok(body);
        }
        let end = start + usize::try_from(size)?;
        body.extend_from_slice(rest.get(start..end).context("a chunk is cut off")?);
        rest = rest.get(end + 2..).context("a chunk is cut off")?;
    }
}

/// Sends one request over HTTP/2 with prior knowledge.
///
/// # Errors
/// When there is no complete response in time.
pub async fn http2(to: SocketAddr, request: hyper::Request<Full<Bytes>>) -> Result<Response> {
    let exchange = async {
        let stream = TokioIo::new(tokio::net::TcpStream::connect(to).await?);
        let (mut sender, connection) = handshake(TokioExecutor::new(), stream).await?;
        let connection = tokio::spawn(connection);
        let response = exchange_http2(&mut sender, request).await;
        connection.abort();
        response
    };
    tokio::time::timeout(DEADLINE, exchange)
        .await
        .context("no answer in time")?
}

/// Sends a request on an HTTP/2 connection. The response's headers include its trailers.
pub(crate) async fn exchange_http2(
    sender: &mut SendRequest<Full<Bytes>>,
    request: hyper::Request<Full<Bytes>>,
) -> Result<Response> {
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let mut headers = owned(response.headers());
    let body = response.into_body().collect().await?;
    if let Some(trailers) = body.trailers() {
        headers.extend(owned(trailers));
    }
    Ok(Response {
        status,
        headers,
        body: body.to_bytes().to_vec(),
    })
}

fn owned(headers: &hyper::HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), lossy(value.as_bytes())))
        .collect()
}
