//! Floods of TLS handshakes, and of requests whose responses are never read. Floods that need neither a
//! certificate nor a token are in `tests/faults/registry.rs`, where an Envoy makes lookups meanwhile.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Registry, Server, exchange, field, get};
use crate::http2;
use crate::open_files::raise_limit;
use crate::serve_tls;

/// The server's limit on open files.
const FILES: u32 = 1024;

/// The number of connections in a flood of handshakes, more than [`FILES`].
const CONNECTIONS: usize = 1100;

/// The longest that other clients may wait for a response.
const BOUND: Duration = Duration::from_secs(1);

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// The number of rounds of requests that other clients make during a flood.
const ROUNDS: usize = 15;

/// Sends a request on a new connection, and returns the status and the whole response.
fn ask(to: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect_timeout(&to, BOUND).expect("connect");
    stream.set_read_timeout(Some(BOUND * 5)).expect("timeout");
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("send");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    (
        status.unwrap_or_else(|| panic!("{path}: {answer:?}")),
        answer,
    )
}

/// Keeps [`CONNECTIONS`] half-finished TLS handshakes open until `stop` is set. A connection that is
/// closed is replaced by a new one. `reached` is the largest number that were open at the same time.
fn half_handshakes(to: SocketAddr, stop: &AtomicBool, reached: &AtomicUsize) {
    let connect = || {
        let mut stream = TcpStream::connect_timeout(&to, BOUND).ok()?;
        stream.set_nonblocking(true).ok()?;
        // The bytes fit into the socket's buffer.
        let _ = stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00");
        Some(stream)
    };
    let mut streams = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        // Only 50 at a time, so that other threads get a turn on a small machine.
        for _ in 0..50 {
            if streams.len() < CONNECTIONS {
                streams.extend(connect());
            }
        }
        reached.fetch_max(streams.len(), Ordering::Relaxed);
        streams.retain(|mut stream: &TcpStream| match stream.read(&mut [0]) {
            Ok(count) => count > 0,
            Err(problem) => problem.kind() == ErrorKind::WouldBlock,
        });
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn handshakes_that_never_end_lock_nobody_out() {
    let registry = Registry::new();
    let (certificate, key) = serve_tls::identity(|_| {});
    let folder = registry.dir.path();
    let cert_file = serve_tls::write(folder, "cert", &certificate);
    let key_file = serve_tls::write(folder, "key", &key);
    let args = [
        "serve",
        "--json",
        "--listen=127.0.0.1:0",
        "--metrics-listen=127.0.0.1:0",
        "--tls-cert",
        &cert_file,
        "--tls-key",
        &key_file,
    ];
    raise_limit().expect("limit");
    let server = registry.start(registry.command_with_files(FILES, &args));
    let (stop, reached) = (AtomicBool::new(false), AtomicUsize::new(0));
    let metrics = server.secondary("metrics");
    thread::scope(|scope| {
        scope.spawn(|| half_handshakes(server.address, &stop, &reached));
        let deadline = Instant::now() + Duration::from_secs(60);
        while reached.load(Ordering::Relaxed) < 800 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        let mut slowest = Duration::ZERO;
        let mut statuses = Vec::new();
        for path in ["/healthz", "/readyz", "/metrics"].repeat(ROUNDS) {
            let began = Instant::now();
            statuses.push(ask(metrics, path).0);
            slowest = slowest.max(began.elapsed());
        }
        for _ in 0..ROUNDS {
            let began = Instant::now();
            let answer = serve_tls::healthz(server.address, &certificate);
            statuses.extend(
                answer
                    .is_ok_and(|it| it.starts_with("HTTP/1.1 200"))
                    .then_some(200),
            );
            slowest = slowest.max(began.elapsed());
        }
        stop.store(true, Ordering::Relaxed);
        assert_eq!(statuses.len(), 4 * ROUNDS, "some had no answer over TLS");
        assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
        assert!(slowest < BOUND, "{slowest:?}");
    });
    assert!(reached.into_inner() >= 800);
}

/// Requests `path` `each` times on each of `connections` connections, and reads no responses.
/// Returns the open connections.
fn unread(
    server: &Server,
    path: &str,
    over2: bool,
    connections: usize,
    each: u32,
) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..connections {
        let mut stream = TcpStream::connect(server.address).expect("connect");
        let requests = if over2 {
            let token = format!("Bearer {TOKEN}");
            let headers = [("authorization", &*token)];
            let requests = (0..each)
                .map(|number| http2::request(2 * number + 1, http2::END_STREAM, path, &headers));
            [http2::preface(0)]
                .into_iter()
                .chain(requests)
                .collect::<Vec<_>>()
                .concat()
        } else {
            let request =
                format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\r\n");
            request.repeat(each as usize).into_bytes()
        };
        stream.set_nonblocking(true).expect("mode");
        // Sends as much as the server accepts. The server may also close the connection.
        let _ = stream.write_all(&requests);
        streams.push(stream);
    }
    streams
}

