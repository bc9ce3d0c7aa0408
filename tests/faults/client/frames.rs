//! An HTTP/2 connection at the level of frames, for what no client library would send.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinHandle;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

const CANCEL: u32 = 8;

/// The initial window of a connection, and the largest one.
const WINDOWS: (u32, u32) = (65_535, i32::MAX as u32);

pub(super) struct Frames {
    write: Arc<Mutex<OwnedWriteHalf>>,
    reading: JoinHandle<()>,
    answers: Arc<AtomicU64>,
}

impl Frames {
    /// Opens a connection whose window never closes. It answers settings and pings.
    pub(super) async fn connect(to: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        let (mut read, mut write) = stream.into_split();
        let mut begin = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        begin.extend(frame(SETTINGS, 0, 0, &[]));
        let more = WINDOWS.1 - WINDOWS.0;
        begin.extend(frame(WINDOW_UPDATE, 0, 0, &more.to_be_bytes()));
        write.write_all(&begin).await?;
        let write = Arc::new(Mutex::new(write));
        let answers = Arc::<AtomicU64>::default();
        let (to_acknowledge, to_count) = (Arc::clone(&write), Arc::clone(&answers));
        let (settled, is_settled) = oneshot::channel();
        let reading = tokio::spawn(async move {
            // The connection may end in any way.
            let _ = read_all(&mut read, &to_acknowledge, &to_count, settled).await;
        });
        // No acknowledgement may arrive in the middle of what the case sends.
        is_settled.await?;
        Ok(Self {
            write,
            reading,
            answers,
        })
    }

    pub(super) async fn send(&self, bytes: &[u8]) -> Result<()> {
        ensure!(!self.is_over(), "the connection is over");
        Ok(self.write.lock().await.write_all(bytes).await?)
    }

    pub(super) fn is_over(&self) -> bool {
        self.reading.is_finished()
    }

    /// Returns how many answers have begun so far.
    pub(super) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// Waits until the connection ends.
    pub(super) async fn ended(self) -> Result<()> {
        Ok(self.reading.await?)
    }

    /// Closes the connection, and waits until the other side has closed it, too.
    pub(super) async fn close(self) -> Result<()> {
        // It may be closed already.
        let _ = self.write.lock().await.shutdown().await;
        self.ended().await
    }
}

async fn read_all(
    read: &mut OwnedReadHalf,
    write: &Mutex<OwnedWriteHalf>,
    answers: &AtomicU64,
    settled: oneshot::Sender<()>,
) -> Result<()> {
    let mut settled = Some(settled);
    loop {
        let mut head = [0; 9];
        read.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        read.read_exact(&mut payload).await?;
        let reply = match kind {
            SETTINGS if flags & ACK == 0 => frame(SETTINGS, ACK, 0, &[]),
            PING if flags & ACK == 0 => frame(PING, ACK, 0, &payload),
            HEADERS => {
                answers.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            _ => continue,
        };
        write.lock().await.write_all(&reply).await?;
        if let Some(settled) = settled.take() {
            // `connect` waits for this.
            let _ = settled.send(());
        }
    }
}

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    // Payloads of cases are short.
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

pub(super) fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
}

/// Returns a `GET` with these headers in one frame, with these flags in addition to the end of headers.
pub(super) fn get(stream: u32, flags: u8, path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let pseudo = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "test"),
        (":path", path),
    ];
    let block = block(pseudo.iter().chain(headers));
    frame(HEADERS, flags | END_HEADERS, stream, &block)
}

/// Returns headers in HPACK: literal, not indexed, not compressed.
pub(super) fn block<'a>(headers: impl IntoIterator<Item = &'a (&'a str, &'a str)>) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// Appends a string's length, in seven bits or more.
fn length(block: &mut Vec<u8>, length: usize) {
    let Some(mut rest) = length.checked_sub(127) else {
        block.push(length as u8);
        return;
    };
    block.push(127);
    while rest >= 128 {
        block.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    block.push(rest as u8);
}
