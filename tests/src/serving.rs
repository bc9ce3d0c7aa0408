//! A server that can have outages: it can be stopped, and started again on the same port.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

type Conversation = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A server whose port stays reserved while it is stopped. Dropping it stops it.
pub struct Serving {
    /// Where it listens, before and after an outage.
    pub address: SocketAddr,
    converse: Arc<dyn Fn(TcpStream) -> Conversation + Send + Sync>,
    running: Mutex<Option<Running>>,
    /// Bound but never listened on, so that no other socket gets the port during an outage.
    _port: TcpSocket,
}

struct Running {
    /// Dropped to stop the server.
    stop: oneshot::Sender<()>,
    stopped: JoinHandle<()>,
}

impl Serving {
    /// Starts a server on a free port of 127.0.0.1 that passes each connection to `converse`.
    ///
    /// # Errors
    /// When there is no port to listen on.
    pub async fn new<F>(converse: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> Result<Self>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::on(0, converse).await
    }

    /// Does the same on a port of the caller's.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn on<F>(
        port: u16,
        converse: impl Fn(TcpStream) -> F + Send + Sync + 'static,
    ) -> Result<Self>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let reserved = TcpSocket::new_v4()?;
        // Both sockets need this option to share the port. Tokio's listeners set it.
        reserved.set_reuseaddr(true)?;
        reserved.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        let serving = Self {
            address: reserved.local_addr()?,
            converse: Arc::new(move |stream| Box::pin(converse(stream))),
            running: Mutex::default(),
            _port: reserved,
        };
        serving.start().await?;
        Ok(serving)
    }

    /// Ends an outage. When this returns, connections are accepted.
    ///
    /// # Errors
    /// When the server is not stopped.
    pub async fn start(&self) -> Result<()> {
        let listener = TcpListener::bind(self.address)
            .await
            .with_context(|| format!("cannot listen on {}", self.address))?;
        let (stop, told) = oneshot::channel();
        let stopped = tokio::spawn(accept(listener, Arc::clone(&self.converse), told));
        self.locked(|running| *running = Some(Running { stop, stopped }));
        Ok(())
    }

    /// Begins an outage. When this returns, all connections are closed and new ones are refused.
    ///
    /// # Errors
    /// When the server panicked.
    pub async fn stop(&self) -> Result<()> {
        if let Some(running) = self.locked(Option::take) {
            drop(running.stop);
            running.stopped.await?;
        }
        Ok(())
    }

    fn locked<T>(&self, use_it: impl FnOnce(&mut Option<Running>) -> T) -> T {
        use_it(&mut self.running.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn accept(
    listener: TcpListener,
    converse: Arc<dyn Fn(TcpStream) -> Conversation + Send + Sync>,
    mut told: oneshot::Receiver<()>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut told => break,
            accepted = listener.accept() => {
                // The client may be gone before it is accepted.
                if let Ok((stream, _)) = accepted {
                    connections.spawn(converse(stream));
                }
            }
            // Forgets the connections that have ended.
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    connections.shutdown().await;
}
