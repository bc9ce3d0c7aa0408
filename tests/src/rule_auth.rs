//! An auth server for many keys: a rule decides which ones it knows, and it only counts lookups.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;

use crate::serving::Serving;

/// The auth server with its lookup counter. Clones share both.
#[derive(Clone)]
pub struct RuleAuth(Arc<Shared>);

struct Shared {
    known: fn(&str) -> bool,
    /// The most streams at once on an HTTP/2 connection. Those beyond it are refused, even if the
    /// proxy does not know the limit yet.
    streams: Option<u32>,
    lookups: AtomicUsize,
}

impl RuleAuth {
    /// Creates a server that knows an active key for each hash that `known` accepts, and no other.
    pub fn new(known: fn(&str) -> bool) -> Self {
        Self::with_streams(None, known)
    }

    /// Does the same with a limit of streams at once on an HTTP/2 connection.
    pub fn with_streams(streams: Option<u32>, known: fn(&str) -> bool) -> Self {
        Self(Arc::new(Shared {
            known,
            streams,
            lookups: AtomicUsize::new(0),
        }))
    }

    /// Returns the number of lookups so far.
    pub fn lookups(&self) -> usize {
        self.0.lookups.load(Ordering::Relaxed)
    }

    /// Serves `GET /v1/key-hashes/{hash}` on a free port, over HTTP/1.1 and HTTP/2. Other requests get
    /// a 400, which is not a verdict.
    ///
    /// # Errors
    /// When there is no port to listen on.
    pub async fn serve(&self) -> Result<Serving> {
        let rule_auth = self.clone();
        Serving::new(move |stream| {
            let rule_auth = rule_auth.clone();
            async move { rule_auth.converse(stream).await }
        })
        .await
    }

    /// Serves one connection until it ends.
    pub(crate) async fn converse(&self, stream: TcpStream) {
        // Small answers are sent at once.
        let _ = stream.set_nodelay(true);
        let service = service_fn(|request| {
            let response = self.respond(&request);
            async move { Ok::<_, Infallible>(response) }
        });
        let mut server = auto::Builder::new(TokioExecutor::new());
        server.http2().max_concurrent_streams(self.0.streams);
        // The proxy may leave midway.
        let _ = server.serve_connection(TokioIo::new(stream), service).await;
    }

    fn respond(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let (status, body) = self.answer(request.method().as_str(), request.uri().path());
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = status;
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        response
    }

    /// Returns the status and the body for a request with this method and path.
    pub(crate) fn answer(&self, method: &str, path: &str) -> (StatusCode, String) {
        let hash = path.strip_prefix("/v1/key-hashes/");
        let Some(hash) = hash.filter(|hash| is_hash(hash) && method == "GET") else {
            return (StatusCode::BAD_REQUEST, String::new());
        };
        self.0.lookups.fetch_add(1, Ordering::Relaxed);
        // Both answers have a body, so that they take equally long.
        let status = if (self.0.known)(hash) {
            StatusCode::OK
        } else {
            StatusCode::NOT_FOUND
        };
        (status, record(hash))
    }
}

fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns a record as large as a real one, different for each hash of 64 hex digits.
pub fn record(hash: &str) -> String {
    let digits = hash.to_ascii_uppercase();
    let (key, rest) = digits.split_at(26);
    let (account, _) = rest.split_at(26);
    format!(
        "{{\"key_id\":\"key_{key}\",\"status\":\"active\",\"account_id\":\"acct_{account}\",\
         \"environment\":\"production\",\"expires_at\":\"2999-01-01T00:00:00Z\",\
         \"endpoints\":[\"/v1/numerology/\"]}}"
    )
}
