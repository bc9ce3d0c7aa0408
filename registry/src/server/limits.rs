//! How long a client may take, and how much a listener holds for all of them.

use std::time::Duration;

/// The limits of a listener. The defaults are those of the listener for lookups.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The most open connections.
    pub(crate) connections: usize,
    /// The most bytes that requests in progress hold, with the responses that clients have not taken.
    /// Beyond them, connections whose clients take nothing are closed; beyond twice as many, those
    /// that have the most to take, and requests of HTTP/2 are refused unless the client has been
    /// taking its responses; beyond four times as many, all of them are.
    pub(crate) held: usize,
    /// The most requests at once on a connection of HTTP/2. Envoy opens another one beyond it.
    pub(crate) streams: u32,
    /// How long a TLS handshake may take.
    pub(crate) handshake: Duration,
    /// How long the head of a request may take: of the first one from when the connection was
    /// opened, of the others from their first byte.
    pub(crate) head: Duration,
    /// How long a connection may be idle between requests.
    pub(crate) idle: Duration,
    /// How long a client may take nothing of a response. A response that takes a client twice as
    /// long ends its connection too.
    pub(crate) stall: Duration,
    /// How long an idle connection may take to close after it was told that it should.
    pub(crate) drain: Duration,
    /// After which silence HTTP/2 is asked for a sign of life.
    pub(crate) ping: Duration,
    /// How long that sign may take.
    pub(crate) pong: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            held: 8 << 20,
            streams: 100,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            // Twice the `idle_timeout` of the cluster in envoy/envoy.yaml: Envoy closes first, and
            // no lookup meets a connection that is just being closed.
            idle: Duration::from_secs(120),
            stall: Duration::from_secs(15),
            drain: Duration::from_secs(2),
            ping: Duration::from_secs(20),
            pong: Duration::from_secs(10),
        }
    }
}

impl Limits {
    /// The limits of a listener that is not for lookups: few clients, which are people and probes.
    pub(crate) fn aside() -> Self {
        Self {
            connections: super::files::ASIDE,
            held: 2 << 20,
            streams: 16,
            ..Self::default()
        }
    }

    /// How often connections are looked at. A limit may be exceeded by as much.
    pub(super) fn interval(&self) -> Duration {
        let shortest = [self.handshake, self.head, self.idle, self.stall, self.drain];
        let shortest = shortest.into_iter().min().unwrap_or_default();
        (shortest / 8).clamp(Duration::from_millis(5), Duration::from_millis(50))
    }
}
