//! Serves on the caller's listeners until the caller ends it.
//!
//! 1. Whatever clients do, there is room for new ones: a listener has a limited number of
//!    connections, and closes the least valuable one to accept the next.
//! 2. Nothing waits forever for a client: each step of a connection has a limit.
//! 3. Responses that clients have not taken hold a bounded amount of memory.

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

/// How long requests in progress may take to finish at shutdown. A client that never ends its
/// request must not hold up a restart.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

/// A socket, and what is served on it.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) port: Port,
    pub(crate) socket: TcpListener,
    pub(crate) routes: Router,
    /// If `None`, the listener speaks plain HTTP.
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) limits: Limits,
}

/// Serves until `shutdown` completes, then finishes the requests in progress, for at most `grace`.
pub(crate) async fn serve(
    listeners: Vec<Listener>,
    counters: &Counters,
    shutdown: impl Future<Output = ()>,
    grace: Duration,
) {
    // Dropping a set ends its tasks.
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
    // Sockets are closed before connections are told to drain, so none is accepted afterwards.
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

/// Returns a future that completes at the first SIGINT or SIGTERM after this call, even if it is
/// awaited only later.
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
