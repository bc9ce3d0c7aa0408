//! Requests for upgrades: which ones open a WebSocket, and what happens to the others.

use anyhow::{Context, Result, ensure};
use keystile_e2e::client;
use keystile_e2e::recording_upstream::{ENTITLED, NAMED};
use serde_json::Value;
use tokio::net::TcpStream;

use super::Stage;
use super::upstream::{SOCKET, Socket};

trials! { Together:
    "streams: WebSockets need a key" => websockets_need_a_key,
    "streams: no request in a WebSocket that is none" => no_request_in_a_websocket,
}

/// A request for an upgrade. The default asks for the WebSocket of the upstream, without a key.
struct Upgrade<'a> {
    method: &'a str,
    path: &'a str,
    to: &'a str,
    /// Further header lines.
    lines: &'a [&'a str],
}

impl Default for Upgrade<'_> {
    fn default() -> Self {
        Self {
            method: "GET",
            path: SOCKET,
            to: "websocket",
            lines: &[],
        }
    }
}

impl Upgrade<'_> {
    fn head(&self) -> String {
        let Self {
            method,
            path,
            to,
            lines,
        } = self;
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: {to}\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        );
        for line in *lines {
            head.push_str(line);
            head.push_str("\r\n");
        }
        head + "\r\n"
    }
}

/// A WebSocket opens only with a key in a header, and only on the route for requests with a key. The
/// filter exempts no upgrade either, if an exempt path has no route of its own. Nothing else can be
/// upgraded to.
fn websockets_need_a_key() -> Result<()> {
    let without_a_route = ("[\"/healthz\"]", "[\"/healthz\", \"/status\"]");
    let stage = Stage::start(&[without_a_route])?;
    let created = stage.create()?;
    let key = &created.key;
    let bearer = format!("authorization: Bearer {key}");
    let bearer = &[bearer.as_str()][..];
    let preflight = &[
        "origin: https://app.example.com",
        "access-control-request-method: GET",
    ][..];
    let in_query = format!("{SOCKET}?access_token={key}&x-api-key={key}");
    let in_protocol = format!("sec-websocket-protocol: bearer, {key}");
    let in_cookie = format!("cookie: x-api-key={key}");
    let (in_protocol, in_cookie) = (&[&*in_protocol], &[&*in_cookie]);
    let with = |lines| Upgrade {
        lines,
        ..Upgrade::default()
    };
    let at = |method, path, lines| Upgrade {
        method,
        path,
        ..with(lines)
    };
    let other = Upgrade {
        to: "other",
        ..with(bearer)
    };
    // The error in the filter's reply, or none in Envoy's own.
    let rows = [
        (with(&[]), 401, Some("api_key_missing")),
        (with(&["x-api-key: aw_short"]), 401, Some("api_key_invalid")),
        (at("GET", &in_query, &[]), 401, Some("api_key_missing")),
        (with(in_protocol), 401, Some("api_key_missing")),
        (with(in_cookie), 401, Some("api_key_missing")),
        (at("GET", "/healthz", &[]), 403, None),
        (at("GET", "/healthz", bearer), 403, None),
        (at("GET", "/status", &[]), 401, Some("api_key_missing")),
        (at("OPTIONS", SOCKET, preflight), 403, None),
        (at("OPTIONS", SOCKET, bearer), 403, None),
        (at("CONNECT", "test:80", bearer), 404, None),
        (other, 403, None),
    ];
    for (upgrade, status, error) in rows {
        let head = upgrade.head();
        let answer = client::send(stage.to(), head.as_bytes())?.response();
        let answer = answer.with_context(|| head.clone())?;
        ensure!(answer.status == status, "{head}{answer:?}");
        let said = serde_json::from_slice::<Value>(&answer.body).ok();
        let said = said.as_ref().and_then(|body| body["error"].as_str());
        ensure!(said == error, "{head}{answer:?}");
    }
    let counts = stage.upstream.recorder.counts();
    ensure!(counts.arrived == 0, "{counts:?}");

    // Clients see that WebSockets over HTTP/2 are not to be had.
    stage.runtime.block_on(async {
        let stream = TcpStream::connect(stage.to()).await?;
        let (sender, connection) = h2::client::handshake(stream).await?;
        tokio::spawn(connection);
        let request = hyper::Request::get("http://test/v1/x").body(())?;
        let mut sender = sender.ready().await?;
        // The settings come before any answer.
        let answer = sender.send_request(request, true)?.0.await?;
        ensure!(answer.status() == 401, "{answer:?}");
        let offered = sender.is_extended_connect_protocol_enabled();
        ensure!(!offered, "WebSockets over HTTP/2 are offered");
        anyhow::Ok(())
    })?;

    // With the key, the same request opens one.
    let open = Socket::open(stage.to(), &created);
    let mut socket = stage.runtime.block_on(open)?;
    let echoed = stage.runtime.block_on(socket.echo("hello"))?;
    ensure!(echoed, "the WebSocket has ended");
    Ok(())
}

/// If the upstream ignores the upgrade, what the client has sent after it does not become the next
/// request on the upstream's connection: that one would have passed no filter.
fn no_request_in_a_websocket() -> Result<()> {
    let stage = Stage::start(&[])?;
    let key = stage.create()?;
    let lines = [
        format!("authorization: Bearer {}", key.key),
        format!("{ENTITLED}: {}", key.key_id),
    ];
    let upgrade = Upgrade {
        path: "/v1/x",
        lines: &lines.each_ref().map(String::as_str),
        ..Upgrade::default()
    };
    let mut bytes = upgrade.head();
    bytes.push_str(&client::head(
        "GET",
        "/v1/hidden",
        ["x-keystile-key-id: evil", &format!("{NAMED}: hidden")],
    ));
    let answer = client::send(stage.to(), bytes.as_bytes())?.response()?;
    ensure!(answer.status == 200, "{answer:?}");
    stage.runtime.block_on(stage.upstream.connection_ended())?;
    let recorder = &stage.upstream.recorder;
    ensure!(recorder.begun("hidden") == 0, "{:?}", recorder.counts());
    let counts = recorder.counts();
    ensure!(counts.arrived == 1 && counts.leaked == 0, "{counts:?}");
    Ok(())
}
