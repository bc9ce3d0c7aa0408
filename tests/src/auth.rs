//! The auth cluster as Envoy sees it: hands lookups on to the real registry and remembers them,
//! but for hashes with a script, which get an answer that a healthy registry never gives.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// What to do instead of asking the registry.
#[derive(Clone)]
pub enum Script {
    /// Write these bytes and close.
    Answer(Vec<u8>),
    /// Write these bytes and reset the connection.
    AnswerAndReset(Vec<u8>),
    /// Never answer.
    Hang,
    /// Write these bytes once told to go on.
    AnswerWhen(Arc<Notify>, Vec<u8>),
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

    /// Everything that was received, as text.
    pub fn text(&self) -> String {
        self.locked(|shared| shared.lookups.concat())
    }

    fn locked<T>(&self, use_it: impl FnOnce(&mut Shared) -> T) -> T {
        use_it(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Serves for as long as the runtime lives, before the registry at `registry`.
    ///
    /// # Errors
    /// When the listener has no address.
    pub fn serve(&self, listener: TcpListener, registry: SocketAddr) -> Result<SocketAddr> {
        let address = listener.local_addr()?;
        let auth = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let auth = auth.clone();
                // A proxy that gives up on a lookup is what some tests are about.
                tokio::spawn(async move { auth.one(stream, registry).await.ok() });
            }
        });
        Ok(address)
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
            Some(Script::AnswerWhen(told, bytes)) => {
                told.notified().await;
                client.write_all(&bytes).await?;
            }
        }
        Ok(())
    }
}

/// An answer with a body, as bytes for a script.
pub fn answer(status: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
