//! The way to the registry from Envoy Gateway: the clusters that it generates from the shipped route,
//! and what clients reach through the route itself.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use keystile_e2e::client;
use keystile_e2e::envoy::{self, Envoy, Launch, Listener, cluster};
use keystile_e2e::keys::{GOOD, made_up_key};
use keystile_e2e::manifests::{Document, FOLDERS, documents, envoy_gateway, registry_arguments};
use keystile_e2e::recording_upstream::RecordingUpstream;
use keystile_e2e::registry::{Registry, SERVICE_TOKEN};
use serde_json::{Value, json};

use crate::identities::{Authority, Certificate};
use crate::world::World;

trials! { Together:
    "gateway: only the registry is asked" => only_the_registry_is_asked,
    "gateway: the route leads nowhere" => the_route_leads_nowhere,
}

/// Starts an Envoy with its own log, and with the token in its environment.
fn start(folder: &Path, name: &str, config: &Value, token: Option<&str>) -> Result<Envoy> {
    Launch {
        token: token.map(str::to_owned),
        ..Launch::default()
    }
    .start(config, &folder.join(name))
}

/// Returns an HTTP listener with these virtual hosts.
fn listener(name: &str, filters: &[Value], virtual_hosts: &Value) -> Value {
    let router = json!({"name": "envoy.filters.http.router", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
    }});
    let filters: Vec<_> = filters.iter().chain([&router]).collect();
    json!({
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": name,
                "codec_type": "AUTO",
                // Envoy Gateway's defaults.
                "normalize_path": true,
                "merge_slashes": true,
                "path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT",
                "strip_any_host_port": true,
                "http_filters": filters,
                "route_config": {"virtual_hosts": virtual_hosts},
            },
        }]}],
    })
}

/// Returns the same listener over TLS.
fn tls(mut listener: Value, certificate: &Certificate) -> Value {
    listener["filter_chains"][0]["transport_socket"] = json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_certificates": [{
                    "certificate_chain": {"filename": certificate.certificate},
                    "private_key": {"filename": certificate.key},
                }],
            },
        },
    });
    listener
}

fn everything(route: &Value) -> Value {
    json!([{"name": "all", "domains": ["*"], "routes": [route]}])
}

