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
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;

use crate::serving::Serving;

/// The auth server with its lookup counter. Clones share both.
#[derive(Clone)]
pub struct RuleAuth(Arc<Shared>);

struct Shared {
    known: fn(&str) -> bool,
    lookups: AtomicUsize,
}

impl RuleAuth {
    /// Creates a server that knows an active key for each hash that `known` accepts, and no other.
    pub fn new(known: fn(&str) -> bool) -> Self {
        Self(Arc::new(Shared {
            known,
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
            let answer = self.answer(&request);
            async move { Ok::<_, Infallible>(answer) }
        });
        let server = auto::Builder::new(TokioExecutor::new());
        // The proxy may leave midway.
        let _ = server.serve_connection(TokioIo::new(stream), service).await;
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::default());
        let hash = request.uri().path().strip_prefix("/v1/key-hashes/");
        let hash = hash.filter(|hash| is_hash(hash) && request.method() == Method::GET);
        let Some(hash) = hash else {
            *response.status_mut() = StatusCode::BAD_REQUEST;
            return response;
        };
        self.0.lookups.fetch_add(1, Ordering::Relaxed);
        // Both answers have a body, so that they take equally long.
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        *response.body_mut() = Full::from(record(hash));
        if !(self.0.known)(hash) {
            *response.status_mut() = StatusCode::NOT_FOUND;
        }
        response
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
