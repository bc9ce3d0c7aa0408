//! The auth cluster as Envoy sees it: hands lookups on to the real registry and remembers them,
//! but for hashes with a script, which get an answer that a healthy registry never gives.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::serving::Serving;

/// What to do instead of asking the registry.
#[derive(Clone)]
pub enum Script {
    /// Write these bytes and close.
    Answer(Vec<u8>),
    /// Write these bytes and reset the connection.
    AnswerAndReset(Vec<u8>),
    /// Never answer.
    Hang,
    /// Write these bytes once there is a permit for it, of which each answer takes one.
    AnswerWhen(Arc<Semaphore>, Vec<u8>),
    /// All of these.
    Steps(Vec<Step>),
}

/// A part of what becomes of a lookup.
#[derive(Clone)]
pub enum Step {
    /// Write these bytes.
    Write(Vec<u8>),
    /// Do nothing for a while.
    Wait(Duration),
    /// Wait for a permit, and take it.
    Permit(Arc<Semaphore>),
    /// Write nothing more, and keep the connection for as long as Envoy does.
    Hang,
    /// Close the connection.
    Close,
    /// Reset the connection.
    Reset,
}

impl Script {
    /// The same, once there is a permit for it, of which each lookup takes one.
    pub fn when(self, permits: Arc<Semaphore>) -> Self {
        let permit = std::iter::once(Step::Permit(permits));
        Self::Steps(permit.chain(self.steps()).collect())
    }

    fn steps(self) -> Vec<Step> {
        match self {
            Self::Answer(bytes) => vec![Step::Write(bytes)],
            Self::AnswerAndReset(bytes) => vec![Step::Write(bytes), Step::Reset],
            Self::Hang => vec![Step::Hang],
            Self::AnswerWhen(permits, bytes) => vec![Step::Permit(permits), Step::Write(bytes)],
            Self::Steps(steps) => steps,
        }
    }
}

#[derive(Default)]
struct Shared {
    scripts: HashMap<String, Script>,
    lookups: Vec<String>,
    /// How many lookups had this word in their path and query, as a hash is one.
    words: HashMap<String, usize>,
}

impl Shared {
    fn remember(&mut self, lookup: &str) {
        let words: HashSet<_> = words_of(lookup).collect();
        for word in words {
            *self.words.entry(word.to_owned()).or_default() += 1;
        }
        self.lookups.push(lookup.to_owned());
    }

    /// Scripts are many, and most are of a hash.
    fn script_of(&self, lookup: &str) -> Option<Script> {
        let by_word = words_of(lookup).find_map(|word| self.scripts.get(word));
        let by_part = || {
            let mut others = self.scripts.iter().filter(|(part, _)| !is_word(part));
            others.find(|(part, _)| lookup.contains(*part))
        };
        by_word.or_else(|| Some(by_part()?.1)).cloned()
    }
}

/// The auth cluster's memory and scripts.
#[derive(Clone, Default)]
pub struct Auth(Arc<Mutex<Shared>>);

impl Auth {
    /// Answers lookups of this hash by script.
    pub fn script(&self, hash: &str, script: Script) {
        self.locked(|shared| shared.scripts.insert(hash.to_owned(), script));
    }

    /// Has the registry answer lookups of this hash again.
    pub fn unscript(&self, hash: &str) {
        self.locked(|shared| shared.scripts.remove(hash));
    }

    /// The lookups that carried `x-request-id: ID`, each as the text of its request.
    pub fn lookups_of(&self, request_id: &str) -> Vec<String> {
        let header = format!("x-request-id: {request_id}\r\n");
        self.locked(|shared| {
            let lookups = shared.lookups.iter();
            lookups
                .filter(|text| text.contains(&header))
                .cloned()
                .collect()
        })
    }

    /// How many lookups of this hash arrived so far, whatever became of them.
    pub fn lookups_about(&self, hash: &str) -> usize {
        self.locked(|shared| shared.words.get(hash).copied().unwrap_or_default())
    }

