//! An auth server over HTTP/2 that misbehaves frame by frame (RFC 9113), as no library would. Without
//! a [`Conduct`], it behaves like [`RuleAuth`].

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::http2::{Frame, PREFACE, frame, kind};
use crate::rule_auth::RuleAuth;
use crate::serving::Serving;

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
    stream.read_exact(&mut [0; PREFACE.len()]).await?;
    loop {
        let frame = Frame::read(&mut stream).await?;
        match frame.kind {
            kind::SETTINGS => {
                if let Some(acknowledgement) = frame.acknowledgement() {
                    stream.write_all(&acknowledgement).await?;
                }
            }
            kind::HEADERS => {
                permits.acquire().await.map_err(io::Error::other)?.forget();
                for act in &conduct.acts {
                    match act {
                        Act::Wait(time) => tokio::time::sleep(*time).await,
                        Act::Close => return Ok(()),
                        act => stream.write_all(&bytes(act, frame.stream)).await?,
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
