//! Upgrades and tunnels: WebSockets over HTTP/1 and HTTP/2, CONNECT, and `Expect: 100-continue`.

use std::convert::Infallible;
use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::header::{CONNECTION, UPGRADE};
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use keystile_e2e::counters::{Counters, End};
use keystile_e2e::envoy::{self, Listener, cluster};
use keystile_e2e::keys::{hash, made_up_key};
use keystile_e2e::recording_upstream::{ENTITLED, RecordingUpstream};
use keystile_e2e::scripted_auth::{Script, answer};
use keystile_e2e::serving::Serving;
use keystile_e2e::stack::Setup;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::held::Held;
use super::patient;
use super::wire::Wire;
use crate::range::{self, OnDemand, Range, Steady, key_id, plugin, unknown_key};

const LISTENER: &str = "tunnels";

/// How many frames are sent and echoed.
const FRAMES: usize = 50;

fn setup() -> Result<Setup> {
    Ok(Setup {
        upstreams: |runtime, recorder| {
            let serving = runtime.block_on(serve(recorder.clone()))?;
            Ok(vec![(
                patient(cluster("upstream", Some(serving.address))),
                serving,
            )])
        },
        edit: Box::new(|config| {
            let http = envoy::http_settings(config)?;
            http["upgrade_configs"] =
                json!([{"upgrade_type": "websocket"}, {"upgrade_type": "CONNECT"}]);
            http["http2_protocol_options"] = json!({"allow_connect": true});
            // A refused client need not send its body.
            http["proxy_100_continue"] = json!(true);
            let routes = http
                .pointer_mut("/route_config/virtual_hosts/0/routes")
                .and_then(Value::as_array_mut)
                .context("no routes")?;
            routes.push(json!({
                "match": {"connect_matcher": {}},
                "route": {
                    "cluster": "upstream",
                    "upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}],
                },
            }));
            Ok(())
        }),
        ..range::setup(vec![Listener::new(LISTENER, &plugin(&json!({})))])
    })
}

/// Serves an upstream that accepts every WebSocket upgrade and echoes the frames.
async fn serve(recorder: RecordingUpstream) -> Result<Serving> {
    Serving::new(move |stream| {
        let recorder = recorder.clone();
        async move {
            let mut first = [0; 4];
            // A CONNECT tunnel begins with the client's bytes.
            if let Ok(4) = stream.peek(&mut first).await
                && first == *b"ping"
            {
                let _ = echo_bytes(stream).await;
                return;
            }
            let service = service_fn(|request| accept(recorder.clone(), request));
            let server = hyper::server::conn::http1::Builder::new();
            // A client may disconnect at any time.
            let _ = server
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
                .await;
        }
    })
    .await
}

async fn echo_bytes(mut stream: TcpStream) -> Result<()> {
    let (mut read, mut write) = stream.split();
    tokio::io::copy(&mut read, &mut write).await?;
    Ok(())
}

