//! What clients may do: leave, say nothing, say too much, or speak any protocol in any way.

mod bodies;
mod downgraded;
mod frames;
mod grpc;
mod held;
mod http3;
mod leaving;
mod messages;
mod slow;
mod streams;
mod trailers;
mod tunnels;
mod wire;

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use h2::RecvStream;
use h2::client::{ResponseFuture, SendRequest};
use keystile_e2e::envoy::{Listener, cluster};
use keystile_e2e::shipped;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::range::{OnDemand, PATH, Setup, plugin, uncached};

/// The listener whose verdicts are kept for no time.
const LISTENER: &str = "uncached";

/// The same, where Envoy would hand over bodies while their headers wait.
const STREAMED: &str = "streamed";

fn setup() -> Result<Setup> {
    let plugin = plugin(&json!({"cache": uncached()}));
    let streamed = Listener {
        allow_on_headers_stop_iteration: true,
        ..Listener::new(STREAMED, &plugin)
    };
    Ok(Setup::new(vec![Listener::new(LISTENER, &plugin), streamed]))
}

/// The listener of `envoy/envoy.yaml`, before its upstream: the settings that operators begin with.
const SHIPPED: &str = "shipped";

fn shipped_setup() -> Result<Setup> {
    Ok(Setup {
        edit: Box::new(|config| {
            let mut listener = shipped::listener(SHIPPED, &plugin(&json!({})))?;
            // Floods would fill the disk.
            let http = listener.pointer_mut("/filter_chains/0/filters/0/typed_config");
            http.context("no settings of HTTP")?["access_log"] = json!([]);
            config["static_resources"]["listeners"] = json!([listener]);
            let clusters = config.pointer_mut("/static_resources/clusters");
            let clusters = clusters.and_then(Value::as_array_mut);
            let mut clusters = clusters.into_iter().flatten();
            let auth = clusters.find(|cluster| cluster["name"] == "auth");
            auth.context("no cluster auth")?["circuit_breakers"] = shipped::auth_limits()?;
            Ok(())
        }),
        upstreams: |runtime, gate| {
            let serving = runtime.block_on(gate.serve())?;
            Ok(vec![(
                patient(shipped::upstream(serving.address)?),
                serving,
            )])
        },
        ..Setup::new(Vec::new())
    })
}

/// A listener before an upstream of HTTP/1.
const HTTP1: &str = "http1";

fn http1_setup() -> Result<Setup> {
    Ok(Setup {
        upstreams: |runtime, gate| {
            let serving = runtime.block_on(gate.serve())?;
            Ok(vec![(
                patient(cluster("upstream", Some(serving.address))),
                serving,
            )])
        },
        ..Setup::new(vec![Listener::new(HTTP1, &plugin(&json!({})))])
    })
}

/// A cluster whose connections may take long: a machine under load must not decide a case.
fn patient(mut cluster: Value) -> Value {
    cluster["connect_timeout"] = json!("10s");
    cluster
}

pub(crate) fn trials() -> Vec<Trial> {
    let plain = OnDemand::new(setup);
    let shipped = OnDemand::new(shipped_setup);
    let http1 = OnDemand::new(http1_setup);
    [
        leaving::trials(&plain),
        bodies::trials(&plain, &shipped),
        trailers::trials(&plain),
        streams::trials(&plain, &shipped),
        slow::trials(&shipped),
        messages::trials(&plain, &http1),
        downgraded::trials(&http1),
        tunnels::trials(),
        grpc::trials(),
        http3::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A request of HTTP/1 with these header lines and a body, on a connection that is kept.
fn plain(method: &str, target: &str, lines: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut request = format!(
        "{method} {target} HTTP/1.1\r\nhost: test\r\n{lines}content-length: {length}\r\n\r\n"
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

/// A connection of HTTP/2, with prior knowledge.
async fn connect2(to: SocketAddr) -> Result<SendRequest<Bytes>> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = h2::client::handshake(stream).await?;
    // How it ends its requests tell.
    tokio::spawn(connection);
    Ok(sender)
}

/// The head of a request for it.
fn request2(to: SocketAddr, method: &str, headers: &[(&str, &str)]) -> Result<hyper::Request<()>> {
    let mut request = hyper::Request::builder()
        .method(method)
        .uri(format!("http://{to}{PATH}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Ok(request.body(())?)
}

/// The status of an answer that arrives whole.
async fn status2(response: ResponseFuture) -> Result<u16> {
    let (status, _) = whole2(response).await?;
    Ok(status)
}

/// The same with the body.
async fn whole2(response: ResponseFuture) -> Result<(u16, Vec<u8>)> {
    read2(response.await.context("no answer")?).await
}

async fn read2(response: hyper::Response<RecvStream>) -> Result<(u16, Vec<u8>)> {
    let status = response.status().as_u16();
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        bytes.extend_from_slice(&data);
    }
    Ok((status, bytes))
}

/// Fails with all problems of a table's rows.
fn all_well(rows: Vec<Result<()>>) -> Result<()> {
    let problems: Vec<_> = rows
        .into_iter()
        .filter_map(Result::err)
        .map(|problem| format!("{problem:#}"))
        .collect();
    ensure!(problems.is_empty(), "{problems:#?}");
    Ok(())
}
