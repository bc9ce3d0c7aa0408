//! An HTTP/2 connection at the level of frames, for what no client library would send.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, ensure};
use keystile_e2e::http2::{Frame, WINDOW, frame, kind, preface};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinHandle;

const CANCEL: u32 = 8;

/// The largest window of a connection.
const LARGEST: u32 = i32::MAX as u32;

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
        let mut begin = preface(WINDOW);
        let more = LARGEST - WINDOW;
        begin.extend(frame(kind::WINDOW_UPDATE, 0, 0, &more.to_be_bytes()));
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
        let frame = Frame::read(read).await?;
        if frame.kind == kind::HEADERS {
            answers.fetch_add(1, Ordering::Relaxed);
        }
        let Some(reply) = frame.acknowledgement() else {
            continue;
        };
        write.lock().await.write_all(&reply).await?;
        if let Some(settled) = settled.take() {
            // `connect` waits for this.
            let _ = settled.send(());
        }
    }
}

pub(super) fn reset(stream: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
}