/// Lookups go only to a server with the pinned name and a certificate from the pinned authority, and
/// carry the Secret's token.
fn only_the_registry_is_asked(world: &World) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut documents = documents(FOLDERS[1])?;
    // It has a Backend to use instead of the one here.
    documents.retain(|document| !document.file.ends_with("auth-external.yaml"));
    let database = format!("sqlite://{}", folder.path().join("keys.db").display());
    let registry = Registry::guarded(database);
    let key = registry.create(&["--account", "acct_1"])?.key;
    world.keep_secret(&key);

    let authority = Authority::new(folder.path())?;
    let others = folder.path().join("others");
    std::fs::create_dir(&others)?;
    let foreign = Authority::new(&others)?;
    let host = "auth.keystile.svc.cluster.local";
    let (own, other) = (
        authority.host(host)?,
        authority.host("web.default.svc.cluster.local")?,
    );
    let impostor = json!({
        "match": {"prefix": "/"},
        "direct_response": {"status": 200, "body": {"inline_string": GOOD}},
    });
    // The registry itself, as its pod starts it.
    let arguments = registry_arguments(&documents, &own.certificate, &own.key)?;
    let (_server, listening) =
        registry.serve_as(&arguments, &folder.path().join("registry.log"))?;
    listening.probe()?;
    let mut config = envoy::config(&[], &[]);
    config["static_resources"]["listeners"] = json!([
        tls(
            listener("another-name", &[], &everything(&impostor)),
            &other
        ),
        tls(
            listener("another-authority", &[], &everything(&impostor)),
            &foreign.host(host)?
        ),
        listener("plaintext", &[], &everything(&impostor)),
    ]);
    let servers = start(folder.path(), "servers", &config, None)?;

    // Where the proxy's clusters lead, its token, and what a client with a valid key gets.
    let rows = [
        ("registry", SERVICE_TOKEN, 200),
        ("registry", "another-token-of-thirty-two-characters", 503),
        ("registry", "", 503),
        ("another-name", SERVICE_TOKEN, 503),
        ("another-authority", SERVICE_TOKEN, 503),
        ("plaintext", SERVICE_TOKEN, 503),
    ];
    let recorder = RecordingUpstream::echoing();
    let upstream = world.runtime.block_on(recorder.serve())?;
    for (file, (server, token, status)) in ["policy.yaml", "patch.yaml"]
        .iter()
        .flat_map(|file| rows.map(|row| (file, row)))
    {
        let case = format!("{file} {server} {token:.8}");
        let to = match server {
            "registry" => listening.main,
            other => servers.listener(other)?,
        };
        let mut clusters = if *file == "policy.yaml" {
            envoy_gateway::clusters(&documents, to, &authority.certificate)?
        } else {
            patched_clusters(&documents, to, &authority.certificate)?
        };
        ensure!(clusters.len() == 2, "{} clusters", clusters.len());
        clusters.push(cluster("upstream", Some(upstream.address)));
        let policy = documents
            .iter()
            .find(|it| it.plugin().is_some() && it.file.ends_with(file));
        let plugin = policy
            .and_then(Document::plugin_config)
            .context("no configuration")?;
        let plugin: Value = serde_json::from_str(&plugin)?;
        ensure!(
            plugin["lookup"]["cluster"] == clusters[0]["name"],
            "{case}: {plugin}"
        );
        // Both clusters, including the one for polls, can answer lookups.
        let plugins = [0, 1].map(|cluster| {
            let mut plugin = plugin.clone();
            plugin["lookup"]["cluster"] = clusters[cluster]["name"].clone();
            // A slow machine must not change the result.
            plugin["lookup"]["timeout"] = json!("10s");
            plugin
        });
        let listeners = [
            Listener::new("lookups", &plugins[0]),
            Listener::new("feed", &plugins[1]),
        ];
        let mut config = envoy::config(&listeners, &clusters);
        config["static_resources"]["secrets"] =
            json!([envoy_gateway::secret(&format!("Bearer {token}"))]);
        let proxy = start(folder.path(), &case.replace(' ', "-"), &config, Some(token))?;
        let known = format!("x-api-key: {key}");
        let unknown = format!("x-api-key: {}", made_up_key());
        for name in ["lookups", "feed"] {
            let answer = client::get(proxy.listener(name)?, "/v1/x", [known.as_str()])?;
            ensure!(answer.status == status, "{case}, {name}: {answer:?}");
            let answer = client::get(proxy.listener(name)?, "/v1/x", [unknown.as_str()])?;
            let not_found = answer.text().contains("api_key_not_found");
            ensure!(
                if status == 200 {
                    not_found
                } else {
                    answer.status == 503
                },
                "{case}, {name}, an unknown key: {answer:?}"
            );
        }
        let dump = client::get(proxy.admin(), "/config_dump", [])?.text();
        ensure!(
            token.is_empty() || !dump.contains(&format!("Bearer {token}")),
            "{case}: the token is in the proxy's configuration"
        );
        proxy.no_vm_died()?;
    }
    let passed = recorder.text().lines().count();
    ensure!(
        passed == 4,
        "{passed} requests passed, not 2 of each file's"
    );
    Ok(())
}

/// Returns the clusters that the EnvoyPatchPolicy adds, with this host and authority's certificate.
fn patched_clusters(
    documents: &[Document],
    to: SocketAddr,
    authority: &Path,
) -> Result<Vec<Value>> {
    let patch = documents
        .iter()
        .find(|it| it.text("/kind") == "EnvoyPatchPolicy");
    let patches = patch.context("no patch")?.value["spec"]["jsonPatches"].as_array();
    let patches = patches.context("no patches")?.iter();
    patches
        .map(|patch| {
            let mut cluster = patch["operation"]["value"].clone();
            let mut put = |pointer: &str, value: Value| {
                *cluster.pointer_mut(pointer).with_context(|| pointer.to_owned())? = value;
                anyhow::Ok(())
            };
            let address = "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address";
            put(address, json!({"address": "127.0.0.1", "port_value": to.port()}))?;
            let ca = "/transport_socket/typed_config/common_tls_context/validation_context/trusted_ca/filename";
            put(ca, json!(authority))?;
            // A slow machine must not change the result.
            put("/connect_timeout", json!("10s"))?;
            Ok(cluster)
        })
        .collect()
}

