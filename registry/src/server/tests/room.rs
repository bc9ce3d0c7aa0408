//! Which connection is closed when the limit of connections is reached.

use tokio::sync::Semaphore;

use super::*;

/// How often the watchdog looks at most.
const OFTEN: Duration = Duration::from_millis(5);

fn of(connections: usize) -> Limits {
    Limits {
        connections,
        ..endless()
    }
}

#[tokio::test]
async fn the_oldest_silent_connection_makes_room() {
    let server = Server::start(of(4), None).await;
    let mut kept = server.connect().await;
    ask(&mut kept).await;
    let mut silent = Vec::new();
    for count in 2..=4 {
        silent.push(server.connect().await);
        // So that they are accepted in this order.
        server.opens(count).await;
    }
    let mut served = vec![kept];
    for (round, old) in silent.iter_mut().enumerate() {
        let mut new = server.connect().await;
        ask(&mut new).await;
        assert_eq!(end(old).await, b"", "round {round}");
        server.closes(round as u64 + 1, Reason::Evicted).await;
        served.push(new);
    }
    for stream in &mut served {
        ask(stream).await;
    }
}

#[tokio::test]
async fn a_flood_of_silent_connections_locks_nobody_out() {
    let server = Server::start(of(64), None).await;
    let mut kept = server.connect().await;
    ask(&mut kept).await;
    let mut flood = Vec::new();
    for _ in 0..300 {
        flood.push(server.connect().await);
        if flood.len() % 50 == 0 {
            let mut new = server.connect().await;
            ask(&mut new).await;
            ask(&mut kept).await;
        }
    }
    assert_eq!(server.closed(Reason::Refused), 0);
    assert!(server.closed(Reason::Evicted) >= 230);
    assert!(server.open() <= 64, "{}", server.open());
}

#[tokio::test]
async fn where_all_have_had_requests_the_longest_idle_makes_room() {
    // The watchdog looks as often as the shortest limit needs.
    let limits = Limits {
        drain: Duration::ZERO,
        ..of(3)
    };
    assert_eq!(limits.interval(), OFTEN);
    let server = Server::start(limits, None).await;
    let mut idle = Vec::new();
    for _ in 0..3 {
        let mut stream = server.connect().await;
        ask(&mut stream).await;
        // So that the watchdog can tell them apart.
        sleep(OFTEN * 20).await;
        idle.push(stream);
    }
    // The first is now the one that was used last.
    ask(&mut idle[0]).await;
    let mut new = server.connect().await;
    ask(&mut new).await;
    assert_eq!(end(&mut idle[1]).await, b"");
    ask(&mut idle[0]).await;
    ask(&mut idle[2]).await;
    ask(&mut new).await;
    server.closes(1, Reason::Evicted).await;
}

#[tokio::test]
async fn busy_connections_make_no_room() {
    static ARRIVED: Semaphore = Semaphore::const_new(0);
    async fn busy() {
        ARRIVED.add_permits(1);
        std::future::pending().await
    }
    let routes = routes().route("/busy", get(busy));
    let server = Server::of(routes, of(2), None, GRACE).await;
    let mut busy = Vec::new();
    for _ in 0..2 {
        let mut stream = server.connect().await;
        let request = b"GET /busy HTTP/1.1\r\nhost: test\r\n\r\n";
        stream.write_all(request).await.expect("send");
        busy.push(stream);
    }
    // A connection whose request has not arrived would be closed instead.
    let arrived = timeout(PATIENCE, ARRIVED.acquire_many(2)).await;
    arrived
        .expect("both requests in time")
        .expect("requests")
        .forget();
    let mut refused = server.connect().await;
    assert_eq!(end(&mut refused).await, b"");
    server.closes(1, Reason::Refused).await;
    drop(busy.pop());
    server.opens(1).await;
    let mut new = server.connect().await;
    ask(&mut new).await;
    assert_eq!(server.closed(Reason::Evicted), 0);
}

#[tokio::test]
async fn clients_that_do_not_read_make_room_before_idle_ones() {
    let server = Server::start(of(3), None).await;
    let mut kept = server.connect().await;
    ask(&mut kept).await;
    let mut stalled = server.connect().await;
    let request = [http2::preface(0), http2::get(1, "/")].concat();
    stalled.write_all(&request).await.expect("send");
    let mut busy = server.connect().await;
    let request = b"GET /stuck HTTP/1.1\r\nhost: test\r\n\r\n";
    busy.write_all(request).await.expect("send");
    server.opens(3).await;
    // Twice as long as it takes until a client counts as one that does not read.
    sleep(Duration::from_millis(500)).await;
    let mut new = server.connect().await;
    ask(&mut new).await;
    end(&mut stalled).await;
    ask(&mut kept).await;
    server.closes(1, Reason::Unread).await;
}
