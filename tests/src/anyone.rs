//! An auth cluster for many keys: it knows keys by a rule, and only counts who was asked about.

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

/// The auth cluster, and its count.
#[derive(Clone)]
pub struct Anyone(Arc<Shared>);

struct Shared {
    known: fn(&str) -> bool,
    lookups: AtomicUsize,
}

impl Anyone {
    /// Knows an active key for each hash of which `known` says so, and answers 404 to the others.
    pub fn new(known: fn(&str) -> bool) -> Self {
        Self(Arc::new(Shared {
            known,
            lookups: AtomicUsize::new(0),
        }))
    }

    /// How many lookups arrived so far.
    pub fn lookups(&self) -> usize {
        self.0.lookups.load(Ordering::Relaxed)
    }

    /// Serves `GET /v1/key-hashes/{hash}` on a free port, over HTTP/1.1 and HTTP/2. Anything
    /// else gets a 400, which is no verdict.
    ///
    /// # Errors
    /// When there is no port to listen on.
    pub async fn serve(&self) -> Result<Serving> {
        let anyone = self.clone();
        Serving::new(move |stream| {
            let anyone = anyone.clone();
            async move { anyone.converse(stream).await }
        })
        .await
    }

    /// Serves one connection to its end.
    pub(crate) async fn converse(&self, stream: TcpStream) {
        // Answers are small and wait for nothing.
        let _ = stream.set_nodelay(true);
        let service = service_fn(|request| {
            let answer = self.answer(&request);
            async move { Ok::<_, Infallible>(answer) }
        });
        let server = auto::Builder::new(TokioExecutor::new());
        // A proxy that leaves midway is no news.
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
        // A body for all, so that all answers take as long.
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

/// A record of the size of a real one, another for each hash of 64 hex digits.
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
