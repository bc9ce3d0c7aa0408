//! An upstream that answers each request with what it received, and records it.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The received requests, each as the JSON value that was also the response.
#[derive(Clone, Default)]
pub struct Received(Arc<Mutex<Vec<Value>>>);

impl Received {
    /// Returns all requests with this header value.
    pub fn with(&self, header: &str, value: &str) -> Vec<Value> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter()
            .filter(|request| values(request, header).any(|other| other == value))
            .cloned()
            .collect()
    }

    /// Returns all requests as text.
    pub fn text(&self) -> String {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|request| format!("{request}\n")).collect()
    }

    fn add(&self, request: Value) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(request);
    }
}

/// Returns the values of a header in a request that the upstream received.
pub fn values<'a>(request: &'a Value, header: &str) -> impl Iterator<Item = &'a str> {
    let headers = request["headers"].as_array().into_iter().flatten();
    headers
        .filter(move |pair| pair[0] == header)
        .filter_map(|pair| pair[1].as_str())
}

/// Serves HTTP/1.1 and HTTP/2 until `stop` is ready. Returns the address at once.
///
/// # Errors
/// When the listener has no address.
pub fn serve(
    listener: TcpListener,
    received: Received,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<SocketAddr> {
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        tokio::pin!(stop);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = &mut stop => return,
            };
            let Ok((stream, _)) = accepted else {
                continue;
            };
            let received = received.clone();
            tokio::spawn(async move {
                let service = service_fn(|request| echo(request, received.clone()));
                let server = auto::Builder::new(TokioExecutor::new());
                // The client may leave midway.
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Ok(address)
}

async fn echo(
    request: Request<Incoming>,
    received: Received,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let (body, trailers, whole) = match body.collect().await {
        Ok(body) => {
            let trailers = body.trailers().map(pairs).unwrap_or_default();
            (body.to_bytes(), trailers, true)
        }
        Err(_) => (Bytes::new(), Vec::new(), false),
    };
    let echo = json!({
        "method": head.method.as_str(),
        "path": head.uri.path_and_query().map_or("", |path| path.as_str()),
        "headers": pairs(&head.headers),
        "body": String::from_utf8_lossy(&body),
        "trailers": trailers,
        "whole": whole,
    });
    received.add(echo.clone());
    let mut response = Response::new(Full::from(format!("{echo}\n")));
    let json = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert("content-type", json);
    Ok(response)
}

/// Returns names and values in order. A value that is not ASCII is read as Latin-1.
fn pairs(headers: &HeaderMap) -> Vec<Value> {
    headers
        .iter()
        .map(|(name, value)| {
            let value = match value.to_str() {
                Ok(text) => text.to_owned(),
                Err(_) => value.as_bytes().iter().copied().map(char::from).collect(),
            };
            json!([name.as_str(), value])
        })
        .collect()
}