    /// The first lookup of this hash, as the text of its request.
    pub fn lookup_about(&self, hash: &str) -> Option<String> {
        self.locked(|shared| {
            let mut lookups = shared.lookups.iter();
            lookups
                .find(|text| words_of(text).any(|word| word == hash))
                .cloned()
        })
    }

    /// Everything that was received, as text.
    pub fn text(&self) -> String {
        self.locked(|shared| shared.lookups.concat())
    }

    /// Serves on a free port, before the registry at `registry`, a connection for each lookup. What
    /// it knows, it knows after an outage too.
    ///
    /// # Errors
    /// When there is no port to listen on.
    pub async fn serve(&self, registry: SocketAddr) -> Result<Serving> {
        self.serve_and_keep(registry, false).await
    }

    /// The same over connections that stay open, where no script closes them.
    ///
    /// # Errors
    /// When there is no port to listen on.
    pub async fn serve_kept(&self, registry: SocketAddr) -> Result<Serving> {
        self.serve_and_keep(registry, true).await
    }

    async fn serve_and_keep(&self, registry: SocketAddr, keep: bool) -> Result<Serving> {
        let auth = self.clone();
        Serving::new(move |mut stream| {
            let auth = auth.clone();
            async move {
                // Answers are small and wait for nothing.
                let _ = stream.set_nodelay(true);
                // A proxy that gives up on a lookup is what some tests are about.
                while let Ok(true) = auth.one(&mut stream, registry, keep).await {}
            }
        })
        .await
    }

    /// One lookup. Gives whether there may be another on its connection.
    async fn one(
        &self,
        client: &mut TcpStream,
        registry: SocketAddr,
        keep: bool,
    ) -> io::Result<bool> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let script = self.locked(|shared| {
            shared.remember(&head);
            shared.script_of(&head)
        });
        let Some(script) = script else {
            let mut server = TcpStream::connect(registry).await?;
            let head = head.replacen("\r\n", "\r\nconnection: close\r\n", 1);
            server.write_all(head.as_bytes()).await?;
            let mut answer = Vec::new();
            server.read_to_end(&mut answer).await?;
            if keep {
                let text = String::from_utf8_lossy(&answer);
                answer = text.replacen("connection: close\r\n", "", 1).into_bytes();
            }
            client.write_all(&answer).await?;
            return Ok(keep);
        };
        for step in script.steps() {
            match step {
                Step::Write(bytes) => client.write_all(&bytes).await?,
                Step::Wait(time) => tokio::time::sleep(time).await,
                Step::Permit(permits) => {
                    permits.acquire().await.map_err(io::Error::other)?.forget();
                }
                Step::Hang => {
                    // Until Envoy gives up, and not for ever if it does not.
                    let patience = Duration::from_secs(60);
                    tokio::time::timeout(patience, client.read_u8()).await.ok();
                    return Ok(false);
                }
                Step::Close => return Ok(false),
                Step::Reset => {
                    client.flush().await?;
                    client.set_zero_linger()?;
                    return Ok(false);
                }
            }
        }
        Ok(keep)
    }

    fn locked<T>(&self, use_it: impl FnOnce(&mut Shared) -> T) -> T {
        use_it(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The words of a lookup's path and query, of which its hash is one, wherever it is put.
fn words_of(lookup: &str) -> impl Iterator<Item = &str> {
    let target = lookup.split(' ').nth(1).unwrap_or_default();
    target.split(|c: char| !c.is_ascii_alphanumeric())
}

fn is_word(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// An answer with a body, as bytes for a script.
pub fn answer(status: &str, body: &str) -> Vec<u8> {
    answer_with(status, &[], body)
}

/// An answer with a body and these lines among its headers, as bytes for a script.
pub fn answer_with(status: &str, lines: &[&str], body: &str) -> Vec<u8> {
    let lines: Vec<_> = lines
        .iter()
        .chain(&["connection: close"])
        .copied()
        .collect();
    kept_answer(status, &lines, body.as_bytes())
}

/// The same with any body, and without asking for the connection to be closed.
pub fn kept_answer(status: &str, lines: &[&str], body: &[u8]) -> Vec<u8> {
    let mut head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
        body.len()
    );
    for line in lines {
        head.push_str(line);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    [head.as_bytes(), body].concat()
}
