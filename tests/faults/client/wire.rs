//! An HTTP/1 connection that sends any bytes and separates the answers.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use keystile_e2e::client::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};

/// How much of a request the client's send buffer may hold, in bytes.
const SEND_BUFFER: u32 = 64 * 1024;

pub(super) struct Wire {
    pub(super) write: OwnedWriteHalf,
    pub(super) read: Answers,
}

/// The read half of a connection.
pub(super) struct Answers {
    stream: OwnedReadHalf,
    bytes: Vec<u8>,
}

impl Wire {
    pub(super) async fn connect(to: SocketAddr) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_send_buffer_size(SEND_BUFFER)?;
        let stream: TcpStream = socket.connect(to).await?;
        stream.set_nodelay(true)?;
        let (read, write) = stream.into_split();
        Ok(Self {
            write,
            read: Answers {
                stream: read,
                bytes: Vec::new(),
            },
        })
    }

    /// Opens a connection and sends these bytes.
    pub(super) async fn with(to: SocketAddr, bytes: &[u8]) -> Result<Self> {
        let mut wire = Self::connect(to).await?;
        wire.send(bytes).await?;
        Ok(wire)
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.write.write_all(bytes).await?)
    }

    /// Closes the write half.
    pub(super) async fn half_close(&mut self) -> Result<()> {
        Ok(self.write.shutdown().await?)
    }

    /// Closes the connection with a reset.
    pub(super) fn reset(self) -> Result<()> {
        let stream = self.read.stream.reunite(self.write)?;
        stream.set_zero_linger()?;
        Ok(())
    }
}

impl Answers {
    /// Returns the next answer to a request that is not `HEAD`. `100 Continue` is an answer too.
    /// Returns `None` if the connection ends first.
    pub(super) async fn next(&mut self) -> Result<Option<Response>> {
        loop {
            if let Some((response, length)) = parse(&self.bytes)? {
                self.bytes.drain(..length);
                return Ok(Some(response));
            }
            if self.stream.read_buf(&mut self.bytes).await? == 0 {
                let rest = String::from_utf8_lossy(&self.bytes);
                if rest.is_empty() {
                    return Ok(None);
                }
                bail!("cut off: {rest:?}");
            }
        }
    }

    /// Returns the next answer, which must not be missing.
    pub(super) async fn one(&mut self) -> Result<Response> {
        self.next().await?.context("closed without an answer")
    }

    /// Returns the raw bytes up to the end of the connection.
    pub(super) async fn bytes(&mut self) -> Result<Vec<u8>> {
        self.stream.read_to_end(&mut self.bytes).await?;
        Ok(std::mem::take(&mut self.bytes))
    }

    /// Returns the stream, and the bytes that were already read from it.
    pub(super) fn into_parts(self) -> (OwnedReadHalf, Vec<u8>) {
        (self.stream, self.bytes)
    }
}

/// Returns the first complete answer in `bytes`, and its length there.
fn parse(bytes: &[u8]) -> Result<Option<(Response, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(start) = head.parse(bytes)? else {
        return Ok(None);
    };
    let mut response = Response {
        status: head.code.context("no status")?,
        headers: head
            .headers
            .iter()
            .map(|header| {
                let value = String::from_utf8_lossy(header.value).into_owned();
                (header.name.to_ascii_lowercase(), value)
            })
            .collect(),
        body: Vec::new(),
    };
    if response.header("transfer-encoding")?.is_some() {
        return chunks(bytes, start, response);
    }
    // Without a length there is no body: this is a 1xx, or the answer that opens a
    // CONNECT or an upgrade.
    let length = match response.header("content-length")? {
        Some(length) => length.parse()?,
        None => 0,
    };
    let end = start + length;
    let Some(body) = bytes.get(start..end) else {
        return Ok(None);
    };
    response.body = body.to_vec();
    Ok(Some((response, end)))
}

/// The same for a body in chunks, without trailers.
fn chunks(
    bytes: &[u8],
    mut at: usize,
    mut response: Response,
) -> Result<Option<(Response, usize)>> {
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let parsed = httparse::parse_chunk_size(rest);
        let Ok(httparse::Status::Complete((start, size))) = parsed else {
            return Ok(None);
        };
        let size = usize::try_from(size)?;
        let Some(chunk) = rest.get(start..start + size) else {
            return Ok(None);
        };
        response.body.extend_from_slice(chunk);
        at += start + size + 2;
        if at > bytes.len() {
            return Ok(None);
        }
        if size == 0 {
            return Ok(Some((response, at)));
        }
    }
}
