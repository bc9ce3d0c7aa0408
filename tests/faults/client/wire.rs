//! A connection of HTTP/1 that carries whatever bytes a case wants, and tells the answers apart.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use keystile_e2e::client::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};

/// As much as the system's own buffer on the client's side may hold of a request.
const SEND_BUFFER: u32 = 64 * 1024;

pub(super) struct Wire {
    pub(super) write: OwnedWriteHalf,
    pub(super) read: Answers,
}

/// The side of it that answers come from.
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

    /// A connection that has sent this.
    pub(super) async fn with(to: SocketAddr, bytes: &[u8]) -> Result<Self> {
        let mut wire = Self::connect(to).await?;
        wire.send(bytes).await?;
        Ok(wire)
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.write.write_all(bytes).await?)
    }

    /// Says that nothing more will be sent.
    pub(super) async fn half_close(&mut self) -> Result<()> {
        Ok(self.write.shutdown().await?)
    }

    /// Closes it with a reset instead of a farewell.
    pub(super) fn reset(self) -> Result<()> {
        let stream = self.read.stream.reunite(self.write)?;
        stream.set_zero_linger()?;
        Ok(())
    }
}

impl Answers {
    /// The next answer to a request that was not `HEAD`. `100 Continue` is one too. Where the
    /// connection ends before it, there is none.
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

    /// The only answer.
    pub(super) async fn one(&mut self) -> Result<Response> {
        self.next().await?.context("closed without an answer")
    }

    /// What comes as it is, up to the end of the connection.
    pub(super) async fn bytes(&mut self) -> Result<Vec<u8>> {
        self.stream.read_to_end(&mut self.bytes).await?;
        Ok(std::mem::take(&mut self.bytes))
    }

    /// The stream, and what was read of it already.
    pub(super) fn into_parts(self) -> (OwnedReadHalf, Vec<u8>) {
        (self.stream, self.bytes)
    }
}

/// The first whole answer in `bytes`, and its length there.
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
    // Without a length there is no body: 1xx, and what a CONNECT or an upgrade begins with.
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

/// The same with a body in chunks and no trailers.
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
