//! The way to the registry in Istio, as the shipped policies and patches make it: a guarded registry
//! behind a proxy like a sidecar, proxies with certificates of several workloads, and an impostor in
//! the registry's place.

pub(crate) mod ports;

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use keystile_e2e::client;
use keystile_e2e::envoy::{self, Envoy, Launch, Listener, cluster, http2_cluster};
use keystile_e2e::keys::{GOOD, made_up_key};
use keystile_e2e::manifests::istio::{Identity, certificate};
use keystile_e2e::manifests::{Document, FOLDERS, documents, registry_arguments};
use keystile_e2e::process::Process;
use keystile_e2e::recording_upstream::RecordingUpstream;
use keystile_e2e::registry::{Listening, Registry, SERVICE_TOKEN};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::identities::Authority;
use crate::world::World;

trials! { Together:
    "mesh: only the filter is answered" => only_the_filter_is_answered,
}

const AUTH: &str = "auth.keystile.svc.cluster.local";

/// The files shipped for Istio, with a registry and a mesh's authority.
struct Mesh {
    documents: Vec<Document>,
    authority: Authority,
    registry: Registry,
    folder: TempDir,
}

impl Mesh {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let database = format!("sqlite://{}", folder.path().join("keys.db").display());
        Ok(Self {
            documents: documents(FOLDERS[0])?,
            authority: Authority::new(folder.path())?,
            registry: Registry::guarded(database),
            folder,
        })
    }

    /// Starts the registry as its pod does.
    fn serve(&self) -> Result<(Process, Listening)> {
        let none = Path::new("");
        let arguments = registry_arguments(&self.documents, none, none)?;
        let log = self.folder.path().join("registry.log");
        let (server, listening) = self.registry.serve_as(&arguments, &log)?;
        listening.probe()?;
        Ok((server, listening))
    }

    fn document(&self, kind: &str, name: &str) -> Result<&Document> {
        let mut found = self.documents.iter().filter(|document| {
            document.text("/kind") == kind && document.text("/metadata/name") == name
        });
        found.next().with_context(|| format!("no {kind} {name}"))
    }

    /// Starts an Envoy on a configuration. Its log goes into its own folder.
    fn envoy(&self, name: &str, config: &Value, token: Option<&str>) -> Result<Envoy> {
        Launch {
            token: token.map(str::to_owned),
            ..Launch::default()
        }
        .start(config, &self.folder.path().join(name))
    }

    /// Starts the registry's pod: for each port, a listener with the filters of the policies, in front
    /// of the registry's own. Another listener has the certificate of another workload and says that
    /// every key is active.
    fn pod(&self, registry: &Listening) -> Result<Envoy> {
        let own = self.authority.workload("keystile/keystile-registry")?;
        let other = self.authority.workload("web/web")?;
        let peers = self.document("PeerAuthentication", "keystile-registry")?;
        let authorization = self.document("AuthorizationPolicy", "keystile-registry")?;
        let (mut listeners, mut clusters) = (Vec::new(), Vec::new());
        for (name, port, behind) in [
            ("lookups", 8081, registry.main),
            ("admin", 8082, registry.admin),
            ("metrics", 8083, registry.metrics),
        ] {
            let http = http(
                name,
                &[authorization.authorization(port)?],
                json!({"cluster": name}),
            );
            clusters.push(http2_cluster(name, behind));
            let identity = self.authority.identity(&own);
            listeners.push(inbound(name, &http, peers.peer_mode(port), identity)?);
        }
        let http = http(
            "impostor",
            &[knows_every_key()],
            json!({"cluster": "lookups"}),
        );
        let identity = self.authority.identity(&other);
        listeners.push(inbound("impostor", &http, "STRICT", identity)?);
        let mut config = envoy::config(&[], &clusters);
        config["static_resources"]["listeners"] = json!(listeners);
        self.envoy("pod", &config, None)
    }

    /// Returns a cluster of a proxy with a workload's certificate, as the DestinationRule makes it. A
    /// name in the place of the subset lets one proxy have several.
    fn cluster(
        &self,
        subset: &str,
        host: SocketAddr,
        account: &str,
        rule: &Document,
    ) -> Result<Value> {
        let name = format!("outbound|8081|{subset}|{AUTH}");
        let workload = self.authority.workload(account)?;
        let mut cluster = http2_cluster(&name, host);
        cluster["transport_socket"] = rule.mutual_tls(&name, self.authority.identity(&workload))?;
        Ok(cluster)
    }

    /// Applies the EnvoyFilters of a namespace to a cluster, as Istio does.
    fn patch(&self, namespace: &str, context: &str, cluster: &mut Value) -> Result<()> {
        let mut times = 0;
        for document in &self.documents {
            if document.text("/metadata/namespace") == namespace && document.patches_clusters() {
                times += usize::from(document.patch_cluster(context, cluster)?);
            }
        }
        ensure!(times == 1, "{times} EnvoyFilters for {}", cluster["name"]);
        Ok(())
    }

    /// Returns the filter's shipped configuration, with another cluster.
    fn plugin(&self, cluster: &Value) -> Result<Value> {
        let plugin = self.document("WasmPlugin", "keystile")?;
        let mut config: Value =
            serde_json::from_str(&plugin.plugin_config().context("no configuration")?)?;
        config["lookup"]["cluster"] = cluster["name"].clone();
        // A slow machine must not change the result.
        config["lookup"]["timeout"] = json!("10s");
        Ok(config)
    }
}

