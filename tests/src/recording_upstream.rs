//! A recording upstream, which counts the requests that reach it and records them.
//!
//! A request may reach it if the request says so in [`ENTITLED`] and the filter's identity header
//! agrees. Tests of faults mark the requests that they expect to pass. All others count as arrived
//! without a valid key, even if a test only forgot to mark them.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};

use crate::serving::Serving;

/// The request header with the ID of the request's key, or [`EXEMPT`].
pub const ENTITLED: &str = "x-test-entitled";

/// Marks a request that needs no key and gets no identity.
pub const EXEMPT: &str = "exempt";

/// The request header that asks to record the request under this name.
pub const NAMED: &str = "x-test-name";

/// The request header that asks for a status other than 200.
pub const STATUS: &str = "x-test-status";

/// The request header that asks for a redirect (302) to this location.
pub const ELSEWHERE: &str = "x-test-location";

/// The response header with the names of the request's trailers.
pub const TRAILERS: &str = "x-test-trailers";

/// The response header that says where the request's body begins to differ from [`counting`], if it
/// does.
pub const DIFFERS: &str = "x-test-differs";

/// The request header that asks to delay the response, in ms.
pub const DELAY: &str = "x-test-delay-ms";

/// The identity header that the filter sets.
const IDENTITY: &str = "x-keystile-key-id";

/// How many requests without a valid key are kept as text.
const KEPT: usize = 5;

/// The upstream's counters and recorded requests. Clones share them. By default it records the
/// requests with [`NAMED`], and answers with the length of their bodies.
#[derive(Clone, Default)]
pub struct RecordingUpstream {
    shared: Arc<Mutex<Shared>>,
    /// Whether it records each request and answers with it, as JSON.
    echoes: bool,
}

#[derive(Default)]
struct Shared {
    counts: Counts,
    begun: BTreeMap<String, usize>,
    ended: Vec<Arrived>,
    /// The places in `ended` of the requests with a [`NAMED`] value.
    by_name: HashMap<String, Vec<usize>>,
    by_entitled: BTreeMap<String, u64>,
}

/// A request as the upstream received it.
#[derive(Clone, Debug, Default)]
pub struct Arrived {
    /// Its method.
    pub method: String,
    /// Its path and query.
    pub target: String,
    /// Names in lower case, and values. Bytes that are not UTF-8 are replaced.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// The trailers, in the same form as the headers.
    pub trailers: Vec<(String, String)>,
    /// Whether the request arrived completely.
    pub whole: bool,
}

impl Arrived {
    /// Returns all values of a header, in order.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let of_name = self.headers.iter().filter(|(other, _)| other == name);
        of_name.map(|(_, value)| value.as_str()).collect()
    }

    /// Returns the request whose [`Arrived::json`] this is.
    ///
    /// # Errors
    /// When it is not.
    pub fn echoed(json: &[u8]) -> Result<Self> {
        let json: Value = serde_json::from_slice(json)?;
        let text = |field: &str| json[field].as_str().unwrap_or_default().to_owned();
        Ok(Self {
            method: text("method"),
            target: text("path"),
            headers: serde_json::from_value(json["headers"].clone())?,
            body: text("body").into_bytes(),
            trailers: serde_json::from_value(json["trailers"].clone())?,
            whole: json["whole"] == true,
        })
    }

    /// Returns the request as JSON.
    pub fn json(&self) -> Value {
        json!({
            "method": self.method,
            "path": self.target,
            "headers": self.headers,
            "body": String::from_utf8_lossy(&self.body),
            "trailers": self.trailers,
            "whole": self.whole,
        })
    }
}

/// The counters of an upstream.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// All requests that arrived.
    pub arrived: u64,
    /// Those without a valid key.
    pub leaked: u64,
    /// The first few of these, as text.
    pub leaks: Vec<String>,
}

impl RecordingUpstream {
    /// Returns an upstream that records each request and answers with it, as [`Arrived::json`].
    pub fn echoing() -> Self {
        Self {
            echoes: true,
            ..Self::default()
        }
    }

