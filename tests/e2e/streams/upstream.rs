//! An HTTP/1.1 upstream with streams, and clients for them.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HeaderValue, UPGRADE};
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use keystile_e2e::recording_upstream::{ENTITLED, RecordingUpstream};
use keystile_e2e::registry::Created;
use keystile_e2e::serving::Serving;
use tokio::net::TcpStream;
use tokio::sync::{broadcast, watch};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// Sends what [`Upstream::send`] is given, as server-sent events.
pub(super) const EVENTS: &str = "/v1/events";

/// Echoes what is sent on its WebSockets.
pub(super) const SOCKET: &str = "/v1/socket";

/// Never answers.
pub(super) const NEVER: &str = "/v1/never";

/// How long a client waits for the next event or message.
const DEADLINE: Duration = Duration::from_secs(20);

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The upstream. It ignores upgrades on all paths but [`SOCKET`]. Clones share everything.
#[derive(Clone)]
pub(super) struct Upstream {
    /// What arrived.
    pub(super) recorder: RecordingUpstream,
    events: broadcast::Sender<Bytes>,
    /// How many connections have ended.
    ended: Arc<watch::Sender<usize>>,
}

impl Upstream {
    pub(super) fn new() -> Self {
        Self {
            recorder: RecordingUpstream::default(),
            events: broadcast::Sender::new(16),
            ended: Arc::default(),
        }
    }

    pub(super) async fn serve(&self) -> Result<Serving> {
        let upstream = self.clone();
        Serving::new(move |stream| {
            let upstream = upstream.clone();
            async move {
                let service = service_fn(|request| upstream.answer(request));
                let server = hyper::server::conn::http1::Builder::new();
                // Envoy may close the connection at any time.
                let _ = server
                    .serve_connection(TokioIo::new(stream), service)
                    .with_upgrades()
                    .await;
                upstream.ended.send_modify(|ended| *ended += 1);
            }
        })
        .await
    }

    /// Sends an event to every client of [`EVENTS`].
    pub(super) fn send(&self, event: &str) -> Result<()> {
        let event = Bytes::from(format!("data: {event}\n\n"));
        self.events.send(event).context("nobody listens")?;
        Ok(())
    }

    /// Waits until a connection has ended, and with it everything that was sent on it.
    pub(super) async fn connection_ended(&self) -> Result<()> {
        let mut ended = self.ended.subscribe();
        let ended = ended.wait_for(|ended| *ended > 0);
        timeout(DEADLINE, ended).await.context("still open")??;
        Ok(())
    }

    async fn answer(&self, mut request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let path = request.uri().path().to_owned();
        self.recorder.arrived(&path, request.headers());
        let websocket_key = request.headers().get("sec-websocket-key");
        let accepts = websocket_key.map(|key| derive_accept_key(key.as_bytes()));
        Ok(match (&*path, accepts) {
            (EVENTS, _) => {
                let events = stream::unfold(self.events.subscribe(), |mut events| async move {
                    let event = events.recv().await.ok()?;
                    Some((Ok(Frame::data(event)), events))
                });
                let body = StreamBody::new(events).boxed_unsync();
                with_headers(body, StatusCode::OK, &[(CONTENT_TYPE, "text/event-stream")])
            }
            (SOCKET, Some(accept)) => {
                tokio::spawn(echo(hyper::upgrade::on(&mut request)));
                let headers = [
                    (CONNECTION, "upgrade"),
                    (UPGRADE, "websocket"),
                    (hyper::header::SEC_WEBSOCKET_ACCEPT, &*accept),
                ];
                let body = Empty::new().boxed_unsync();
                with_headers(body, StatusCode::SWITCHING_PROTOCOLS, &headers)
            }
            (NEVER, _) => std::future::pending().await,
            _ => Response::new(Full::from("ok").boxed_unsync()),
        })
    }
}

fn with_headers(
    body: Body,
    status: StatusCode,
    headers: &[(hyper::header::HeaderName, &str)],
) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

async fn echo(upgrade: OnUpgrade) -> Result<()> {
    let upgraded = TokioIo::new(upgrade.await?);
    let mut socket = WebSocketStream::from_raw_socket(upgraded, Role::Server, None).await;
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_text() {
            socket.send(message).await?;
        }
    }
    Ok(())
}

/// A client's stream of events.
pub(super) struct Events(Incoming);

impl Events {
    pub(super) async fn open(to: SocketAddr, key: &Created) -> Result<Self> {
        let response = get(to, EVENTS, key).await?;
        ensure!(response.status() == 200, "{response:?}");
        Ok(Self(response.into_body()))
    }

    /// Returns the next event, without its field name, or `None` if the stream has ended.
    pub(super) async fn next(&mut self) -> Result<Option<String>> {
        let mut text = String::new();
        while !text.ends_with("\n\n") {
            let frame = timeout(DEADLINE, self.0.frame()).await;
            let Some(Ok(frame)) = frame.context("no event in time")? else {
                return Ok(None);
            };
            let data = frame.into_data().ok().context("trailers")?;
            text.push_str(std::str::from_utf8(&data)?);
        }
        let event = text.strip_prefix("data: ").context("not an event")?;
        Ok(Some(event.trim_end().to_owned()))
    }
}

/// Sends a `GET` with a key, and returns the response when its headers have arrived.
pub(super) async fn get(to: SocketAddr, path: &str, key: &Created) -> Result<Response<Incoming>> {
    let stream = TokioIo::new(TcpStream::connect(to).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    tokio::spawn(connection);
    let request = Request::get(path)
        .header("host", "test")
        .header(AUTHORIZATION, format!("Bearer {}", key.key))
        .header(ENTITLED, &key.key_id)
        .body(Empty::<Bytes>::new())?;
    let response = timeout(DEADLINE, sender.send_request(request)).await;
    Ok(response.context("no answer in time")??)
}

/// A client's WebSocket.
pub(super) struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    pub(super) async fn open(to: SocketAddr, key: &Created) -> Result<Self> {
        let mut request = format!("ws://{to}{SOCKET}").into_client_request()?;
        let bearer = format!("Bearer {}", key.key);
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&bearer)?);
        headers.insert(ENTITLED, HeaderValue::from_str(&key.key_id)?);
        let stream = TcpStream::connect(to).await?;
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await?;
        Ok(Self(socket))
    }

    /// Sends a message and waits for its echo. Returns false if the WebSocket has ended.
    pub(super) async fn echo(&mut self, text: &str) -> Result<bool> {
        // If it has ended, so will the wait.
        let _ = self.0.send(Message::text(text)).await;
        let back = self.next().await?;
        ensure!(
            back.as_deref().is_none_or(|back| back == text),
            "{back:?}, not {text:?}"
        );
        Ok(back.is_some())
    }

    /// Returns the next message, or `None` if the WebSocket has ended.
    pub(super) async fn next(&mut self) -> Result<Option<String>> {
        let message = timeout(DEADLINE, self.0.next()).await;
        match message.context("no message in time")? {
            Some(Ok(message)) if message.is_text() => Ok(Some(message.into_text()?.to_string())),
            _ => Ok(None),
        }
    }
}
