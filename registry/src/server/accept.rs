//! Accepts connections.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::connection::Serving;
use super::connections::{Connections, Place};

/// How long to wait after an error that no client caused: the first time, and at most.
const PAUSE: [Duration; 2] = [Duration::from_millis(10), Duration::from_secs(1)];

/// The shortest time between two log lines about such errors.
const WARNING: Duration = Duration::from_secs(10);

/// Accepts connections until the future is dropped.
pub(super) async fn accept(
    listener: TcpListener,
    connections: Arc<Connections>,
    serving: Arc<Serving>,
) {
    let mut pause = PAUSE[0];
    let mut warned: Option<Instant> = None;
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(cause) if is_of_a_client(&cause) => continue,
            Err(cause) => {
                // Usually the process is out of file descriptors, and closing a connection frees one.
                connections.make_room();
                if warned.is_none_or(|last| last.elapsed() >= WARNING) {
                    warned = Some(Instant::now());
                    let listener = connections.port.as_str();
                    warn!(listener, %cause, "connections cannot be accepted");
                }
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE[1]);
                continue;
            }
        };
        pause = PAUSE[0];
        let Some(place) = connections.place().await else {
            continue;
        };
        let serving = Arc::clone(&serving);
        tokio::spawn(async move { serve(&serving, stream, peer, place).await });
    }
}

async fn serve(serving: &Serving, stream: TcpStream, peer: SocketAddr, place: Place) {
    // Without this, some answers over HTTP/2 are held back until Envoy's kernel acknowledges their
    // beginning, which takes 40 ms. If the option cannot be set, the connection is merely slow.
    let _ = stream.set_nodelay(true);
    serving.serve(stream, peer, place).await;
}

/// Returns whether an error concerns only one connection, which its client has given up.
fn is_of_a_client(cause: &io::Error) -> bool {
    matches!(
        cause.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset
    )
}