    /// Returns the counters so far.
    pub fn counts(&self) -> Counts {
        self.locked(|shared| shared.counts.clone())
    }

    /// Returns the recorded requests with this [`NAMED`] value.
    pub fn named(&self, name: &str) -> Vec<Arrived> {
        self.locked(|shared| {
            let places = shared.by_name.get(name).into_iter().flatten();
            places.map(|&place| shared.ended[place].clone()).collect()
        })
    }

    /// Returns the recorded requests with this header value. A request is recorded when it ends.
    pub fn with(&self, header: &str, value: &str) -> Vec<Arrived> {
        self.locked(|shared| {
            let ended = shared.ended.iter();
            ended
                .filter(|request| request.values(header).contains(&value))
                .cloned()
                .collect()
        })
    }

    /// Returns the recorded requests as text, one per line.
    pub fn text(&self) -> String {
        self.locked(|shared| {
            let ended = shared.ended.iter();
            ended
                .map(|request| format!("{}\n", request.json()))
                .collect()
        })
    }

    /// Returns the number of requests with this [`ENTITLED`] value.
    pub fn arrived_for(&self, entitled: &str) -> u64 {
        self.locked(|shared| shared.by_entitled.get(entitled).copied().unwrap_or(0))
    }

    /// Returns the number of requests with this [`NAMED`] value whose headers have arrived.
    pub fn begun(&self, name: &str) -> usize {
        self.locked(|shared| shared.begun.get(name).copied().unwrap_or_default())
    }

    /// Counts a request by its headers. Servers for protocols other than plain HTTP call this too.
    pub fn arrived(&self, target: &str, headers: &HeaderMap) {
        let entitled = is_entitled(headers);
        let says = headers.get(ENTITLED).map(text);
        let name = headers.get(NAMED).map(text);
        self.locked(|shared| {
            shared.counts.arrived += 1;
            if let Some(says) = says {
                *shared.by_entitled.entry(says).or_default() += 1;
            }
            if let Some(name) = name {
                *shared.begun.entry(name).or_default() += 1;
            }
            if !entitled {
                shared.counts.leak(format!("{target} {headers:?}"));
            }
        });
    }

    /// Counts a request as leaked if its trailers name an identity, which the filter never sets.
    pub fn trailers_arrived(&self, target: &str, trailers: &HeaderMap) {
        if trailers.contains_key(IDENTITY) {
            self.locked(|shared| {
                let leak = format!("{target} with trailers {trailers:?}");
                shared.counts.leak(leak);
            });
        }
    }

    /// Serves HTTP/1.1 and HTTP/2 on a free port. Reads each request to its end and answers 200 with
    /// [`TRAILERS`] and [`DIFFERS`], or whatever the request asks for.
    ///
    /// # Errors
    /// When there is no port to listen on.
    pub async fn serve(&self) -> Result<Serving> {
        self.serve_on(0).await
    }

