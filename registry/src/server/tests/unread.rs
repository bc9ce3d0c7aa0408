//! Clients that do not read their responses.

use super::*;

/// Short, but longer than a busy machine pauses.
const LIMIT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_client_that_does_not_read_is_closed() {
    let over2 = |window, path| [http2::preface(window), http2::get(1, path)].concat();
    let rows = [
        (
            "HTTP/1",
            b"GET /large HTTP/1.1\r\nhost: test\r\n\r\n".to_vec(),
        ),
        // More answers than the kernel buffers.
        ("HTTP/1, pipelined", REQUEST.repeat(100_000)),
        ("HTTP/2, no window", over2(0, "/")),
        ("HTTP/2, a window of a byte", over2(1, "/")),
        ("HTTP/2, a window that ends", over2(65_535, "/large")),
    ];
    at_once(
        rows.map(|(name, request)| (name, closes_unread(request)))
            .into_iter(),
    )
    .await;
}

/// Checks that a client that sends these requests and reads nothing is closed.
async fn closes_unread(request: Vec<u8>) {
    let limits = Limits {
        stall: LIMIT,
        ..endless()
    };
    let server = Server::start(limits, None).await;
    let began = Instant::now();
    let mut stream = server.connect().await;
    // The server reads no more requests while answers pile up.
    let sent = timeout(LIMIT * 4, stream.write_all(&request)).await;
    server.closes(1, Reason::Unread).await;
    let took = began.elapsed();
    assert!(took + ROUNDING >= LIMIT, "after {took:?}");
    server.opens(0).await;
    drop(sent);
}

#[tokio::test]
async fn a_slow_reader_gets_all_of_it() {
    let limits = Limits {
        stall: Duration::from_secs(2),
        ..endless()
    };
    let server = Server::start(limits, None).await;
    let mut stream = server.connect().await;
    let request = b"GET /large HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.expect("send");
    let mut piece = vec![0; 1 << 20];
    let mut all = 0;
    loop {
        let read = timeout(PATIENCE, stream.read(&mut piece)).await;
        match read.expect("in time").expect("receive") {
            0 => break,
            count => all += count,
        }
        sleep(Duration::from_millis(10)).await;
    }
    assert!(all > LARGE, "{all}");
    assert_eq!(server.closed(Reason::Unread), 0);
}

#[tokio::test]
async fn what_is_not_read_takes_a_bounded_amount_of_memory() {
    // Enough for 100 responses at their assumed cost.
    let limits = Limits {
        held: 100 * 8192,
        streams: 1000,
        ..endless()
    };
    let server = Server::start(limits, None).await;
    let mut kept = server.connect().await;
    ask(&mut kept).await;
    // One connection requests more than all together may hold: some of its requests are refused,
    // and it is closed because it takes nothing.
    let mut greedy = server.connect().await;
    let mut flood = http2::preface(0);
    for number in 0..500 {
        flood.extend(http2::get(2 * number + 1, "/"));
    }
    greedy.write_all(&flood).await.expect("send");
    let kinds = http2::kinds(&end(&mut greedy).await).await;
    let count = |kind| kinds.iter().filter(|it| **it == kind).count();
    let (answered, refused) = (count(kind::HEADERS), count(kind::RST_STREAM));
    assert!(
        (150..=250).contains(&answered) && answered + refused == 500,
        "{answered}, {refused}"
    );
    server.closes(1, Reason::Unread).await;
    // Many connections with one response each are closed when they have not read for a while,
    // oldest first.
    let mut modest = Vec::new();
    let one = [http2::preface(0), http2::get(1, "/")].concat();
    for count in 1..=80 {
        let mut stream = server.connect().await;
        stream.write_all(&one).await.expect("send");
        modest.push(stream);
        server.opens(count + 1).await;
    }
    sleep(Duration::from_millis(1500)).await;
    assert_eq!(server.open(), 81);
    for _ in 0..18 {
        let mut stream = server.connect().await;
        let two = [&one[..], &http2::get(3, "/")].concat();
        stream.write_all(&two).await.expect("send");
        modest.push(stream);
    }
    end(&mut modest[0]).await;
    ask(&mut kept).await;
    until("100 are left", || server.closed(Reason::Unread) >= 16).await;
    assert!(server.closed(Reason::Unread) <= 40, "too many were closed");
}

#[tokio::test]
async fn one_large_response_is_no_flood() {
    let limits = Limits {
        held: 8192,
        ..endless()
    };
    let server = Server::start(limits, None).await;
    let mut stream = server.connect().await;
    let request = b"GET /large HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.expect("send");
    let all = end(&mut stream).await;
    assert!(all.len() > LARGE, "{}", all.len());
    assert_eq!(server.closed(Reason::Unread), 0);
}
