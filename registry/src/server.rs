//! Serving on a listener of the caller's, until the caller says so.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::sleep;
use tracing::{info, warn};

/// How long the requests in progress may take to finish: a client that never ends its own must not
/// hold up a restart.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

/// Serves until `shutdown`, then finishes the requests in progress, for as long as `grace`.
pub(crate) async fn serve(
    listener: TcpListener,
    app: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
    grace: Duration,
) -> io::Result<()> {
    let (stopping, stopped) = oneshot::channel();
    // Over HTTP/2, Envoy would wait for some answers until its own kernel acknowledges their
    // beginning, which takes 40 ms.
    let listener = listener.tap_io(|stream| {
        // A connection that cannot be set is slow at worst.
        let _ = stream.set_nodelay(true);
    });
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, app).with_graceful_shutdown(async {
        shutdown.await;
        // Nobody waits for it once the server has ended.
        let _ = stopping.send(());
    });
    let deadline = async {
        // An error says that the server dropped its end, as it does when it has failed.
        let _ = stopped.await;
        sleep(grace).await;
    };
    tokio::select! {
        result = server.into_future() => result,
        () = deadline => {
            warn!("some requests were not finished in time");
            Ok(())
        }
    }
}

/// Ends at the first SIGINT or SIGTERM after this call, even if it is awaited only later.
pub(crate) fn shutdown_signal() -> io::Result<impl Future<Output = ()> + Send + 'static> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::sync::{Notify, oneshot};

    #[tokio::test]
    async fn shutdown_finishes_requests() {
        static STARTED: Notify = Notify::const_new();
        static RELEASE: Notify = Notify::const_new();
        async fn slow() -> &'static str {
            STARTED.notify_one();
            RELEASE.notified().await;
            "finished"
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let (stop, stopped) = oneshot::channel::<()>();
        let app = Router::new().route("/slow", get(slow));
        let stopped = async { stopped.await.expect("the signal") };
        let server = tokio::spawn(serve(listener, app, stopped, GRACE));
        // A connection that never sends a request must not keep the server up.
        let _idle = tokio::net::TcpStream::connect(address).await.expect("idle");
        let client = tokio::task::spawn_blocking(move || {
            use std::io::{Read, Write};
            let mut stream = std::net::TcpStream::connect(address).expect("connect");
            write!(stream, "GET /slow HTTP/1.1\r\nhost: test\r\n\r\n").expect("send");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("receive");
            answer
        });
        STARTED.notified().await;
        stop.send(()).expect("the server listens");
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        assert!(!server.is_finished(), "the request is still in progress");
        RELEASE.notify_one();
        let answer = client.await.expect("client");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.ends_with("finished"), "{answer}");
        server.await.expect("server").expect("a clean end");
    }

    #[tokio::test]
    async fn shutdown_does_not_wait_for_ever() {
        use tokio::io::AsyncWriteExt;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let (stop, stopped) = oneshot::channel::<()>();
        static AT_WORK: Notify = Notify::const_new();
        async fn stuck() {
            AT_WORK.notify_one();
            std::future::pending::<()>().await;
        }
        let app = Router::new().route("/stuck", get(stuck));
        let grace = Duration::from_millis(50);
        let stopped = async { stopped.await.expect("the signal") };
        let server = tokio::spawn(serve(listener, app, stopped, grace));
        let mut client = tokio::net::TcpStream::connect(address)
            .await
            .expect("connect");
        let request = b"GET /stuck HTTP/1.1\r\nhost: test\r\n\r\n";
        client.write_all(request).await.expect("send");
        AT_WORK.notified().await;
        stop.send(()).expect("the server listens");
        server.await.expect("server").expect("a clean end");
    }
}
