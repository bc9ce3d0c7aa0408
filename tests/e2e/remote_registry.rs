//! A registry on another machine, as documented in `docs/envoy.md`: TLS with a pinned name,
//! certificates for proxies, and the service token.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use keystile_e2e::client;
use keystile_e2e::envoy::{self, Launch};
use keystile_e2e::keys::made_up_key;
use keystile_e2e::pages::yaml_blocks;
use keystile_e2e::recording_upstream::RecordingUpstream;
use keystile_e2e::registry::{Registry, SERVICE_TOKEN};
use keystile_e2e::root;
use keystile_e2e::shipped::{self, FREE, Ports};
use serde_json::{Value, json};

use crate::identities::{Authority, Certificate};
use crate::world::World;

trials! { Together:
    "remote registry: only itself is asked" => only_itself_is_asked,
}

/// The name that the page pins.
const NAME: &str = "registry.internal";

/// A known key gets in only if the registry has the pinned name, and the proxy has a certificate and
/// the token. Otherwise known and unknown keys get a 503.
fn only_itself_is_asked(world: &World) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let at = |name: &str| -> Result<_> {
        let folder = folder.path().join(name);
        std::fs::create_dir(&folder)?;
        Ok(folder)
    };
    let authority = Authority::new(&at("authority")?)?;
    let proxies = Authority::new(&at("proxies")?)?;
    let (proxy, foreign) = (proxies.host("proxy")?, authority.host("proxy")?);
    let (named, other) = (authority.host(NAME)?, authority.host("web.internal")?);
    let upstream = world
        .runtime
        .block_on(RecordingUpstream::default().serve())?;
    // The server's certificate, the proxy's, its token, and the status for a known key.
    let rows = [
        ("as documented", &named, &proxy, SERVICE_TOKEN, 200),
        ("another name", &other, &proxy, SERVICE_TOKEN, 503),
        ("a foreign proxy", &named, &foreign, SERVICE_TOKEN, 503),
        (
            "another token",
            &named,
            &proxy,
            "no-token-of-the-registry",
            503,
        ),
    ];
    for (case, own, client_cert, token, status) in rows {
        let case_folder = at(&case.replace(' ', "-"))?;
        let database = case_folder.join("keys.db");
        let registry = Registry::guarded(format!("sqlite://{}", database.display()));
        let options = [
            format!("--tls-cert={}", own.certificate.display()),
            format!("--tls-key={}", own.key.display()),
            format!("--tls-client-ca={}", proxies.certificate.display()),
        ];
        let options = options.each_ref().map(String::as_str);
        let any = ([127, 0, 0, 1], 0).into();
        let log = case_folder.join("registry.log");
        let (_server, listening) = registry.serve_with(any, &options, &log)?;
        let key = registry.create(&["--account", "acct_1"])?.key;
        world.keep_secret(&key);

        let ports = Ports {
            registry: listening.main.port(),
            upstream: upstream.address.port(),
            ..FREE
        };
        let mut config: Value = serde_saphyr::from_str(&shipped::config_on(ports)?)?;
        set_up(&mut config, &authority.certificate, client_cert, token)?;
        let envoy = Launch::all_processors().start(config, &case_folder)?;
        let ask = |key: &str| {
            let header = format!("x-api-key: {key}");
            client::get(envoy.listener("api")?, "/v1/x", [header.as_str()])
        };
        let answer = ask(&key)?;
        ensure!(answer.status == status, "{case}: {answer:?}");
        let answer = ask(&made_up_key())?;
        let expected = if status == 200 { 401 } else { 503 };
        ensure!(answer.status == expected, "{case}, unknown: {answer:?}");
    }
    Ok(())
}

/// Makes the page's changes to the shipped configuration.
fn set_up(config: &mut Value, ca: &Path, own: &Certificate, token: &str) -> Result<()> {
    let page = std::fs::read_to_string(root().join("docs/envoy.md"))?;
    let block = yaml_blocks(&page).find(|block| block.contains("UpstreamTlsContext"));
    let mut block = block.context("no TLS on the page")?.to_owned();
    for (documented, file) in [
        ("/etc/keystile/registry-ca.pem", ca),
        ("/etc/keystile/proxy.pem", &own.certificate),
        ("/etc/keystile/proxy.key", &own.key),
    ] {
        ensure!(block.contains(documented), "the page has no {documented}");
        block = block.replace(documented, &file.display().to_string());
    }
    let block: Value = serde_saphyr::from_str(&block)?;
    let clusters = config["static_resources"]["clusters"].as_array_mut();
    for cluster in clusters.into_iter().flatten() {
        if cluster["name"] != "upstream" {
            cluster["transport_socket"] = block["transport_socket"].clone();
            // A slow machine must not change the result.
            cluster["connect_timeout"] = json!("10s");
        }
    }
    let plugin = shipped::plugin_in(envoy::http_settings(config)?)?;
    let mut settings: Value = serde_json::from_str(plugin.as_str().unwrap_or_default())?;
    settings["lookup"]["headers"] = json!({"authorization": format!("Bearer {token}")});
    settings["lookup"]["timeout"] = json!("10s");
    *plugin = json!(settings.to_string());
    Ok(())
}
