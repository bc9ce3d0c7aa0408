//! An auth server over HTTP/2 that misbehaves frame by frame (RFC 9113), as no library would. Without
//! a [`Conduct`], it behaves like [`RuleAuth`].

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::rule_auth::RuleAuth;
use crate::serving::Serving;

/// Frame types.
pub mod kind {
    #![allow(missing_docs, reason = "RFC 9113 has them")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// The flag of a stream's last frame. On SETTINGS, it means an acknowledgement.
pub const END_STREAM: u8 = 1;

/// The flag of a header block's last frame.
pub const END_HEADERS: u8 = 4;

const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();

/// The stream that a frame is on.
#[derive(Clone, Copy, Debug)]
pub enum On {
    /// The connection.
    Connection,
    /// The lookup's stream.
    Lookup,
    /// A client's stream that was never opened.
    Unopened,
    /// The server's first stream.
    Pushed,
}

/// One step of the reaction to a lookup.
#[derive(Clone, Debug)]
pub enum Act {
    /// A frame: its type, flags, stream and payload.
    Frame(u8, u8, On, Vec<u8>),
    /// GOAWAY with this error code. All streams are still served if true, none if false.
    GoAway(bool, u32),
    /// The same acts, this many times.
    Times(usize, Vec<Act>),
    /// Nothing for a while.
    Wait(Duration),
    /// The connection is closed.
    Close,
}

/// How a connection behaves.
#[derive(Clone, Debug)]
pub struct Conduct {
    /// What is sent first. By default, empty SETTINGS.
    pub greeting: Vec<u8>,
    /// What happens to each lookup. If empty, there is no answer.
    pub acts: Vec<Act>,
}

impl Conduct {
    /// Creates a conduct with the usual greeting and these acts.
    pub fn of(acts: Vec<Act>) -> Self {
        Self {
            greeting: frame(kind::SETTINGS, 0, 0, &[]),
            acts,
        }
    }
}

/// A conduct, and permits. Each lookup first consumes one.
pub type Held = (Conduct, Arc<Semaphore>);

/// The auth server. Clones share its state.
#[derive(Clone)]
pub struct Frames {
    rule_auth: RuleAuth,
    conduct: Arc<Mutex<Option<Held>>>,
}

impl Frames {
    /// Creates a server that knows what `anyone` knows.
    pub fn new(rule_auth: RuleAuth) -> Self {
        Self {
            rule_auth,
            conduct: Arc::default(),
        }
    }

    /// Sets how new connections are served from now on.
    pub fn behave(&self, conduct: Option<Held>) {
        *self.conduct.lock().unwrap_or_else(PoisonError::into_inner) = conduct;
    }

    /// Serves on a free port.
    ///
    /// # Errors
    /// When there is no port to listen on.
    pub async fn serve(&self) -> Result<Serving> {
        let frames = self.clone();
        Serving::new(move |stream| {
            let frames = frames.clone();
            async move {
                let conduct = frames.conduct.lock();
                let conduct = conduct.unwrap_or_else(PoisonError::into_inner).clone();
                match conduct {
                    None => frames.rule_auth.converse(stream).await,
                    // The tests expect proxies to give up on such a server.
                    Some((conduct, permits)) => {
                        misbehave(stream, &conduct, &permits).await.ok();
                    }
                }
            }
        })
        .await
    }
}

async fn misbehave(
    mut stream: TcpStream,
    conduct: &Conduct,
    permits: &Semaphore,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(&conduct.greeting).await?;
    stream.read_exact(&mut [0; PREFACE]).await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, s0, s1, s2, s3] = head;
        let length = u32::from_be_bytes([0, a, b, c]);
        let mut payload = vec![0; length.try_into().map_err(io::Error::other)?];
        stream.read_exact(&mut payload).await?;
        match kind {
            kind::SETTINGS if flags & END_STREAM == 0 => {
                let ack = frame(kind::SETTINGS, END_STREAM, 0, &[]);
                stream.write_all(&ack).await?;
            }
            kind::HEADERS => {
                permits.acquire().await.map_err(io::Error::other)?.forget();
                let lookup = u32::from_be_bytes([s0, s1, s2, s3]);
                for act in &conduct.acts {
                    match act {
                        Act::Wait(time) => tokio::time::sleep(*time).await,
                        Act::Close => return Ok(()),
                        act => stream.write_all(&bytes(act, lookup)).await?,
                    }
                }
            }
            _ => {}
        }
    }
}

/// Returns the frames of an act, for the lookup on this stream.
fn bytes(act: &Act, lookup: u32) -> Vec<u8> {
    match act {
        Act::Frame(kind, flags, on, payload) => {
            let stream = match on {
                On::Connection => 0,
                On::Lookup => lookup,
                On::Unopened => lookup + 1000,
                On::Pushed => 2,
            };
            frame(*kind, *flags, stream, payload)
        }
        Act::GoAway(covers, code) => {
            let last = if *covers { i32::MAX } else { 0 };
            let payload = [last.to_be_bytes(), code.to_be_bytes()].concat();
            frame(kind::GOAWAY, 0, 0, &payload)
        }
        Act::Times(times, acts) => {
            let once: Vec<_> = acts.iter().flat_map(|act| bytes(act, lookup)).collect();
            once.repeat(*times)
        }
        Act::Wait(_) | Act::Close => Vec::new(),
    }
}

/// Returns a frame. Its length field has the lower 24 bits of the payload's length.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let [_, a, b, c] = length.to_be_bytes();
    let head = [&[a, b, c, kind, flags][..], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

/// Returns a header block (RFC 7541) of these literal fields, with each text cut at 126 bytes.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap_or(126).min(126));
            block.extend(text.bytes().take(126));
        }
    }
    block
}
