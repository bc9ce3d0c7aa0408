//! One connection, from its TLS handshake to its end.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::future::RouteFuture;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use pin_project_lite::pin_project;
use tokio::net::TcpStream;
use tokio_util::either::Either;
use tower::Service;
use tracing::debug;

use super::activity::{Activity, Order};
use super::connections::Place;
use super::counters::Reason;
use super::exchange::Exchange;
use super::io::Watched;
use super::limits::Limits;
use super::response::Tracked;
use super::tls::Tls;

/// The largest headers of a request, in bytes, as HTTP/2 counts them.
const LARGEST_HEAD: u32 = 16 * 1024;

/// The most bytes that an HTTP/1 connection reads ahead of a request's handler, including the head,
/// and about the most that it buffers for the socket.
const BUFFER: usize = 32 * 1024;

/// The same for an HTTP/2 connection, and for each of its streams. Lookups have no bodies.
const WINDOW: u32 = 64 * 1024;

/// The routes, TLS and limits for the connections of a listener.
#[derive(Debug)]
pub(super) struct Serving {
    pub(super) routes: Router,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) limits: Limits,
}

impl Serving {
    fn http(&self, activity: &Arc<Activity>) -> auto::Builder<Executor> {
        let limits = &self.limits;
        let mut http = auto::Builder::new(Executor(Arc::clone(activity)));
        // The watchdog enforces the time limits. hyper's limit for a request's head would close
        // idle connections.
        http.http1().header_read_timeout(None).max_buf_size(BUFFER);
        http.http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(limits.ping)
            .keep_alive_timeout(limits.pong)
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(LARGEST_HEAD)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_send_buf_size(WINDOW as usize);
        http
    }

    /// Serves a connection until it ends, or its [`Activity`] is told to close.
    pub(super) async fn serve(&self, stream: TcpStream, peer: SocketAddr, place: Place) {
        let activity = &place.activity;
        let stream = match &self.tls {
            None => Either::Left(stream),
            Some(tls) => {
                activity.handshake_begins();
                let accepted = tokio::select! {
                    accepted = tls.acceptor().accept(stream) => accepted,
                    // No request is in progress yet, so any order ends the connection.
                    _ = activity.next_order() => return,
                };
                match accepted {
                    Ok(stream) => Either::Right(stream),
                    Err(cause) => {
                        debug!(%cause, "a TLS handshake failed");
                        place.connections.closed(Reason::Tls);
                        return;
                    }
                }
            }
        };
        activity.handshake_ends();
        let io = TokioIo::new(Watched::new(stream, Arc::clone(activity)));
        let service = service_fn(|request| self.exchange(activity, peer, request));
        let http = self.http(activity);
        let mut connection = pin!(http.serve_connection(io, service));
        loop {
            tokio::select! {
                biased;
                end = connection.as_mut() => {
                    if let Err(cause) = end
                        && let Some(reason) = reason(&*cause)
                    {
                        place.connections.closed(reason);
                    }
                    return;
                }
                order = activity.next_order() => match order {
                    Order::Serve => {}
                    Order::Drain => connection.as_mut().graceful_shutdown(),
                    Order::Close => return,
                }
            }
        }
    }

    fn exchange(
        &self,
        activity: &Arc<Activity>,
        peer: SocketAddr,
        mut request: Request<Incoming>,
    ) -> Answering {
        let http2 = request.version() == Version::HTTP_2;
        let exchange = Exchange::begin(activity, http2);
        request.extensions_mut().insert(ConnectInfo(peer));
        Answering {
            response: self.routes.clone().call(request),
            exchange: Some(exchange),
        }
    }
}

pin_project! {
    /// A request that is being answered. An `async` block would be twice as large, and would be moved.
    struct Answering {
        #[pin]
        response: RouteFuture<Infallible>,
        exchange: Option<Exchange>,
    }
}

impl Future for Answering {
    type Output = Result<Response<Tracked>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(response) = ready!(this.response.poll(cx));
        // A finished future is not polled again.
        let exchange = this.exchange.take();
        Poll::Ready(Ok(Tracked::of(response, exchange)))
    }
}

/// Runs the requests of an HTTP/2 connection. If there is no memory for a request, it is dropped,
/// which resets its stream.
#[derive(Clone, Debug)]
struct Executor(Arc<Activity>);

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, request: F) {
        if self.0.may_go_on() {
            tokio::spawn(request);
        }
    }
}

/// Returns why a connection failed, if the protocol was the cause. Clients that are gone are not
/// counted.
fn reason(cause: &(dyn Error + 'static)) -> Option<Reason> {
    let cause = cause.downcast_ref::<hyper::Error>()?;
    if cause.is_timeout() {
        return Some(Reason::Ping);
    }
    if cause.is_parse() {
        return Some(Reason::Malformed);
    }
    let of_http2 = cause.source()?.downcast_ref::<h2::Error>()?;
    of_http2.is_library().then_some(Reason::Malformed)
}
