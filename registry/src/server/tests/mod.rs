//! Connections and their limits, which are short enough to wait for.

#[path = "../../../tests/support/http2.rs"]
mod http2;
mod relief;
mod room;
mod shutdown;
mod slow;
mod tls;
mod unread;

use std::io;
use std::net::SocketAddr;

use axum::extract::ConnectInfo;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use self::http2::kind;
use super::counters::Reason;
use super::*;

/// Far longer than every limit in a test. Whatever has not happened by then never will.
const PATIENCE: Duration = Duration::from_secs(20);

/// Longer than any test, so that the limit never ends a connection.
const NEVER: Duration = Duration::from_secs(3600);

/// The watchdog's clock has whole milliseconds, so that a limit may seem to end this much too early.
const ROUNDING: Duration = Duration::from_millis(1);

/// Returns limits that nothing exceeds.
fn endless() -> Limits {
    Limits {
        connections: 100,
        held: usize::MAX / 8,
        handshake: NEVER,
        head: NEVER,
        idle: NEVER,
        stall: NEVER,
        drain: NEVER,
        ping: NEVER,
        pong: NEVER,
        ..Limits::default()
    }
}

/// A server that stops when it is dropped.
struct Server {
    address: SocketAddr,
    counters: Counters,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
}

impl Server {
    async fn start(limits: Limits, tls: Option<Arc<Tls>>) -> Self {
        Self::of(routes(), limits, tls, GRACE).await
    }

    async fn of(routes: Router, limits: Limits, tls: Option<Arc<Tls>>, grace: Duration) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = socket.local_addr().expect("address");
        let (stop, stopped) = oneshot::channel();
        let counters = Counters::default();
        let listener = Listener {
            port: Port::Main,
            socket,
            routes,
            tls,
            limits,
        };
        let counted = counters.clone();
        let running = tokio::spawn(async move {
            // An error means that the test is over.
            let shutdown = async { drop(stopped.await) };
            serve(vec![listener], &counted, shutdown, grace).await;
        });
        Self {
            address,
            counters,
            stop: Some(stop),
            running,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("connect")
    }

    fn closed(&self, reason: Reason) -> u64 {
        self.counters.closed(Port::Main, reason).get()
    }

    fn open(&self) -> i64 {
        self.counters.open(Port::Main).get()
    }

    /// Waits until `count` connections are open.
    async fn opens(&self, count: i64) {
        until(&format!("{count} open connections"), || {
            self.open() == count
        })
        .await;
    }

    /// Waits until `count` connections were closed for a reason.
    async fn closes(&self, count: u64, reason: Reason) {
        let what = format!("{count} closed for {reason:?}");
        until(&what, || self.closed(reason) == count).await;
    }

    fn stop(&mut self) {
        let stop = self.stop.take().expect("a server stops once");
        stop.send(()).expect("the server runs");
    }
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        sleep(Duration::from_millis(2)).await;
    }
}

/// Runs the checks of a table's rows at the same time. Most of them wait, each for its own server.
async fn at_once<F>(checks: impl Iterator<Item = (&'static str, F)>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let checks: Vec<_> = checks
        .map(|(name, check)| (name, tokio::spawn(check)))
        .collect();
    for (name, check) in checks {
        let checked = check.await;
        checked.unwrap_or_else(|failure| panic!("{name}: {failure}"));
    }
}

/// More bytes than the kernel buffers for a client that does not read.
const LARGE: usize = 16 << 20;

fn routes() -> Router {
    let large = axum::body::Bytes::from(vec![b'x'; LARGE]);
    Router::new()
        .route("/", get(async || "hello"))
        .route("/stuck", get(std::future::pending::<()>))
        .route("/large", get(async move || large.clone()))
        .route(
            "/peer",
            get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.to_string()),
        )
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n";

/// Sends a request and reads its answer. The connection stays open.
async fn ask(stream: &mut TcpStream) {
    stream.write_all(REQUEST).await.expect("send");
    assert!(answer(stream).await.ends_with("hello"));
}

/// Reads until the end of the answer to [`REQUEST`].
async fn answer(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut answer = Vec::new();
    let read = async {
        while !answer.ends_with(b"hello") {
            let count = stream.read_buf(&mut answer).await.expect("receive");
            assert!(count > 0, "closed: {}", String::from_utf8_lossy(&answer));
        }
    };
    timeout(PATIENCE, read).await.expect("an answer in time");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads until the server closes the connection, and returns what it received.
async fn end(stream: &mut (impl AsyncReadExt + Unpin)) -> Vec<u8> {
    let mut rest = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    match read.expect("the connection is still open") {
        Ok(_) => {}
        Err(cause) if cause.kind() == io::ErrorKind::ConnectionReset => {}
        Err(cause) => panic!("{cause}"),
    }
    rest
}

#[tokio::test]
async fn handlers_know_the_address_of_the_client() {
    let server = Server::start(endless(), None).await;
    let mut stream = server.connect().await;
    let request = b"GET /peer HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.expect("send");
    let own = stream.local_addr().expect("address").to_string();
    let answer = String::from_utf8(end(&mut stream).await).expect("UTF-8");
    assert!(answer.ends_with(&own), "{own}: {answer}");
}
