//! The auth cluster as Envoy sees it: hands lookups on to the real registry and remembers them,
//! but for hashes with a script, which get an answer that a healthy registry never gives.

use std::collections::HashMap;
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
}

#[derive(Default)]
struct Shared {
    scripts: HashMap<String, Script>,
    lookups: Vec<String>,
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
        self.locked(|shared| {
            let lookups = shared.lookups.iter();
            lookups.filter(|text| asks_about(text, hash)).count()
        })
    }

    /// Everything that was received, as text.
    pub fn text(&self) -> String {
        self.locked(|shared| shared.lookups.concat())
    }

    fn locked<T>(&self, use_it: impl FnOnce(&mut Shared) -> T) -> T {
        use_it(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Serves on a free port, before the registry at `registry`. What it knows, it knows after an
    /// outage too.
    ///
    /// # Errors
    /// When there is no port to listen on.
    pub async fn serve(&self, registry: SocketAddr) -> Result<Serving> {
        let auth = self.clone();
        Serving::new(move |stream| {
            let auth = auth.clone();
            async move {
                // A proxy that gives up on a lookup is what some tests are about.
                auth.one(stream, registry).await.ok();
            }
        })
        .await
    }

    /// One lookup a connection.
    async fn one(&self, mut client: TcpStream, registry: SocketAddr) -> io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let script = self.locked(|shared| {
            shared.lookups.push(head.clone());
            let found = shared.scripts.iter().find(|(hash, _)| head.contains(*hash));
            found.map(|(_, script)| script.clone())
        });
        match script {
            None => {
                let mut server = TcpStream::connect(registry).await?;
                let head = head.replacen("\r\n", "\r\nconnection: close\r\n", 1);
                server.write_all(head.as_bytes()).await?;
                tokio::io::copy(&mut server, &mut client).await?;
            }
            Some(Script::Answer(bytes)) => client.write_all(&bytes).await?,
            Some(Script::AnswerAndReset(bytes)) => {
                client.write_all(&bytes).await?;
                client.flush().await?;
                client.set_zero_linger()?;
            }
            Some(Script::Hang) => {
                // Until Envoy gives up, and not for ever if it does not.
                let patience = Duration::from_secs(60);
                tokio::time::timeout(patience, client.read_u8()).await.ok();
            }
            Some(Script::AnswerWhen(permits, bytes)) => {
                permits.acquire().await.map_err(io::Error::other)?.forget();
                client.write_all(&bytes).await?;
            }
        }
        Ok(())
    }
}

/// Whether a lookup is about exactly this hash, in whatever path and query it is put.
fn asks_about(lookup: &str, hash: &str) -> bool {
    let target = lookup.split(' ').nth(1).unwrap_or_default();
    target
        .split(|c: char| !c.is_ascii_alphanumeric())
        .any(|word| word == hash)
}

/// An answer with a body, as bytes for a script.
pub fn answer(status: &str, body: &str) -> Vec<u8> {
    answer_with(status, &[], body)
}

/// An answer with a body and these lines among its headers, as bytes for a script.
pub fn answer_with(status: &str, lines: &[&str], body: &str) -> Vec<u8> {
    let mut head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {}\r\n",
        body.len()
    );
    for line in lines {
        head.push_str(line);
        head.push_str("\r\n");
    }
    format!("{head}\r\n{body}").into_bytes()
}
