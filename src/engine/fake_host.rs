//! An in-memory proxy for tests. It does what the engine asks and records it. It fails a test if the
//! engine asks for something that a real proxy would not survive.

#![forbid(unsafe_code)]

mod calls;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::auth::cause::Unsent;
use crate::auth::response::Response;
use crate::engine::Engine;
use crate::engine::host::{Flow, Level, Token};
use crate::engine::stats::Counter;
use crate::request::headers::Request;

/// A callout that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Identifies its answer.
    pub token: Token,
    /// The cluster that it was sent to.
    pub cluster: String,
    /// Including pseudo-headers.
    pub headers: Vec<(String, String)>,
    /// How long the answer may take.
    pub timeout: Duration,
}

impl Sent {
    /// Returns its `:path`.
    pub fn path(&self) -> &str {
        self.header(":path").unwrap_or_default()
    }

    /// Returns the first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It was forwarded to the upstream.
    Forwarded,
    /// It was answered with this status, these headers and this body.
    Answered {
        /// The HTTP status.
        status: u16,
        /// Names and values.
        headers: Vec<(String, String)>,
        /// The body.
        body: String,
    },
}

/// A request in the proxy.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    headers: Vec<(String, Vec<u8>)>,
    trailers: Vec<(String, Vec<u8>)>,
    /// How it ended; `None` while it is paused.
    pub end: Option<End>,
    /// Its entry for the access log.
    pub log_entry: Option<String>,
    /// Whether the proxy has answered it by itself.
    pub is_over: bool,
}

impl Stream {
    /// Returns all current values of a header.
    pub fn values(&self, name: &str) -> Vec<String> {
        let headers = self.headers.iter().filter(|(other, _)| other == name);
        headers
            .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
            .collect()
    }

    /// Returns true if this trailer has not been removed.
    pub fn has_trailer(&self, name: &str) -> bool {
        self.trailers.iter().any(|(other, _)| other == name)
    }
}

/// A proxy with one worker.
#[derive(Debug, Default)]
pub struct FakeHost {
    /// The time since the Unix epoch.
    pub wall: Duration,
    /// The requests that are not gone.
    pub streams: BTreeMap<u32, Stream>,
    /// Callouts without an answer, in the order in which they were sent.
    pub callouts: Vec<Sent>,
    /// Whether random bytes are unavailable.
    pub lacks_randomness: bool,
    /// Why callouts cannot be sent, if they cannot.
    pub unsent: Option<Unsent>,
    /// The paths of the callouts that could not be sent.
    pub not_sent: Vec<String>,
    /// The tick period.
    pub period: Duration,
    /// The lines of the log.
    pub log: Vec<(Level, String)>,
    /// The durations of lookups, in ms.
    pub observed: Vec<u64>,
    counters: BTreeMap<String, u64>,
    last_token: u64,
    last_stream: u32,
    random: u64,
}

type Headers<'a> = &'a [(&'a str, &'a [u8])];

fn owned(headers: Headers<'_>) -> Vec<(String, Vec<u8>)> {
    let headers = headers.iter();
    headers
        .map(|(name, value)| ((*name).to_owned(), value.to_vec()))
        .collect()
}

#[allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::panic,
    reason = "a test that names a missing request or callout must fail"
)]
impl FakeHost {
    /// Creates a host that provides no random bytes.
    pub fn without_randomness() -> Self {
        Self {
            lacks_randomness: true,
            ..Self::default()
        }
    }

    /// Starts a request with these headers, and returns its ID. [`Stream::end`] says how it ended,
    /// unless it is paused.
    pub fn request(
        &mut self,
        engine: &mut Engine<Self>,
        headers: Headers<'_>,
        ends: bool,
        now: Duration,
    ) -> u32 {
        self.last_stream = self.last_stream.wrapping_add(1);
        let stream = self.last_stream;
        let request = Stream {
            headers: owned(headers),
            ..Stream::default()
        };
        self.streams.insert(stream, request);
        let flow = engine.on_request(self, stream, ends, now);
        if flow == Flow::Continue {
            self.ends(stream, End::Forwarded);
        }
        stream
    }

    /// Delivers the trailers of a request.
    pub fn trailers(
        &mut self,
        engine: &mut Engine<Self>,
        stream: u32,
        trailers: Headers<'_>,
    ) -> Flow {
        self.stream(stream).trailers = owned(trailers);
        engine.on_trailers(self, stream)
    }

    /// Ends a request, as when its client leaves or it is complete; returns its last state.
    pub fn leaves(&mut self, engine: &mut Engine<Self>, stream: u32) -> Stream {
        let left = self.streams.remove(&stream).expect("no such request");
        engine.on_gone(stream);
        left
    }

    /// Answers a callout with these headers and this body. No headers stand for a reset.
    pub fn answers(
        &mut self,
        engine: &mut Engine<Self>,
        token: Token,
        headers: Headers<'_>,
        body: &[u8],
        now: Duration,
    ) {
        let mut callouts = self.callouts.iter();
        let at = callouts.position(|sent| sent.token == token);
        self.callouts.remove(at.expect("no such callout"));
        let response = Response {
            headers: Request::new(headers),
            body_size: body.len(),
            body: &|| body.to_vec(),
        };
        engine.on_answer(self, token, response, now);
    }

    /// Returns how often an event was counted, as reported to the host.
    pub fn counted(&self, counter: Counter) -> u64 {
        let count = self.counters.get(&*counter.name());
        count.copied().unwrap_or_default()
    }

    /// Returns the callouts to paths with this prefix.
    pub fn callouts_to(&self, path: &str) -> Vec<Sent> {
        let callouts = self.callouts.iter();
        let callouts = callouts.filter(|sent| sent.path().starts_with(path));
        callouts.cloned().collect()
    }

    fn ends(&mut self, stream: u32, end: End) {
        let request = self.live(stream);
        assert!(
            request.log_entry.is_some(),
            "the request ended without a log entry"
        );
        request.end = Some(end);
    }

    /// Returns a request that is not gone.
    fn stream(&mut self, stream: u32) -> &mut Stream {
        self.streams.get_mut(&stream).expect("no such request")
    }

    /// Returns a request that has been neither forwarded nor answered.
    fn live(&mut self, stream: u32) -> &mut Stream {
        let request = self.stream(stream);
        assert!(request.end.is_none(), "the request has already ended");
        assert!(
            !request.is_over,
            "the proxy has already answered the request"
        );
        request
    }
}
