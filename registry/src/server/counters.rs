//! Metrics of connections.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// One of the server's listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    /// `--listen`.
    Main,
    /// `--admin-listen`.
    Admin,
    /// `--metrics-listen`.
    Metrics,
}

impl Port {
    /// Returns its name in labels and logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Admin => "admin",
            Self::Metrics => "metrics",
        }
    }
}

/// Why the server closed a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// All connections were busy.
    Refused,
    /// To make room for another one.
    Evicted,
    /// The TLS handshake took too long.
    Handshake,
    /// The TLS handshake failed.
    Tls,
    /// The head of a request took too long.
    Head,
    /// There was no request for too long.
    Idle,
    /// The client did not take its responses in time, or they held too much memory.
    Unread,
    /// An HTTP/2 ping was not answered.
    Ping,
    /// The client sent bytes that are not valid HTTP.
    Malformed,
}

impl Reason {
    fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Evicted => "evicted",
            Self::Handshake => "handshake_timeout",
            Self::Tls => "tls_failed",
            Self::Head => "request_timeout",
            Self::Idle => "idle_timeout",
            Self::Unread => "unread",
            Self::Ping => "ping_timeout",
            Self::Malformed => "malformed",
        }
    }
}

#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
struct Open {
    listener: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, PartialEq, Eq, Hash)]
struct Closed {
    listener: &'static str,
    reason: &'static str,
}

/// Open connections, and those that the server closed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters {
    open: Family<Open, Gauge>,
    closed: Family<Closed, Counter>,
}

impl Counters {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("connections", "Open connections", self.open.clone());
        registry.register(
            "connections_closed",
            "Connections that the server refused or closed, by reason",
            self.closed.clone(),
        );
    }

    /// Returns the number of open connections of a listener.
    pub(super) fn open(&self, listener: Port) -> Gauge {
        let listener = listener.as_str();
        self.open.get_or_create_owned(&Open { listener })
    }

    pub(super) fn closed(&self, listener: Port, reason: Reason) -> Counter {
        let (listener, reason) = (listener.as_str(), reason.as_str());
        self.closed
            .get_or_create_owned(&Closed { listener, reason })
    }
}