/// Returns a filter that answers every lookup with a record, and names the hash that was asked about.
fn knows_every_key() -> Value {
    let answers = format!(
        "function envoy_on_request(handle)
           local hash = handle:headers():get(':path'):match('[^/]+$')
           handle:respond({{[':status'] = '200', ['x-keystile-key-hash'] = hash}}, '{GOOD}')
         end"
    );
    json!({"name": "envoy.filters.http.lua", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
        "default_source_code": {"inline_string": answers},
    }})
}

/// Returns HTTP settings with one route for everything.
fn http(name: &str, filters: &[Value], route: Value) -> Value {
    let router = json!({"name": "envoy.filters.http.router", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
    }});
    let filters: Vec<_> = filters.iter().chain([&router]).collect();
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "codec_type": "AUTO",
        // Istio's default.
        "normalize_path": true,
        "http_filters": filters,
        "route_config": {"virtual_hosts": [{
            "name": "all",
            "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": route}],
        }]},
    })
}

/// Returns a listener of a pod that accepts what the mode of mutual TLS allows.
fn inbound(name: &str, http: &Value, mode: &str, identity: Identity<'_>) -> Result<Value> {
    let filters = json!([{
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": http,
    }]);
    let chain = |matched: &str| json!({"filter_chain_match": {"transport_protocol": matched}, "filters": filters});
    let mut tls = chain("tls");
    tls["transport_socket"] = json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "require_client_certificate": true,
            "common_tls_context": {
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_certificates": [certificate(identity)],
                "validation_context": {"trusted_ca": {"filename": identity.authority}},
            },
        },
    });
    let chains = match mode {
        "STRICT" => json!([tls]),
        "PERMISSIVE" => json!([tls, chain("raw_buffer")]),
        other => anyhow::bail!("mode {other}"),
    };
    Ok(json!({
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "listener_filters": [{"name": "tls_inspector", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
        }}],
        "filter_chains": chains,
    }))
}