/// The route exists only for its cluster. Through it, clients reach no path that the registry serves,
/// even without the SecurityPolicy.
fn the_route_leads_nowhere(world: &World) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let documents = documents(FOLDERS[1])?;
    let registry = Registry::new(&folder.path().join("keys.db"), None);
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let (_server, address) = registry.serve(any, &folder.path().join("registry.log"))?;
    let openapi = client::get(address, "/openapi.json", [])?.text();
    let openapi: Value = serde_json::from_str(&openapi)?;
    let paths = openapi["paths"].as_object().context("no paths")?;
    let served: Vec<_> = paths
        .keys()
        .map(|path| {
            path.replace("{key_hash}", &"0".repeat(64))
                .replace("{key_id}", "key_1")
        })
        .collect();
    ensure!(served.len() > 5, "{served:?}");

    // In the registry's place, to record whatever arrives.
    let recorder = RecordingUpstream::echoing();
    let recording = world.runtime.block_on(recorder.serve())?;
    let route = documents.iter().find(|it| it.text("/kind") == "HTTPRoute");
    let route = route.context("no HTTPRoute")?;
    let clusters = route.clusters();
    let clusters = clusters
        .iter()
        .map(|name| cluster(name, Some(recording.address)));
    let mut config = envoy::config(&[], &clusters.collect::<Vec<_>>());
    let listener = |name: &str, denied: bool| -> Result<Value> {
        let virtual_host = envoy_gateway::virtual_host(&documents, denied)?;
        Ok(listener(
            name,
            &[envoy_gateway::rbac()],
            &json!([virtual_host]),
        ))
    };
    config["static_resources"]["listeners"] =
        json!([listener("denied", true)?, listener("open", false)?]);
    let gateway = start(folder.path(), "gateway", &config, None)?;

    let shipped = route.text("/spec/hostnames/0");
    let upper = shipped.to_uppercase();
    let with_port = format!("{shipped}:8081");
    let mut paths: Vec<String> = served.clone();
    for path in &served {
        paths.extend([
            format!("{path}?x=y"),
            format!("/{path}"),
            format!("{path}/"),
            path.replacen('/', "/%2e/", 1),
            path.replacen('/', "/%2f", 1),
            format!("/keystile/no-such-path/lookups/../../..{path}"),
            format!("/keystile/no-such-path/lookups/%2e%2e/%2e%2e/%2e%2e{path}"),
            format!("/keystile/no-such-path/lookups;{path}"),
            format!("/keystile/no-such-path/lookups{path}"),
        ]);
    }
    paths.extend([
        "/".to_owned(),
        "*".to_owned(),
        "/keystile/no-such-path/".to_owned(),
    ]);
    for listener in ["denied", "open"] {
        for host in [shipped, &upper, &with_port] {
            for (index, path) in paths.iter().enumerate() {
                // All methods on the exact paths, and GET on their variations.
                let methods: &[&str] = match index {
                    index if index < served.len() => &["GET", "OPTIONS", "POST", "PATCH", "DELETE"],
                    _ => &["GET"],
                };
                for method in methods {
                    let head = client::head(method, path, []);
                    let head = head.replacen("host: test", &format!("host: {host}"), 1);
                    let to = gateway.listener(listener)?;
                    let answer = client::send(to, head.as_bytes())?.response()?;
                    ensure!(
                        [307, 400, 403, 404].contains(&answer.status),
                        "{listener}: {method} {path} at {host}: {answer:?}"
                    );
                }
            }
        }
    }
    ensure!(
        recorder.text().is_empty(),
        "the registry would have got {}",
        recorder.text()
    );
    // The recorder does record: only the SecurityPolicy stops what the route matches, and that is not
    // a path of the registry.
    for rule in route.value["spec"]["rules"]
        .as_array()
        .context("no rules")?
    {
        let path = rule["matches"][0]["path"]["value"]
            .as_str()
            .context("no path")?;
        ensure!(
            client::get(address, path, [])?.status == 400,
            "the registry serves {path}"
        );
        for (listener, status) in [("denied", 403), ("open", 200)] {
            let head = client::head("GET", path, []);
            let head = head.replacen("host: test", &format!("host: {shipped}"), 1);
            let to = gateway.listener(listener)?;
            let answer = client::send(to, head.as_bytes())?.response()?;
            ensure!(answer.status == status, "{listener}: {path}: {answer:?}");
        }
    }
    ensure!(recorder.text().lines().count() == 2, "{}", recorder.text());
    Ok(())
}
