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

/// How long to wait after an error that is not a client's: the first time, and at most.
const PAUSE: [Duration; 2] = [Duration::from_millis(10), Duration::from_secs(1)];

/// How often at most such errors are logged.
const WARNING: Duration = Duration::from_secs(10);

/// Accepts connections until it is dropped.
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
                // Most often there are no more files, and a connection that ends frees one.
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
    // Over HTTP/2, Envoy would wait for some answers until its own kernel acknowledges their
    // beginning, which takes 40 ms. A connection that cannot be set is slow at worst.
    let _ = stream.set_nodelay(true);
    serving.serve(stream, peer, place).await;
}

/// Whether an error is about one connection, which its client has given up.
fn is_of_a_client(cause: &io::Error) -> bool {
    matches!(
        cause.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset
    )
}
