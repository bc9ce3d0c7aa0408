//! The limits by address of `envoy/gateway.yaml`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use keystile_e2e::client::{self, Response};
use keystile_e2e::envoy::{Launch, http_settings};
use keystile_e2e::gateway;
use keystile_e2e::keys::made_up_key;
use keystile_e2e::recording_upstream::RecordingUpstream;
use keystile_e2e::shipped::{self, FREE, Ports, Stack};
use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio::runtime::Runtime;

trials! { Alone:
    "limits by address: each has its own" => each_has_its_own,
    "limits by address: made-up keys" => made_up_keys,
}

/// More requests than an address may send in the time that they take.
const REQUESTS: usize = 2_000;

/// An address that sends too many requests is limited, and another is not.
fn each_has_its_own() -> Result<()> {
    let runtime = Runtime::new()?;
    let folder = tempfile::tempdir()?;
    let config = gateway::config_on(FREE)?;
    let envoy = Launch::all_processors().start(config, folder.path())?;
    let to = envoy.listener("api")?;

    let greedy = runtime.block_on(statuses(to, 2, REQUESTS))?;
    let limited = greedy.iter().filter(|status| **status == 429).count();
    let passed = greedy.iter().filter(|status| **status == 401).count();
    ensure!(
        passed >= BURST && limited > 0 && passed + limited == REQUESTS,
        "{passed} passed and {limited} were limited"
    );
    let other = runtime.block_on(statuses(to, 3, 100))?;
    ensure!(
        other.iter().all(|status| *status == 401),
        "another address is limited, too"
    );
    println!("{passed} of {REQUESTS} requests of one address passed, and all of another");
    Ok(())
}

/// Returns the statuses of requests without a key from 127.0.0.`from`.
async fn statuses(to: SocketAddr, from: u8, requests: usize) -> Result<Vec<u16>> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(
        IpAddr::V4(Ipv4Addr::new(127, 0, 0, from)),
        0,
    ))?;
    let stream = TokioIo::new(socket.connect(to).await?);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await?;
    tokio::spawn(connection);
    let mut statuses = Vec::new();
    for _ in 0..requests {
        let request =
            hyper::Request::get(format!("http://{to}/v1/x")).body(Empty::<Bytes>::new())?;
        let response = sender.send_request(request).await?;
        statuses.push(response.status().as_u16());
        response.into_body().collect().await?;
    }
    Ok(statuses)
}

/// How many requests an address may send at once.
const BURST: usize = 200;

/// Behind a load balancer, an address that sends made-up keys causes lookups only up to its limit. IPv6
/// addresses of a /64 share a limit. Other addresses get in, and the reply is one that clients can read.
fn made_up_keys() -> Result<()> {
    let runtime = Runtime::new()?;
    let folder = tempfile::tempdir()?;
    let upstream = runtime.block_on(RecordingUpstream::echoing().serve())?;
    let database = folder.path().join("keystile.db");
    let stack = Stack::with(behind_a_balancer, upstream.address, FREE, &database, false)?;
    let active = stack.keys()?.active.key;
    let get = |address: &str, key: &str| {
        let lines = [
            format!("x-forwarded-for: {address}"),
            format!("x-api-key: {key}"),
        ];
        client::get(stack.listener, "/v1/x", lines.iter().map(String::as_str))
    };
    let lookups = || stack.envoy.counter("cluster.auth.upstream_rq_total");

    let neighbours = [
        ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("2001:db8:1:1::1", "2001:db8:1:1:ffff::2", "2001:db8:1:2::1"),
    ];
    for (greedy, same, other) in neighbours {
        for _ in 0..BURST {
            let reply = get(greedy, &made_up_key())?;
            ensure!(reply.status == 401, "{greedy}: {reply:?}");
        }
        let before = lookups()?;
        for _ in 0..50 {
            let reply = get(same, &made_up_key())?;
            is_limited(&reply).with_context(|| format!("{same}: {reply:?}"))?;
        }
        let after = lookups()?;
        ensure!(before == after, "{same}: {before} lookups, then {after}");
        let grpc = [
            "content-type: application/grpc",
            &format!("x-forwarded-for: {same}"),
        ];
        let reply = client::get(stack.listener, "/v1/x", grpc)?;
        let status = reply.header("grpc-status")?;
        let message = reply.header("grpc-message")?;
        ensure!(
            (status, message) == (Some("8"), Some("local_rate_limited")),
            "gRPC: {reply:?}"
        );
        let reply = get(other, &active)?;
        ensure!(reply.status == 200, "{other}: {reply:?}");
    }
    stack.envoy.no_vm_died()
}

/// Returns `envoy/gateway.yaml` as its users change it behind a load balancer, with limits that are not
/// refilled while the test runs.
fn behind_a_balancer(ports: Ports) -> Result<Value> {
    let mut config: Value = serde_saphyr::from_str(&gateway::config_on(ports)?)?;
    let http = http_settings(&mut config)?;
    http["xff_num_trusted_hops"] = json!(1);
    gateway::tokens_in(http)?["fill_interval"] = json!("3600s");
    shipped::with_patience(http)?;
    Ok(config)
}

/// Checks that a reply of `limits-by-address` has the fields of Keystile's own, and their headers.
fn is_limited(reply: &Response) -> Result<()> {
    ensure!(reply.status == 429, "not limited");
    let body: Value = serde_json::from_slice(&reply.body)?;
    let id = body["request_id"].as_str().context("no request_id")?;
    let time = body["timestamp"].as_str().context("no timestamp")?;
    let expected = json!({
        "success": false, "error": "rate_limited", "message": body["message"], "details": [],
        "retry_after": 1, "doc_url": null, "request_id": id, "timestamp": time,
    });
    ensure!(body == expected, "other fields");
    let headers = [
        ("content-type", "application/json"),
        ("retry-after", "1"),
        ("x-request-id", id),
    ];
    for (name, value) in headers {
        ensure!(reply.header(name)? == Some(value), "{name} is not {value}");
    }
    Ok(())
}
