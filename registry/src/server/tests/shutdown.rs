//! What a shutdown waits for.

use tokio::sync::Notify;

use super::*;

#[tokio::test]
async fn shutdown_finishes_requests() {
    static STARTED: Notify = Notify::const_new();
    static RELEASE: Notify = Notify::const_new();
    async fn slow() -> &'static str {
        STARTED.notify_one();
        RELEASE.notified().await;
        "finished"
    }
    let app = routes().route("/slow", get(slow));
    let mut server = Server::of(app, endless(), None, GRACE).await;
    // Connections that are not busy must not keep the server up.
    let mut silent = server.connect().await;
    let mut kept = server.connect().await;
    ask(&mut kept).await;
    let mut half = server.connect().await;
    half.write_all(b"GET / HT").await.expect("send");
    let mut http2 = server.connect().await;
    let request = [http2::preface(http2::WINDOW), http2::get(1, "/")].concat();
    http2.write_all(&request).await.expect("send");
    let mut client = server.connect().await;
    let request = b"GET /slow HTTP/1.1\r\nhost: test\r\n\r\n";
    client.write_all(request).await.expect("send");
    STARTED.notified().await;
    server.stop();
    assert_eq!(end(&mut silent).await, b"");
    assert_eq!(end(&mut kept).await, b"");
    let refused = || async { TcpStream::connect(server.address).await.is_err() };
    let deadline = Instant::now() + PATIENCE;
    while !refused().await {
        assert!(Instant::now() < deadline, "still listening");
    }
    assert!(!server.running.is_finished(), "a request is in progress");
    RELEASE.notify_one();
    let answer = String::from_utf8(end(&mut client).await).expect("UTF-8");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.ends_with("finished"), "{answer}");
    drop((half, http2));
    timeout(PATIENCE, &mut server.running)
        .await
        .expect("in time")
        .expect("a clean end");
}

#[tokio::test]
async fn shutdown_does_not_wait_for_ever() {
    let grace = Duration::from_millis(50);
    let mut server = Server::of(routes(), endless(), None, grace).await;
    let mut client = server.connect().await;
    let request = b"GET /stuck HTTP/1.1\r\nhost: test\r\n\r\n";
    client.write_all(request).await.expect("send");
    server.opens(1).await;
    server.stop();
    timeout(PATIENCE, &mut server.running)
        .await
        .expect("in time")
        .expect("a clean end");
    assert_eq!(end(&mut client).await, b"");
}

#[tokio::test]
async fn a_silent_client_of_http2_does_not_hold_up_a_shutdown() {
    let limits = Limits {
        drain: Duration::from_millis(50),
        ..endless()
    };
    let mut server = Server::of(routes(), limits, None, NEVER).await;
    let mut client = server.connect().await;
    let request = [http2::preface(http2::WINDOW), http2::get(1, "/")].concat();
    client.write_all(&request).await.expect("send");
    let mut first = [0; 9];
    client.read_exact(&mut first).await.expect("a frame");
    server.stop();
    timeout(PATIENCE, &mut server.running)
        .await
        .expect("in time")
        .expect("a clean end");
    let rest = [&first[..], &end(&mut client).await].concat();
    assert!(
        http2::kinds(&rest).await.contains(&kind::GOAWAY),
        "{rest:?}"
    );
}
