//! The auth server that all variants with a callout ask: by the lookup protocol, as the HTTP
//! service of `ext_authz`, and as its gRPC service. It accepts every key, and takes as little time
//! as it can, because it is not what is measured.

use std::sync::atomic::{AtomicU64, Ordering};

use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Request, Response, StatusCode};
use keystile_e2e::rule_auth;
use tonic::body::Body;

use super::check;

/// The path that returns the number of requests to all other paths.
pub(super) const COUNT: &str = "/count";

/// The identity headers for the upstream, the same for every key.
pub(super) const IDENTITY: [(&str, &str); 2] = [
    ("x-keystile-key-id", "key_01J9ZQ4M7T5V8W2X3Y6Z0A1B2C"),
    ("x-keystile-account-id", "acct_01J9ZQ4M7T5V8W2X3Y6Z0A1B2"),
];

/// Answers a request.
pub(super) async fn answer(request: Request<Incoming>) -> Response<Body> {
    static COUNTED: AtomicU64 = AtomicU64::new(0);
    let path = request.uri().path();
    if path == COUNT {
        let count = COUNTED.load(Ordering::Relaxed).to_string();
        return Response::new(Body::new(Full::from(count)));
    }
    COUNTED.fetch_add(1, Ordering::Relaxed);
    if let Some(hash) = path.strip_prefix("/v1/key-hashes/")
        && hash.len() == 64
        && hash.is_ascii()
    {
        let mut response = Response::new(Body::new(Full::from(rule_auth::record(hash))));
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        response
    } else if path.starts_with("/authz") {
        authz(request.headers())
    } else if path == check::PATH {
        check::answer(request).await
    } else {
        status(StatusCode::NOT_FOUND)
    }
}

/// Returns true if `ext_authz` accepts the credential. Deliberately without a lookup, because only
/// Envoy's part is measured.
pub(super) fn is_good(credential: Option<&[u8]>) -> bool {
    credential.is_some_and(|credential| credential.starts_with(b"Bearer aw_"))
}

fn authz(headers: &HeaderMap) -> Response<Body> {
    if !is_good(headers.get(AUTHORIZATION).map(HeaderValue::as_bytes)) {
        return status(StatusCode::UNAUTHORIZED);
    }
    let mut response = status(StatusCode::OK);
    for (name, value) in IDENTITY {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    // `ext_authz` consumes this header itself.
    let removed = HeaderValue::from_static("authorization");
    let name = "x-envoy-auth-headers-to-remove";
    response.headers_mut().insert(name, removed);
    response
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