/// The filter gets verdicts if the policies name its proxy, and the proxy presents the token and talks
/// to the registry itself. Otherwise requests get a 503, never a 401 or a 200.
fn only_the_filter_is_answered(world: &World) -> Result<()> {
    let mesh = Mesh::new()?;
    let (_server, registry) = mesh.serve()?;
    let key = mesh.registry.create(&["--account", "acct_1"])?.key;
    world.keep_secret(&key);
    let pod = mesh.pod(&registry)?;
    let (lookups, impostor) = (pod.listener("lookups")?, pod.listener("impostor")?);

    let rule = mesh.document("DestinationRule", "auth")?;
    let mut rule_auth = rule.clone();
    let tls = rule_auth.value.pointer_mut("/spec/trafficPolicy/tls");
    let tls = tls.and_then(Value::as_object_mut).context("no tls")?;
    tls.remove("subjectAltNames")
        .context("no pinned identity")?;

    #[derive(Clone, Copy)]
    struct Case<'a> {
        /// The name of the listener, and part of the cluster's name.
        name: &'static str,
        host: SocketAddr,
        account: &'static str,
        rule: &'a Document,
        /// The namespace whose EnvoyFilters patch the cluster, and the context.
        patches: Option<(&'static str, &'static str)>,
        status: u16,
    }
    let sidecar = Case {
        name: "",
        host: lookups,
        account: "api/api",
        rule,
        patches: Some(("api", "SIDECAR_OUTBOUND")),
        status: 200,
    };
    let gateway = Case {
        patches: Some(("istio-ingress", "GATEWAY")),
        ..sidecar
    };
    let cases = [
        Case {
            name: "feed",
            ..sidecar
        },
        Case {
            name: "gateway",
            account: "istio-ingress/istio-ingressgateway",
            ..gateway
        },
        Case {
            name: "api-gateway",
            account: "istio-ingress/api-gateway-istio",
            ..gateway
        },
        Case {
            name: "another-account",
            account: "api/default",
            status: 503,
            ..sidecar
        },
        Case {
            name: "another-namespace",
            account: "web/api",
            status: 503,
            ..sidecar
        },
        Case {
            name: "without-the-patch",
            patches: None,
            status: 503,
            ..sidecar
        },
        Case {
            name: "impostor",
            host: impostor,
            status: 503,
            ..sidecar
        },
        // The attack that the pinned identity prevents.
        Case {
            name: "impostor-believed",
            host: impostor,
            rule: &rule_auth,
            ..sidecar
        },
        sidecar,
    ];
    let mut clusters = Vec::new();
    for case in &cases {
        let mut cluster = mesh.cluster(case.name, case.host, case.account, case.rule)?;
        if let Some((namespace, context)) = case.patches {
            mesh.patch(namespace, context, &mut cluster)?;
        }
        clusters.push(cluster);
    }
    let plugins: Vec<_> = clusters
        .iter()
        .map(|cluster| mesh.plugin(cluster))
        .collect::<Result<_>>()?;
    let listeners = cases.iter().zip(&plugins);
    let listeners: Vec<_> = listeners
        .map(|(case, plugin)| {
            Listener::new(
                if case.name.is_empty() {
                    "sidecar"
                } else {
                    case.name
                },
                plugin,
            )
        })
        .collect();
    let recorder = RecordingUpstream::echoing();
    let upstream = world.runtime.block_on(recorder.serve())?;
    clusters.push(cluster("upstream", Some(upstream.address)));
    let config = envoy::config(&listeners, &clusters);

    let known = format!("x-api-key: {key}");
    let unknown = format!("x-api-key: {}", made_up_key());
    let with_token = mesh.envoy("with-token", &config, Some(SERVICE_TOKEN))?;
    let without = mesh.envoy("without-token", &config, None)?;
    let other = mesh.envoy(
        "with-another-token",
        &config,
        Some("another-token-of-thirty-two-characters"),
    )?;
    for (case, listener) in cases.iter().zip(&listeners) {
        let answer = client::get(
            with_token.listener(listener.name)?,
            "/v1/x",
            [known.as_str()],
        )?;
        ensure!(
            answer.status == case.status,
            "{}: {answer:?}",
            listener.name
        );
    }
    let answer = client::get(with_token.listener("sidecar")?, "/v1/x", [unknown.as_str()])?;
    ensure!(answer.text().contains("api_key_not_found"), "{answer:?}");
    let passed = recorder.text().lines().count();
    for envoy in [&without, &other] {
        for line in [&known, &unknown] {
            let answer = client::get(envoy.listener("sidecar")?, "/v1/x", [line.as_str()])?;
            ensure!(answer.status == 503, "with a wrong token: {answer:?}");
        }
    }
    ensure!(
        recorder.text().lines().count() == passed,
        "a request passed without the token"
    );
    let dump = client::get(with_token.admin(), "/config_dump", [])?.text();
    ensure!(
        dump.contains("KEYSTILE_SERVICE_TOKEN")
            && !dump.contains(&format!("Bearer {SERVICE_TOKEN}")),
        "the token is in the proxy's configuration"
    );
    with_token.no_vm_died()
}
