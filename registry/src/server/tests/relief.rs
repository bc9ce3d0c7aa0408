//! Which connections are closed while they hold too much memory together.

use std::sync::Arc;

use super::super::activity::Order;
use super::super::connections::{Connections, Place};
use super::super::counters::{Counters, Port};
use super::super::exchange::{Exchange, OVERHEAD};
use super::*;

/// The limit, in requests.
const HELD: usize = 10;

fn connections() -> Arc<Connections> {
    let limits = Limits {
        held: HELD * OVERHEAD as usize,
        ..endless()
    };
    Arc::new(Connections::new(Port::Main, limits, Counters::default()))
}

/// Returns a connection with this many requests in progress, and whether its client has taken a
/// response before.
async fn connection(
    connections: &Arc<Connections>,
    taken: bool,
    requests: usize,
) -> (Place, Vec<Exchange>) {
    let place = connections.place().await.unwrap();
    if taken {
        Exchange::begin(&place.activity, true).answered(0);
    }
    let requests = (0..requests).map(|_| Exchange::begin(&place.activity, true));
    let requests = requests.collect();
    (place, requests)
}

/// In each row: whether the client has taken a response, its requests, and whether its connection is
/// closed.
#[tokio::test]
async fn those_that_never_took_a_response_go_first() {
    for rows in [
        // Not twice the limit.
        [(false, 6, false), (true, 6, false), (true, 6, false)],
        [(false, 11, true), (true, 9, false), (false, 2, true)],
        [(false, 2, false), (true, 8, false), (false, 11, true)],
        [(true, 20, true), (true, 3, false), (false, 1, false)],
    ] {
        let connections = connections();
        let mut open = Vec::new();
        for (taken, requests, _) in rows {
            open.push(connection(&connections, taken, requests).await);
        }
        connections.relieve();
        let closed: Vec<_> = open
            .iter()
            .map(|(place, _)| place.activity.order() == Order::Close)
            .collect();
        assert_eq!(closed, rows.map(|(.., closed)| closed), "{rows:?}");
    }
}

#[tokio::test]
async fn memory_of_closing_connections_is_no_reason_to_close_others() {
    let connections = connections();
    let (flood, held) = connection(&connections, false, 30).await;
    connections.relieve();
    assert_eq!(flood.activity.order(), Order::Close);
    // Its requests outlive it for a moment.
    drop(flood);
    let (good, _requests) = connection(&connections, true, 5).await;
    connections.relieve();
    assert_eq!(good.activity.order(), Order::Serve);
    drop(held);
}
