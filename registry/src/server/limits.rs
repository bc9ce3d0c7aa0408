//! How long a client may take, and how much memory a listener holds for all clients.

use std::time::Duration;

/// The limits of a listener. The defaults are those of the listener for lookups.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The most open connections.
    pub(crate) connections: usize,
    /// The most bytes that requests in progress hold, including responses that clients have not taken.
    /// Beyond it, connections whose clients take nothing are closed. Beyond twice as much, those that
    /// hold the most are closed too, first those of clients that have never taken a response, and
    /// HTTP/2 requests are refused unless the client has been taking its responses. Beyond four times
    /// as much, all HTTP/2 requests are refused.
    pub(crate) held: usize,
    /// The most requests at once on an HTTP/2 connection. On a new connection, a proxy sends all
    /// that wait for it before it learns this limit, and those beyond it are refused. So this is
    /// more than twice the 100 of the shipped clusters.
    pub(crate) streams: u32,
    /// How long a TLS handshake may take.
    pub(crate) handshake: Duration,
    /// How long the head of a request may take: for the first request, from when the connection was
    /// opened; for later ones, from their first byte.
    pub(crate) head: Duration,
    /// How long a connection may be idle between requests.
    pub(crate) idle: Duration,
    /// How long a client may take nothing of a response. A response that takes twice as long also
    /// ends its connection.
    pub(crate) stall: Duration,
    /// How long an idle connection may take to close after it was told to.
    pub(crate) drain: Duration,
    /// How long an HTTP/2 connection may be silent before it is sent a ping.
    pub(crate) ping: Duration,
    /// How long the answer to the ping may take.
    pub(crate) pong: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            held: 8 << 20,
            streams: 256,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            // Twice the `idle_timeout` of the cluster in envoy/envoy.yaml: Envoy closes first, so
            // it sends no lookup on a connection that is just being closed.
            idle: Duration::from_secs(120),
            stall: Duration::from_secs(15),
            drain: Duration::from_secs(2),
            ping: Duration::from_secs(20),
            pong: Duration::from_secs(10),
        }
    }
}

impl Limits {
    /// Returns the limits of a listener that is not for lookups. It has few clients: people and probes.
    pub(crate) fn secondary() -> Self {
        Self {
            connections: super::files::SECONDARY,
            held: 2 << 20,
            streams: 16,
            ..Self::default()
        }
    }

    /// Returns how often connections are checked. A limit may be exceeded by this much.
    pub(super) fn interval(&self) -> Duration {
        let shortest = [self.handshake, self.head, self.idle, self.stall, self.drain];
        let shortest = shortest.into_iter().min().unwrap_or_default();
        (shortest / 8).clamp(Duration::from_millis(5), Duration::from_millis(50))
    }
}