/// Creates `count` keys with the admin API.
fn create_keys(to: SocketAddr, count: usize) {
    let body = r#"{"account_id": "acct_1", "endpoints": ["/v1/astro", "/v1/moon/"]}"#;
    let length = body.len();
    let request = format!(
        "POST /admin/v1/keys HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         authorization: Bearer {TOKEN}\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    for _ in 0..count {
        assert_eq!(exchange(to, request.as_bytes()).0, 201);
    }
}

#[test]
fn unread_pages_take_little_memory() {
    /// The number of responses that are not read.
    const ANSWERS: usize = 20_000;
    /// How long the server's memory is watched, longer than clients may take nothing.
    const FLOOD: Duration = Duration::from_millis(1500);
    raise_limit().expect("limit");
    // Pages have about 250 KB each, and the database's work on them takes memory too: up to 80 MiB
    // were seen. Without limits it would be gigabytes.
    let (most, most_of_pages) = (40, 120);
    // The path, whether over HTTP/2 or HTTP/1.1, the number of connections, and the most that the
    // server's memory may grow, in MiB.
    let rows = [
        // HTTP/2 has about 30 KB of buffers for each connection.
        ("/metrics", true, 1000, most + 30),
        ("/metrics", false, 1000, most),
        ("/v1/changes?after=", true, 200, most_of_pages),
        ("/v1/changes?after=", false, 200, most_of_pages),
        ("/admin/v1/keys", true, 200, most_of_pages),
        ("/admin/v1/keys", false, 200, most_of_pages),
    ];
    let registry = Registry::new();
    let start = || {
        let mut command = registry.command(&["serve", "--json", "--listen=127.0.0.1:0"]);
        command
            .env("RUST_LOG", "warn")
            .env("KEYSTILE_ADMIN_TOKEN", TOKEN);
        registry.start(command)
    };
    let filling = start();
    let cursor = get(filling.address, "/v1/changes").1;
    let cursor = field(&cursor, "cursor").to_owned();
    create_keys(filling.address, 1000);
    drop(filling);
    for (path, over2, connections, most) in rows {
        let name = format!("{path}, HTTP/2: {over2}, {connections} connections");
        let path = match path {
            "/v1/changes?after=" => &format!("{path}{cursor}"),
            other => other,
        };
        let server = start();
        for warm in ["/metrics", "/openapi.json", path, "/readyz"].repeat(20) {
            ask(server.address, warm);
        }
        let before = server.resident();
        let each = u32::try_from(ANSWERS / connections).expect("few");
        let streams = unread(&server, path, over2, connections, each);
        let mut peak = 0;
        let mut slowest = Duration::ZERO;
        let until = Instant::now() + FLOOD;
        while Instant::now() < until {
            let began = Instant::now();
            assert_eq!(ask(server.address, "/healthz").0, 200, "{name}");
            slowest = slowest.max(began.elapsed());
            peak = peak.max(server.resident());
            thread::sleep(Duration::from_millis(50));
        }
        drop(streams);
        let grown = peak.saturating_sub(before) / 1024;
        println!("{name}: {before} KiB before, {peak} at most; slowest answer {slowest:?}");
        assert!(
            grown < most,
            "{name}: {grown} MiB more than before, not below {most}"
        );
    }
}