    /// Does the same on a port of 127.0.0.1.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn serve_on(&self, port: u16) -> Result<Serving> {
        let recorder = self.clone();
        Serving::on(port, move |stream| {
            let recorder = recorder.clone();
            async move {
                // Small answers are sent at once.
                let _ = stream.set_nodelay(true);
                let service = service_fn(|request| recorder.clone().answer(request));
                let mut server = auto::Builder::new(TokioExecutor::new());
                // Before Envoy learns of a limit on a new connection, it may exceed it. The requests
                // beyond it would be refused, and their clients would get a 503.
                server.http2().max_concurrent_streams(None);
                // As large as Envoy lets them be in the tests.
                server.http2().max_header_list_size(1 << 20);
                // The client may leave midway.
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            }
        })
        .await
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (head, mut body) = request.into_parts();
        let target = head.uri.to_string();
        self.arrived(&target, &head.headers);
        let is_recorded = self.echoes || head.headers.contains_key(NAMED);
        let mut arrived = Arrived {
            method: head.method.to_string(),
            target: head
                .uri
                .path_and_query()
                .map(ToString::to_string)
                .unwrap_or_default(),
            headers: owned(&head.headers),
            ..Arrived::default()
        };
        let (mut length, mut differs) = (0, None);
        arrived.whole = loop {
            match body.frame().await {
                None => break true,
                // Nobody waits for the response to a request that was cut off.
                Some(Err(_)) => break false,
                Some(Ok(frame)) => {
                    let data = frame.data_ref().map_or(&[][..], |data| data);
                    if *data != counting(length, data.len()) {
                        differs.get_or_insert(length);
                    }
                    length += data.len();
                    if is_recorded {
                        arrived.body.extend_from_slice(data);
                    }
                    if let Some(trailers) = frame.trailers_ref() {
                        self.trailers_arrived(&target, trailers);
                        arrived.trailers = owned(trailers);
                    }
                }
            }
        };
        let names = arrived.trailers.iter().map(|(name, _)| name.as_str());
        let names = names.collect::<Vec<_>>().join(",");
        let mut response = Response::new(Full::from(length.to_string()));
        if self.echoes {
            *response.body_mut() = Full::from(format!("{}\n", arrived.json()));
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, json);
        }
        if is_recorded {
            let name = head.headers.get(NAMED).map(text);
            self.locked(|shared| {
                if let Some(name) = name {
                    let places = shared.by_name.entry(name).or_default();
                    places.push(shared.ended.len());
                }
                shared.ended.push(arrived);
            });
        }
        let delay = head
            .headers
            .get(DELAY)
            .and_then(|ms| ms.to_str().ok()?.parse().ok());
        if let Some(delay) = delay {
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
        let status = head.headers.get(STATUS).map(HeaderValue::as_bytes);
        if let Some(Ok(status)) = status.map(StatusCode::from_bytes) {
            *response.status_mut() = status;
        }
        if let Some(elsewhere) = head.headers.get(ELSEWHERE) {
            *response.status_mut() = StatusCode::FOUND;
            response.headers_mut().insert(LOCATION, elsewhere.clone());
        }
        let differs = differs.map(|at| at.to_string());
        for (name, value) in [(TRAILERS, Some(names)), (DIFFERS, differs)] {
            // Digits and names are valid values.
            if let Some(Ok(value)) = value.map(HeaderValue::try_from) {
                response.headers_mut().insert(name, value);
            }
        }
        Ok(response)
    }

    fn locked<T>(&self, use_it: impl FnOnce(&mut Shared) -> T) -> T {
        use_it(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Counts {
    fn leak(&mut self, what: String) {
        self.leaked += 1;
        if self.leaks.len() < KEPT {
            self.leaks.push(what);
        }
    }
}

/// Returns part of a body whose order can be checked: it counts words of eight bytes, from 0.
pub fn counting(from: usize, length: usize) -> Vec<u8> {
    let words = from / 8..(from + length).div_ceil(8);
    let mut bytes = Vec::with_capacity(words.len() * 8);
    for word in words {
        bytes.extend_from_slice(&(word as u64).to_le_bytes());
    }
    bytes.drain(..from % 8);
    bytes.truncate(length);
    bytes
}

fn owned(headers: &HeaderMap) -> Vec<(String, String)> {
    let pairs = headers.iter();
    pairs
        .map(|(name, value)| (name.as_str().to_owned(), text(value)))
        .collect()
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

fn is_entitled(headers: &HeaderMap) -> bool {
    let mut identities = headers.get_all(IDENTITY).iter();
    let mut entitled = headers.get_all(ENTITLED).iter();
    match (entitled.next(), entitled.next()) {
        (Some(exempt), None) if exempt == EXEMPT => identities.next().is_none(),
        (Some(id), None) => identities.next() == Some(id) && identities.next().is_none(),
        _ => false,
    }
}
