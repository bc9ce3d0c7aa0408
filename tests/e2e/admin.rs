//! Envoy's admin page: what it shows, and to whom.

use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result, ensure};
use keystile_e2e::client;
use keystile_e2e::discovery::Discovery;
use keystile_e2e::envoy::{Listener, module};
use keystile_e2e::shipped::{self, FREE};
use keystile_e2e::stack::{Setup, Stack};
use serde_json::{Value, json};

trials! { Together:
    "admin: the shipped page is on loopback" => the_shipped_page_is_on_loopback,
    "admin: config_dump shows secrets" => config_dump_shows_secrets,
}

/// With `envoy/envoy.yaml`, the admin page has one address, which only this machine can reach.
fn the_shipped_page_is_on_loopback() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let nobody = SocketAddr::from(([127, 0, 0, 1], 9));
    let database = folder.path().join("keystile.db");
    let stack = shipped::Stack::before(nobody, FREE, &database, false)?;
    let admin = stack.envoy.admin();
    ensure!(admin.ip().is_loopback(), "{admin}");
    // A page on all addresses would answer here too.
    let other = SocketAddr::from(([127, 0, 0, 2], admin.port()));
    let answers = TcpStream::connect(other).is_ok();
    ensure!(!answers, "the admin page is on {other} too");
    Ok(())
}

/// Whoever reaches the admin page can read the secrets of the plugin's configuration. docs/envoy.md
/// says so. It is the same if the filter is delivered by discovery, as in Istio.
fn config_dump_shows_secrets() -> Result<()> {
    let secrets = [
        "Bearer a-service-token",
        "the pepper of this test",
        "the tag secret of this test",
    ];
    let plugin = json!({
        "lookup": {"cluster": "auth", "headers": {"authorization": secrets[0]}},
        "hash": {"pepper": secrets[1]},
        "credential": {"formats": [{"tag": {"secrets": [secrets[2]]}}]},
    });
    let folder = tempfile::tempdir()?;
    let discovery = Discovery::new("keystile.wasm", folder.path().join("filter.json"));
    discovery.publish(&discovery.resource(&module(), &plugin.to_string()))?;
    let by_discovery = Setup {
        edit: Box::new(move |config| discovery.put_into(config)),
        ..Setup::new(vec![Listener::new("discovered", &Value::Null)])
    };
    let in_the_file = Setup::new(vec![Listener::new("in the file", &plugin)]);
    for (setup, name) in [(in_the_file, "in the file"), (by_discovery, "discovered")] {
        let stack = Stack::start(setup).context(name)?;
        let answer = client::get(stack.envoy.listener(name)?, "/v1/x", [])?;
        ensure!(answer.status == 401, "{name}: {answer:?}");
        let dump = client::get(stack.envoy.admin(), "/config_dump", [])?.text();
        for secret in secrets {
            ensure!(dump.contains(secret), "{name}: {secret:?} is not shown");
        }
    }
    Ok(())
}
