//! What clients may do: disconnect, send nothing, send too much, or use any protocol in any way.

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
use keystile_e2e::stack::Setup;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::range::{self, OnDemand, PATH, plugin, uncached};

/// The listener that caches no verdicts.
const LISTENER: &str = "uncached";

/// The same with `allow_on_headers_stop_iteration`: Envoy may pass on a body while
/// its headers are paused.
const STREAMED: &str = "streamed";

fn setup() -> Result<Setup> {
    let plugin = plugin(&json!({"cache": uncached()}));
    let streamed = Listener {
        allow_on_headers_stop_iteration: true,
        ..Listener::new(STREAMED, &plugin)
    };
    Ok(range::setup(vec![
        Listener::new(LISTENER, &plugin),
        streamed,
    ]))
}

/// The listener of `envoy/envoy.yaml` in front of its upstream: the settings that operators start with.
const SHIPPED: &str = "shipped";

fn shipped_setup() -> Result<Setup> {
    Ok(Setup {
        edit: Box::new(|config| {
            let mut listener = shipped::listener(SHIPPED, &plugin(&json!({})))?;
            // With an access log, floods would fill the disk.
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
        upstreams: |runtime, recorder| {
            let serving = runtime.block_on(recorder.serve())?;
            Ok(vec![(
                patient(shipped::upstream(serving.address)?),
                serving,
            )])
        },
        ..range::setup(Vec::new())
    })
}

/// A listener in front of an HTTP/1 upstream.
const HTTP1: &str = "http1";

fn http1_setup() -> Result<Setup> {
    Ok(Setup {
        upstreams: |runtime, recorder| {
            let serving = runtime.block_on(recorder.serve())?;
            Ok(vec![(
                patient(cluster("upstream", Some(serving.address))),
                serving,
            )])
        },
        ..range::setup(vec![Listener::new(HTTP1, &plugin(&json!({})))])
    })
}

/// Returns the cluster with a long connect timeout: a machine under load must not decide a case.
fn patient(mut cluster: Value) -> Value {
    cluster["connect_timeout"] = json!("10s");
    cluster
}

keystile_e2e::suite!(Together, trials);

fn trials() -> Vec<Trial> {
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
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Returns an HTTP/1 request with these header lines and a body. It keeps the connection open.
fn plain(method: &str, target: &str, lines: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut request = format!(
        "{method} {target} HTTP/1.1\r\nhost: test\r\n{lines}content-length: {length}\r\n\r\n"
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

/// Opens an HTTP/2 connection with prior knowledge.
async fn connect2(to: SocketAddr) -> Result<SendRequest<Bytes>> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = h2::client::handshake(stream).await?;
    // The requests show how the connection ends.
    tokio::spawn(connection);
    Ok(sender)
}

/// Returns the head of a request for such a connection.
fn request2(to: SocketAddr, method: &str, headers: &[(&str, &str)]) -> Result<hyper::Request<()>> {
    let mut request = hyper::Request::builder()
        .method(method)
        .uri(format!("http://{to}{PATH}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Ok(request.body(())?)
}

/// Returns the status of an answer, once it is complete.
async fn status2(response: ResponseFuture) -> Result<u16> {
    let (status, _) = whole2(response).await?;
    Ok(status)
}

/// Returns the status and the body of an answer, once it is complete.
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

/// Fails with the problems of all rows of a table, if there are any.
fn all_well(rows: Vec<Result<()>>) -> Result<()> {
    let problems: Vec<_> = rows
        .into_iter()
        .filter_map(Result::err)
        .map(|problem| format!("{problem:#}"))
        .collect();
    ensure!(problems.is_empty(), "{problems:#?}");
    Ok(())
}
