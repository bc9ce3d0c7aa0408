//! Limits by address, as documented in `docs/envoy.md`, in front of the shipped listener.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use keystile_e2e::envoy::{self, Launch};
use keystile_e2e::pages::yaml_blocks;
use keystile_e2e::root;
use keystile_e2e::shipped::{self, FREE};
use serde_json::Value;
use tokio::net::TcpSocket;

use crate::world::World;

trials! { Alone:
    "limits by address: each has its own" => each_has_its_own,
}

/// More requests than an address may send in the time that they take.
const REQUESTS: usize = 2_000;

/// An address that sends too many requests is limited, and another is not.
fn each_has_its_own(world: &World) -> Result<()> {
    let page = std::fs::read_to_string(root().join("docs/envoy.md"))?;
    let filter = yaml_blocks(&page).find(|block| block.contains("LocalRateLimit"));
    let filter: Value = serde_saphyr::from_str(filter.context("no filter on the page")?)?;
    let mut config: Value = serde_saphyr::from_str(&shipped::config_on(FREE)?)?;
    let filters = envoy::http_settings(&mut config)?["http_filters"].as_array_mut();
    filters.context("no filters")?.insert(0, filter);
    let folder = tempfile::tempdir()?;
    let envoy = Launch::all_processors().start(config, folder.path())?;
    let to = envoy.listener("api")?;

    let greedy = world.runtime.block_on(statuses(to, 2, REQUESTS))?;
    let limited = greedy.iter().filter(|status| **status == 429).count();
    let passed = greedy.iter().filter(|status| **status == 401).count();
    ensure!(
        passed >= 200 && limited > 0 && passed + limited == REQUESTS,
        "{passed} passed and {limited} were limited"
    );
    let other = world.runtime.block_on(statuses(to, 3, 100))?;
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
