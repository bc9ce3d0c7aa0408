//! The auth cluster as Envoy sees it: a server that forwards lookups to the real registry, or answers
//! them by a rule, and records them. A script can answer instead, also in ways in which no healthy
//! registry does.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::rule_auth::RuleAuth;
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
    /// Wait for a permit and consume it, then write these bytes.
    AnswerWhen(Arc<Semaphore>, Vec<u8>),
    /// Do these steps in order.
    Steps(Vec<Step>),
}

/// One step of a scripted answer.
#[derive(Clone)]
pub enum Step {
    /// Write these bytes.
    Write(Vec<u8>),
    /// Do nothing for a while.
    Wait(Duration),
    /// Wait for a permit and consume it.
    Permit(Arc<Semaphore>),
    /// Write nothing more, and keep the connection open until Envoy closes it.
    Hang,
    /// Close the connection.
    Close,
    /// Reset the connection.
    Reset,
}

impl Script {
    /// Returns this script with a wait for a permit in front. Each lookup consumes one.
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

/// Who answers lookups without a script.
#[derive(Clone)]
pub enum Fallback {
    /// The registry at this address.
    Registry(SocketAddr),
    /// A rule.
    Rule(RuleAuth),
    /// Nobody: the connection is closed.
    None,
}

#[derive(Default)]
struct Shared {
    scripts: HashMap<String, Script>,
    lookups: Vec<String>,
    /// How many lookups have this word in their path or query. A hash is such a word.
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

    /// Searches by word first: there are many scripts, and most are for a hash.
    fn script_of(&self, lookup: &str) -> Option<Script> {
        let by_word = words_of(lookup).find_map(|word| self.scripts.get(word));
        let by_part = || {
            let mut others = self.scripts.iter().filter(|(part, _)| !is_word(part));
            others.find(|(part, _)| lookup.contains(*part))
        };
        by_word.or_else(|| Some(by_part()?.1)).cloned()
    }
}

/// The auth server's scripts and recorded lookups.
#[derive(Clone, Default)]
pub struct ScriptedAuth(Arc<Mutex<Shared>>);

impl ScriptedAuth {
    /// Answers lookups of this hash by script. Text such as a path matches any request with it.
    pub fn script(&self, hash: &str, script: Script) {
        self.locked(|shared| shared.scripts.insert(hash.to_owned(), script));
    }

    /// Lets the registry answer lookups of this hash again.
    pub fn unscript(&self, hash: &str) {
        self.locked(|shared| shared.scripts.remove(hash));
    }

    /// Returns the lookups that carried `x-request-id: ID`, each as the text of its request.
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

    /// Returns the number of lookups of this hash so far, answered or not.
    pub fn lookups_about(&self, hash: &str) -> usize {
        self.locked(|shared| shared.words.get(hash).copied().unwrap_or_default())
    }

    /// Returns the first lookup of this hash, as the text of its request.
    pub fn lookup_about(&self, hash: &str) -> Option<String> {
        self.locked(|shared| {
            let mut lookups = shared.lookups.iter();
            lookups
                .find(|text| words_of(text).any(|word| word == hash))
                .cloned()
        })
    }

    /// Returns everything that was received, as text.
    pub fn text(&self) -> String {
        self.locked(|shared| shared.lookups.concat())
    }

    /// Serves HTTP/1.1 on a free port. Connections stay open after an answer if `keep_alive` says so and
    /// no script closes them. Scripts and recorded lookups survive an outage.
    ///
    /// # Errors
    /// When there is no port to listen on.
    pub async fn serve(&self, fallback: Fallback, keep_alive: bool) -> Result<Serving> {
        let auth = self.clone();
        Serving::new(move |stream| {
            let (auth, fallback) = (auth.clone(), fallback.clone());
            async move {
                // Small answers are sent at once.
                let _ = stream.set_nodelay(true);
                let mut stream = BufReader::new(stream);
                // The proxy may give up on a lookup, as some tests want it to.
                while let Ok(true) = auth.one(&mut stream, &fallback, keep_alive).await {}
            }
        })
        .await
    }

    /// Handles one lookup. Returns true if another may follow on the same connection.
    async fn one(
        &self,
        client: &mut BufReader<TcpStream>,
        fallback: &Fallback,
        keep_alive: bool,
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
            return match fallback {
                Fallback::Registry(registry) => {
                    client.write_all(&forward(&head, *registry).await?).await?;
                    // As the answer says.
                    Ok(false)
                }
                Fallback::Rule(rule) => {
                    let mut line = head.split(' ');
                    let (method, path) = (line.next(), line.next());
                    let (status, record) =
                        rule.answer(method.unwrap_or_default(), path.unwrap_or_default());
                    let answer = if keep_alive {
                        keep_alive_answer(&status.to_string(), &[], record.as_bytes())
                    } else {
                        answer(&status.to_string(), &record)
                    };
                    client.write_all(&answer).await?;
                    Ok(keep_alive)
                }
                Fallback::None => Ok(false),
            };
        };
        for step in script.steps() {
            match step {
                Step::Write(bytes) => client.write_all(&bytes).await?,
                Step::Wait(time) => tokio::time::sleep(time).await,
                Step::Permit(permits) => {
                    permits.acquire().await.map_err(io::Error::other)?.forget();
                }
                Step::Hang => {
                    // Until Envoy gives up, but not forever.
                    let patience = Duration::from_secs(60);
                    tokio::time::timeout(patience, client.read_u8()).await.ok();
                    return Ok(false);
                }
                Step::Close => return Ok(false),
                Step::Reset => {
                    client.flush().await?;
                    client.get_ref().set_zero_linger()?;
                    return Ok(false);
                }
            }
        }
        Ok(keep_alive)
    }

    fn locked<T>(&self, use_it: impl FnOnce(&mut Shared) -> T) -> T {
        use_it(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Returns the answer of a registry to a lookup.
async fn forward(head: &str, registry: SocketAddr) -> io::Result<Vec<u8>> {
    let mut server = TcpStream::connect(registry).await?;
    let head = head.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    server.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    Ok(answer)
}

/// Returns the words of a lookup's path and query. The hash is one of them, wherever it is.
fn words_of(lookup: &str) -> impl Iterator<Item = &str> {
    let target = lookup.split(' ').nth(1).unwrap_or_default();
    target.split(|c: char| !c.is_ascii_alphanumeric())
}

fn is_word(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Returns an answer with a body, as bytes for a script.
pub fn answer(status: &str, body: &str) -> Vec<u8> {
    answer_with(status, &[], body)
}

/// Returns an answer that names the hash that was looked up, as bytes for a script.
pub fn answer_about(hash: &str, status: &str, body: &str) -> Vec<u8> {
    answer_with(status, &[&format!("x-keystile-key-hash: {hash}")], body)
}

/// Returns an answer with a body and these extra header lines, as bytes for a script.
pub fn answer_with(status: &str, lines: &[&str], body: &str) -> Vec<u8> {
    let lines: Vec<_> = lines
        .iter()
        .chain(&["connection: close"])
        .copied()
        .collect();
    keep_alive_answer(status, &lines, body.as_bytes())
}

/// Returns the same with any body and without `connection: close`.
pub fn keep_alive_answer(status: &str, lines: &[&str], body: &[u8]) -> Vec<u8> {
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
