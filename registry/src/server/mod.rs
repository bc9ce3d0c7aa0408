//! Serves on listeners of the caller's, until the caller says so.
//!
//! 1. Whatever clients do, there is room for new ones: a listener has so many connections, and closes
//!    the one that can be missed most for the next that comes.
//! 2. Nothing waits for a client without an end: each step of a connection has a limit.
//! 3. What clients have not taken of their responses takes a bounded amount of memory.

mod accept;
mod activity;
mod connection;
mod connections;
mod counters;
mod exchange;
pub(crate) mod files;
mod io;
mod limits;
mod memory;
mod response;
mod since;
mod tls;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{info, warn};

use self::connection::Serving;
use self::connections::Connections;
pub(crate) use self::counters::{Counters, Port};
pub(crate) use self::limits::Limits;
pub(crate) use self::response::SharedBody;
pub(crate) use self::tls::{INTERVAL as TLS_INTERVAL, Tls, TlsFiles};

/// How long the requests in progress may take to finish: a client that never ends its own must not
/// hold up a restart.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

/// A socket, and what is served there.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) port: Port,
    pub(crate) socket: TcpListener,
    pub(crate) routes: Router,
    /// Without it, HTTP is spoken in plain.
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) limits: Limits,
}

/// Serves until `shutdown`, then finishes the requests in progress, for as long as `grace`.
pub(crate) async fn serve(
    listeners: Vec<Listener>,
    counters: &Counters,
    shutdown: impl Future<Output = ()>,
    grace: Duration,
) {
    // What is in them ends when they are dropped.
    let mut watchdogs = JoinSet::new();
    let mut accepting = JoinSet::new();
    let mut all = Vec::new();
    for listener in listeners {
        let connections = Connections::new(listener.port, listener.limits, counters.clone());
        let connections = Arc::new(connections);
        let serving = Serving {
            routes: listener.routes,
            tls: listener.tls,
            limits: listener.limits,
        };
        let watched = Arc::clone(&connections);
        watchdogs.spawn(async move { watched.watch().await });
        all.push(Arc::clone(&connections));
        accepting.spawn(accept::accept(
            listener.socket,
            connections,
            Arc::new(serving),
        ));
    }
    shutdown.await;
    // Sockets are closed before connections are told: none is accepted afterwards.
    accepting.shutdown().await;
    for connections in &all {
        connections.drain();
    }
    let closed = async {
        for connections in &all {
            connections.all_closed().await;
        }
    };
    if timeout(grace, closed).await.is_err() {
        warn!("some requests were not finished in time");
        for connections in &all {
            connections.close();
        }
    }
}

/// Ends at the first SIGINT or SIGTERM after this call, even if it is awaited only later.
pub(crate) fn shutdown_signal() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        info!("stopping: requests in progress are finished first");
    })
}