async fn accept(
    recorder: RecordingUpstream,
    mut request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    recorder.arrived(&request.uri().to_string(), request.headers());
    for secret in ["x-api-key", "authorization"] {
        if request.headers().contains_key(secret) {
            return Ok(refused(StatusCode::IM_A_TEAPOT));
        }
    }
    if request.headers().get(UPGRADE).is_none() {
        let body = request.into_body().collect().await;
        let length = body.map_or(0, |body| body.to_bytes().len());
        return Ok(Response::new(Full::from(length.to_string())));
    }
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(echo(upgrade));
    let mut response = refused(StatusCode::SWITCHING_PROTOCOLS);
    for (name, value) in [(CONNECTION, "upgrade"), (UPGRADE, "websocket")] {
        let value = hyper::header::HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}

fn refused(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

async fn echo(upgrade: OnUpgrade) -> Result<()> {
    let mut socket = sockets(upgrade.await?, Role::Server).await;
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_text() || message.is_binary() {
            socket.send(message).await?;
        }
    }
    Ok(())
}

async fn sockets(upgraded: Upgraded, role: Role) -> WebSocketStream<TokioIo<Upgraded>> {
    WebSocketStream::from_raw_socket(TokioIo::new(upgraded), role, None).await
}

keystile_e2e::suite!(Together, trials);

fn trials() -> Vec<Trial> {
    let range = OnDemand::new(setup);
    vec![
        range.trial("client: WebSockets, HTTP/1", |range, name| {
            websockets(range, name, false)
        }),
        range.trial("client: WebSockets, HTTP/2", |range, name| {
            websockets(range, name, true)
        }),
        range.trial("client: WebSockets' early frames", early_frames),
        range.trial("client: CONNECT where a route takes it", connect),
        range.trial("client: 100-continue", expect_continue),
    ]
}

/// A kind of request, its headers, and the status and error that it gets.
type Outcome = (&'static str, Vec<(&'static str, String)>, u16, &'static str);

fn outcomes(range: &Range) -> Result<Vec<Outcome>> {
    let (active, revoked) = (made_up_key(), made_up_key());
    let id = key_id(&active)?;
    for (key, status) in [(&active, "active"), (&revoked, "revoked")] {
        let record = json!({"key_id": id, "status": status}).to_string();
        range
            .auth
            .script(&hash(key)?, Script::Answer(answer("200 OK", &record)));
    }
    let spoofed = ("x-keystile-key-id", id.clone());
    Ok(vec![
        (
            "opened, a known key",
            vec![("x-api-key", active), (ENTITLED, id)],
            101,
            "",
        ),
        (
            "opened, no key",
            vec![spoofed.clone()],
            401,
            "api_key_missing",
        ),
        (
            "opened, an unknown key",
            vec![("x-api-key", unknown_key()), spoofed.clone()],
            401,
            "api_key_not_found",
        ),
        (
            "opened, a revoked key",
            vec![("x-api-key", revoked), spoofed.clone()],
            401,
            "api_key_revoked",
        ),
        (
            "opened, a malformed key",
            vec![("authorization", "Bearer aw_short".to_owned()), spoofed],
            401,
            "api_key_invalid",
        ),
    ])
}

fn websockets(range: &Range, name: &str, http2: bool) -> Result<()> {
    range.case(name, Steady::on(LISTENER)?, |counters| {
        let to = range.envoy.listener(LISTENER)?;
        for (kind, headers, status, error) in outcomes(range)? {
            let mut problem = Ok(());
            let end = range.runtime.block_on(counters.watch(kind, async {
                let response = match http2 {
                    true => upgrade2(to, &headers).await?,
                    false => upgrade1(to, &headers).await?,
                };
                let (parts, body) = response.into_parts();
                if matches!(parts.status.as_u16(), 101) || (http2 && parts.status == 200) {
                    let upgrade = hyper::upgrade::on(Response::from_parts(parts, body)).await?;
                    let mut socket = sockets(upgrade, Role::Client).await;
                    for frame in 0..FRAMES {
                        let message = Message::text(format!("frame {frame}"));
                        socket.send(message.clone()).await?;
                        let back = socket.next().await.context("closed")??;
                        ensure!(back == message, "{back:?}, not {message:?}");
                    }
                    socket.close(None).await?;
                    return Ok(101);
                }
                let text = String::from_utf8_lossy(&body.collect().await?.to_bytes()).into_owned();
                if !text.contains(&format!("\"error\":\"{error}\"")) {
                    problem = Err(anyhow::anyhow!("{text}"));
                }
                anyhow::Ok(parts.status.as_u16())
            }));
            ensure!(end == End::Answered(status), "{kind}: {end}");
            problem.context(kind)?;
        }
        Ok(())
    })
}

/// Requests an upgrade to WebSockets and returns the answer.
async fn upgrade1(to: SocketAddr, headers: &[(&str, String)]) -> Result<Response<Incoming>> {
    let stream = TokioIo::new(TcpStream::connect(to).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    tokio::spawn(connection.with_upgrades());
    let mut request = Request::get("/v1/numerology/x")
        .header("host", "test")
        .header(CONNECTION, "upgrade")
        .header(UPGRADE, "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    Ok(sender
        .send_request(request.body(Empty::<Bytes>::new())?)
        .await?)
}

/// The same over HTTP/2 (RFC 8441).
async fn upgrade2(to: SocketAddr, headers: &[(&str, String)]) -> Result<Response<Incoming>> {
    let stream = TokioIo::new(TcpStream::connect(to).await?);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await?;
    tokio::spawn(connection);
    // After a first answer, Envoy's settings, which allow such requests, have arrived.
    let first = Request::get(format!("http://{to}/")).body(Empty::<Bytes>::new())?;
    sender.send_request(first).await?;
    let mut request = Request::connect(format!("http://{to}/v1/numerology/x"))
        .extension(Protocol::from_static("websocket"))
        .header("sec-websocket-version", "13");
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    Ok(sender
        .send_request(request.body(Empty::<Bytes>::new())?)
        .await?)
}

/// Frames that are sent before the verdict are echoed after it, or dropped if the key is refused.
fn early_frames(range: &Range, name: &str) -> Result<()> {
    range.case(name, Steady::on(LISTENER)?, |counters| {
        let to = range.envoy.listener(LISTENER)?;
        for (known, status) in [(true, 101), (false, 401)] {
            let held = if known {
                Held::known(range)?
            } else {
                Held::unknown(range)?
            };
            let lines = held.lines();
            let head = format!(
                "GET /v1/numerology/x HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\n\
                 upgrade: websocket\r\nsec-websocket-version: 13\r\n\
                 sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{lines}\r\n"
            );
            // Masked with zeros, as RFC 6455 allows.
            let frame = [&[0x81, 0x85, 0, 0, 0, 0], &b"hello"[..]].concat();
            let echoed = [&[0x81, 5], &b"hello"[..]].concat();
            let mut wire = range.runtime.block_on(Wire::with(to, head.as_bytes()))?;
            held.wait_for_lookup(range)?;
            range.runtime.block_on(async {
                for _ in 0..FRAMES {
                    wire.send(&frame).await?;
                }
                anyhow::Ok(())
            })?;
            ensure!(
                range.upstream.arrived_for(&held.id) == 0,
                "before its verdict"
            );
            held.tell();
            let mut frames = Vec::new();
            let end = range
                .runtime
                .block_on(counters.watch("early frames", async {
                    let response = wire.read.one().await?;
                    if response.status == 101 {
                        let (mut stream, mut bytes) = wire.read.into_parts();
                        while bytes.len() < FRAMES * echoed.len() {
                            if stream.read_buf(&mut bytes).await? == 0 {
                                bail!("closed");
                            }
                        }
                        frames = bytes;
                    }
                    anyhow::Ok(response.status)
                }));
            ensure!(end == End::Answered(status), "{end}");
            let expected = if known { FRAMES } else { 0 };
            ensure!(frames == echoed.repeat(expected), "{frames:?}");
            let arrived = range.upstream.arrived_for(&held.id);
            ensure!(
                arrived == u64::from(known),
                "{arrived} reached the upstream"
            );
        }
        Ok(())
    })
}

/// A tunnel is opened only for a known key. It has no path, so a key with endpoints gets none.
fn connect(range: &Range, name: &str) -> Result<()> {
    range.case(name, Steady::on(LISTENER)?, |counters| {
        let to = range.envoy.listener(LISTENER)?;
        for (kind, headers, status, _) in outcomes(range)? {
            let status = if status == 101 { 200 } else { status };
            let lines: String = headers
                .iter()
                .map(|(name, value)| format!("{name}: {value}\r\n"))
                .collect();
            tunnel(range, counters, to, kind, &lines, status).context(kind)?;
        }
        let held = Held::known(range)?;
        held.tell();
        let kind = "a key with endpoints";
        tunnel(range, counters, to, kind, &held.lines(), 403).context(kind)
    })
}

fn tunnel(
    range: &Range,
    counters: &Counters,
    to: SocketAddr,
    kind: &str,
    lines: &str,
    status: u16,
) -> Result<()> {
    let mut back = Vec::new();
    let end = range.runtime.block_on(counters.watch(kind, async {
        let head = format!("CONNECT test:80 HTTP/1.1\r\nhost: test:80\r\n{lines}\r\nping");
        let mut wire = Wire::with(to, head.as_bytes()).await?;
        let response = wire.read.one().await?;
        if response.status == 200 {
            let (mut stream, mut bytes) = wire.read.into_parts();
            while bytes.len() < 4 {
                if stream.read_buf(&mut bytes).await? == 0 {
                    bail!("closed");
                }
            }
            back = bytes;
            wire.write.shutdown().await?;
        }
        anyhow::Ok(response.status)
    }));
    ensure!(end == End::Answered(status), "{end}");
    let expected: &[u8] = if status == 200 { b"ping" } else { b"" };
    ensure!(back == expected, "{back:?}");
    Ok(())
}

/// If the upstream sends `100 Continue`, only allowed clients are told to go on.
fn expect_continue(range: &Range, name: &str) -> Result<()> {
    range.case(name, Steady::on(LISTENER)?, |counters| {
        let to = range.envoy.listener(LISTENER)?;
        for (known, statuses) in [(true, &[100, 200][..]), (false, &[401])] {
            let held = if known {
                Held::known(range)?
            } else {
                Held::unknown(range)?
            };
            let head = format!(
                "POST /v1/numerology/x HTTP/1.1\r\nhost: test\r\n{}content-length: 5\r\n\
                 expect: 100-continue\r\n\r\n",
                held.lines()
            );
            let mut wire = range.runtime.block_on(Wire::with(to, head.as_bytes()))?;
            held.wait_for_lookup(range)?;
            held.tell();
            let mut seen = Vec::new();
            let end = range
                .runtime
                .block_on(counters.watch("100-continue", async {
                    loop {
                        let response = wire.read.one().await?;
                        seen.push(response.status);
                        if response.status != 100 {
                            if response.status == 200 {
                                ensure!(response.body == b"5", "{response:?}");
                            }
                            return Ok(response.status);
                        }
                        wire.send(b"hello").await?;
                    }
                }));
            ensure!(seen == statuses, "{seen:?}, {end}");
        }
        Ok(())
    })
}
