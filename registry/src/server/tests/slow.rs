//! Slow and silent clients.

use super::http2::Frame;
use super::*;

/// Short, but longer than a busy machine pauses.
const LIMIT: Duration = Duration::from_millis(300);

/// What a client does before it waits for the connection's end.
enum Does {
    Sends(Vec<u8>),
    /// A byte every few milliseconds, until the connection ends.
    Dribbles(Vec<u8>),
    /// Sends these after a complete request.
    ThenSends(&'static [u8]),
    ThenDribbles(&'static [u8]),
}

/// A client, the limits that are shorter than [`NEVER`], and why its connection ends.
struct Row {
    name: &'static str,
    does: Does,
    limits: Limits,
    reason: Reason,
}

fn row(name: &'static str, does: Does, limits: Limits, reason: Reason) -> Row {
    Row {
        name,
        does,
        limits,
        reason,
    }
}

fn rows() -> Vec<Row> {
    let head = Limits {
        head: LIMIT,
        ..endless()
    };
    let idle = Limits {
        idle: LIMIT,
        drain: LIMIT,
        ..endless()
    };
    let ping = Limits {
        ping: LIMIT,
        pong: LIMIT,
        ..endless()
    };
    let sends = |bytes: &[u8]| Does::Sends(bytes.to_vec());
    let over2 = |more: Vec<u8>| Does::Sends([http2::preface(http2::WINDOW), more].concat());
    // `HEADERS` that should be continued, and never are.
    let mut unfinished = http2::get(1, "/");
    unfinished[4] = http2::END_STREAM;
    vec![
        row("silent", sends(b""), head, Reason::Head),
        row("a byte", sends(b"G"), head, Reason::Head),
        row(
            "half a head",
            sends(b"GET / HTTP/1.1\r\nhost: te"),
            head,
            Reason::Head,
        ),
        row(
            "a dribbled head",
            Does::Dribbles(REQUEST[..29].to_vec()),
            head,
            Reason::Head,
        ),
        row(
            "half of a second head",
            Does::ThenSends(b"GET / HT"),
            head,
            Reason::Head,
        ),
        row(
            "a dribbled second head",
            Does::ThenDribbles(b"GET / HTTP/1.1\r\nx: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
            head,
            Reason::Head,
        ),
        row(
            "half a preface",
            sends(b"PRI * HTTP/2.0\r\n"),
            head,
            Reason::Head,
        ),
        row(
            "HTTP/2 without a request",
            over2(Vec::new()),
            head,
            Reason::Head,
        ),
        row(
            "HTTP/2, half a frame",
            over2(unfinished[..11].to_vec()),
            head,
            Reason::Head,
        ),
        row(
            "HTTP/2, headers without an end",
            over2(unfinished),
            head,
            Reason::Head,
        ),
        row(
            "idle after a request",
            Does::ThenSends(b""),
            idle,
            Reason::Idle,
        ),
        row(
            "HTTP/2, idle after a request",
            over2(http2::get(1, "/")),
            idle,
            Reason::Idle,
        ),
        row(
            "HTTP/2, idle after a request without an end",
            over2(http2::request(1, 0, "/", &[])),
            idle,
            Reason::Idle,
        ),
        row(
            "HTTP/2, no answer to a ping",
            over2(Vec::new()),
            ping,
            Reason::Ping,
        ),
        row(
            "HTTP/2, no answer to a ping while a request waits",
            over2(http2::get(1, "/stuck")),
            ping,
            Reason::Ping,
        ),
        row(
            "no HTTP",
            sends(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
            endless(),
            Reason::Malformed,
        ),
        row(
            "no method",
            sends(b"\r\n\r\n{}\r\n\r\n"),
            endless(),
            Reason::Malformed,
        ),
        row(
            "a head without an end",
            sends(&[&REQUEST[..16], &[b'x'; 64 * 1024]].concat()),
            endless(),
            Reason::Malformed,
        ),
        row(
            "HTTP/2, no frame of its own",
            over2(http2::frame(kind::DATA, 0, 0, b"x")),
            endless(),
            Reason::Malformed,
        ),
    ]
}

#[tokio::test]
async fn connections_that_exceed_a_limit_are_closed_and_counted() {
    at_once(rows().into_iter().map(|row| (row.name, row.check()))).await;
}

impl Row {
    async fn check(self) {
        let Self {
            name,
            does,
            limits,
            reason,
        } = self;
        let server = Server::start(limits, None).await;
        // Before the server's own time begins, which another row may delay.
        let began = Instant::now();
        let mut stream = server.connect().await;
        if matches!(does, Does::ThenSends(_) | Does::ThenDribbles(_)) {
            ask(&mut stream).await;
        }
        let (mut reader, mut writer) = stream.into_split();
        let bytes = match does {
            Does::Sends(bytes) => {
                // The server may have closed it already.
                let _ = writer.write_all(&bytes).await;
                Vec::new()
            }
            Does::ThenSends(bytes) => {
                writer.write_all(bytes).await.expect("send");
                Vec::new()
            }
            Does::Dribbles(bytes) => bytes,
            Does::ThenDribbles(bytes) => bytes.to_vec(),
        };
        let dribble = tokio::spawn(async move {
            for byte in bytes {
                sleep(LIMIT / 20).await;
                if writer.write_all(&[byte]).await.is_err() {
                    break;
                }
            }
            // Kept open, so that this does not look like a client that leaves.
            writer
        });
        let got = end(&mut reader).await;
        let took = began.elapsed();
        server.closes(1, reason).await;
        if reason != Reason::Malformed {
            assert!(took + ROUNDING >= LIMIT, "after {took:?}");
        }
        if reason == Reason::Idle && name.starts_with("HTTP/2") {
            let kinds = http2::kinds(&got).await;
            assert!(kinds.contains(&kind::GOAWAY), "{kinds:?}");
        }
        server.opens(0).await;
        dribble.abort();
    }
}

#[tokio::test]
async fn a_kept_connection_outlives_the_limit_of_a_head() {
    let limits = Limits {
        head: LIMIT,
        ..endless()
    };
    let server = Server::start(limits, None).await;
    let mut stream = server.connect().await;
    for _ in 0..2 {
        ask(&mut stream).await;
        sleep(LIMIT * 2).await;
    }
    ask(&mut stream).await;
    assert_eq!(server.closed(Reason::Head), 0);
}

#[tokio::test]
async fn a_client_that_answers_pings_is_kept() {
    let limits = Limits {
        ping: LIMIT / 4,
        pong: LIMIT,
        ..endless()
    };
    let server = Server::start(limits, None).await;
    let mut stream = server.connect().await;
    let request = [http2::preface(http2::WINDOW), http2::get(1, "/")].concat();
    stream.write_all(&request).await.expect("send");
    let mut pings = 0;
    while pings < 6 {
        let frame = timeout(PATIENCE, Frame::read(&mut stream)).await;
        let frame = frame.expect("a frame in time").expect("a frame");
        if frame.kind == kind::PING
            && let Some(pong) = frame.acknowledgement()
        {
            stream.write_all(&pong).await.expect("send");
            pings += 1;
        }
    }
    assert_eq!((server.open(), server.closed(Reason::Ping)), (1, 0));
}
