//! Refusals in gRPC-Web and Connect, as their clients see them: without Envoy's filters for these
//! protocols, and with them in front of Keystile and behind it.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use base64ct::{Base64, Encoding};
use bytes::Bytes;
use http_body_util::Full;
use keystile::decision::denial::Denial;
use keystile::decision::reply::ReplyRules;
use keystile_e2e::client::{self, Response};
use keystile_e2e::envoy::{self, Listener};
use keystile_e2e::keys::{hash, made_up_key};
use keystile_e2e::scripted_auth::{Script, answer};
use keystile_e2e::stack::{Setup, Stack};
use serde_json::{Value, json};

use crate::table::{Reply, check_headers};

mod connect;
mod grpc_web;

trials! { Together:
    "rpc: gRPC-Web, tonic's client" => grpc_web::tonic,
    "rpc: gRPC-Web, Connect's client" => connect::grpc_web,
    "rpc: gRPC-Web, bytes" => grpc_web::bytes,
    "rpc: Connect, unary" => connect::unary,
    "rpc: Connect, streams" => connect::streams,
    "rpc: Connect, bytes" => connect::bytes,
}

const GRPC_WEB: [&str; 3] = ["plain", "grpc_web first", "grpc_web last"];
const CONNECT: [&str; 3] = ["plain", "bridge first", "bridge last"];

const PATH: &str = "/s.S/Call";

/// Starts a stack with these listeners.
fn start(listeners: &[&'static str]) -> Result<Stack> {
    let plugin = json!({"lookup": {"cluster": "auth", "timeout": "10s"}});
    let listeners = listeners.iter().map(|name| Listener::new(name, &plugin));
    Stack::start(Setup {
        edit: Box::new(|config| {
            for (name, http) in envoy::each_http_settings(config) {
                let Some((filter, place)) = name.split_once(' ') else {
                    continue;
                };
                let filter = match filter {
                    "grpc_web" => json!({
                        "name": "envoy.filters.http.grpc_web",
                        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.grpc_web.v3.GrpcWeb"},
                    }),
                    _ => json!({
                        "name": "envoy.filters.http.connect_grpc_bridge",
                        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.connect_grpc_bridge.v3.FilterConfig"},
                    }),
                };
                let filters = http["http_filters"].as_array_mut().context("no filters")?;
                filters.insert(usize::from(place == "last"), filter);
            }
            Ok(())
        }),
        ..Setup::new(listeners.collect())
    })
}

/// A call that is refused, and how.
struct Refused {
    denial: Denial,
    key: Option<String>,
    message: String,
}

/// Returns a call for each status of gRPC. Those with a well-formed key are refused after a lookup.
fn refused(stack: &Stack) -> Result<Vec<Refused>> {
    let rows = [
        (Denial::Missing, None),
        (Denial::Invalid, Some(None)),
        (Denial::NotFound, Some(Some(answer("404 Not Found", "")))),
        (
            Denial::EndpointRestricted,
            Some(Some(answer(
                "200 OK",
                r#"{"key_id":"key_1","status":"active","endpoints":[]}"#,
            ))),
        ),
        (Denial::Internal, Some(Some(answer("500 Oops", "")))),
    ];
    let messages = ReplyRules::default().messages;
    let rows = rows.into_iter().map(|(denial, key)| {
        let key = match key {
            None => None,
            Some(None) => Some("aw_short".to_owned()),
            Some(Some(bytes)) => {
                let key = made_up_key();
                stack.auth.script(&hash(&key)?, Script::Answer(bytes));
                Some(key)
            }
        };
        Ok(Refused {
            denial,
            key,
            message: messages.of(denial).to_owned(),
        })
    });
    rows.collect()
}

/// Calls each listener with each refused key, and checks the refusal.
fn each(
    listeners: &[&'static str],
    mut check: impl FnMut(&Stack, SocketAddr, &Refused) -> Result<()>,
) -> Result<()> {
    let stack = start(listeners)?;
    for refused in refused(&stack)? {
        for listener in listeners {
            let to = stack.envoy.listener(listener)?;
            check(&stack, to, &refused)
                .with_context(|| format!("{listener}: {:?}", refused.denial))?;
        }
    }
    let arrived = stack.upstream.text();
    ensure!(arrived.is_empty(), "{arrived}");
    stack.envoy.no_vm_died()
}

/// Sends a call with these headers over HTTP/2.
fn call(
    stack: &Stack,
    to: SocketAddr,
    refused: &Refused,
    headers: &[(&str, &str)],
) -> Result<Response> {
    let mut request = hyper::Request::post(format!("http://test{PATH}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(key) = &refused.key {
        request = request.header("x-api-key", key);
    }
    // Envoy refuses a body that is not base64 where the content type promises it.
    let request = request.body(Full::new(Bytes::from_static(b"AAAAAAA=")))?;
    let response = stack.runtime.block_on(client::http2(to, request))?;
    check_headers(&response, &Reply::of(refused.denial.code())?)?;
    Ok(response)
}

/// Returns the flags and the message of the only frame in a body.
fn unframed(body: &[u8]) -> Result<(u8, String)> {
    let (head, message) = body.split_at_checked(5).context("no frame")?;
    let length = u32::from_be_bytes(head[1..].try_into()?);
    ensure!(usize::try_from(length)? == message.len(), "{body:?}");
    Ok((head[0], String::from_utf8(message.to_vec())?))
}
