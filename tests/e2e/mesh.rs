//! The filter as Istio and Envoy Gateway load it, with the configurations of the shipped manifests:
//! discovered (ECDS) or enabled by the route, and with the cluster names that they generate.

use anyhow::{Context, Result, ensure};
use keystile_e2e::client;
use keystile_e2e::discovery::Discovery;
use keystile_e2e::envoy::{Listener, copy_cluster, each_http_settings, module};
use keystile_e2e::keys::{GOOD, hash, made_up_key};
use keystile_e2e::manifests::{Document, FOLDERS, documents};
use keystile_e2e::scripted_auth::{Script, ScriptedAuth, answer, answer_about};
use keystile_e2e::shipped;
use keystile_e2e::stack::{Setup, Stack};
use serde_json::{Value, json};

use crate::world::World;

trials! { Together:
    "mesh: as meshes load it" => as_meshes_load_it,
    "mesh: as Istio patches it" => as_istio_patches_it,
}

/// How the filter gets into a listener.
#[derive(Clone, Copy)]
enum Loaded {
    /// As in Istio: the agent puts the module into a file, and Envoy discovers the filter.
    Discovered,
    /// As in Envoy Gateway: disabled in the listener, and enabled by the route.
    ByRoute,
}

struct Case {
    /// The name of the listener.
    name: &'static str,
    loaded: Loaded,
    /// The plugin configuration.
    config: Value,
    /// The `:authority` that lookups must have.
    authority: &'static str,
}

/// The manifests that load the module. Each path is the name of a listener and of its statistics.
const SHIPPED: [(&str, Loaded); 6] = [
    ("istio/wasmplugin-sidecar.yaml", Loaded::Discovered),
    ("istio/wasmplugin-gateway.yaml", Loaded::Discovered),
    ("istio/trafficextension-sidecar.yaml", Loaded::Discovered),
    ("istio/trafficextension-gateway.yaml", Loaded::Discovered),
    ("envoy-gateway/policy.yaml", Loaded::ByRoute),
    ("envoy-gateway/patch.yaml", Loaded::ByRoute),
];

fn cases() -> Result<Vec<Case>> {
    let folders: Vec<_> = FOLDERS.into_iter().map(documents).collect::<Result<_>>()?;
    let plugins: Vec<_> = folders
        .iter()
        .flatten()
        .filter_map(|document| Some((&document.file, document.plugin_config()?)))
        .collect();
    ensure!(
        plugins.len() == SHIPPED.len(),
        "{} manifests",
        plugins.len()
    );
    let mut cases = Vec::new();
    for (name, loaded) in SHIPPED {
        let plugin = plugins.iter().find(|(file, _)| file.ends_with(name));
        let mut config: Value = serde_json::from_str(&plugin.context(name)?.1)?;
        // A slow machine must not change the result.
        config["lookup"]["timeout"] = json!("10s");
        cases.push(Case {
            name,
            loaded,
            config,
            authority: "auth.keystile.svc.cluster.local",
        });
    }
    // Further names that Istio generates.
    for (name, authority) in [
        (
            "outbound|80||auth.default.svc.cluster.local",
            "auth.default.svc.cluster.local",
        ),
        (
            "outbound|80|v1|auth.ns.svc.cluster.local",
            "auth.ns.svc.cluster.local",
        ),
        ("outbound|443||auth.example.com", "auth.example.com"),
    ] {
        let config = json!({"lookup": {"cluster": name, "timeout": "10s"}});
        cases.push(Case {
            name,
            loaded: Loaded::Discovered,
            config,
            authority,
        });
    }
    Ok(cases)
}

/// With each configuration, a request without a key is refused. One with a key is allowed after a
/// lookup at the configured cluster, for the right host.
fn as_meshes_load_it(world: &World) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let cases = cases()?;
    let auth = ScriptedAuth::default();
    let page = json!({"cursor": "c1", "changes": [], "reset": false}).to_string();
    auth.script("/v1/changes?", Script::Answer(answer("200 OK", &page)));
    let asked = |case: &Case| {
        let clusters = ["lookup", "feed"].map(|section| case.config[section]["cluster"].clone());
        let names = clusters.iter().filter_map(Value::as_str);
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    let mut names: Vec<_> = cases.iter().flat_map(asked).collect();
    names.sort();
    names.dedup();
    let listeners: Vec<_> = cases
        .iter()
        .map(|case| Listener::new(case.name, &case.config))
        .collect();
    let mut filters = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        filters.push(match case.loaded {
            Loaded::Discovered => {
                let file = folder.path().join(format!("filter-{index}.json"));
                let discovery = Discovery::new("api.keystile", file);
                let plugin = case.config.to_string();
                discovery.publish(&discovery.resource(&module(), &plugin))?;
                Some(discovery.filter())
            }
            Loaded::ByRoute => None,
        });
    }
    let stack = Stack::start(Setup {
        edit: Box::new(move |config| {
            config["node"] = json!({"id": "keystile", "cluster": "keystile"});
            for name in &names {
                copy_cluster(config, "auth", name)?;
            }
            for ((_, http), filter) in each_http_settings(config).zip(filters) {
                match filter {
                    Some(filter) => http["http_filters"][0] = filter,
                    None => by_route(http),
                }
            }
            Ok(())
        }),
        auth,
        ..Setup::new(listeners)
    })?;

    for case in &cases {
        ask(world, &stack, case).context(case.name)?;
    }
    stack.envoy.no_vm_died()
}

fn ask(world: &World, stack: &Stack, case: &Case) -> Result<()> {
    let auth = &stack.auth;
    let to = stack.envoy.listener(case.name)?;
    let missing = client::get(to, "/v1/x", [])?;
    ensure!(
        missing.text().contains("api_key_missing"),
        "without a key: {missing:?}"
    );

    let key = made_up_key();
    world.keep_secret(&key);
    let hash = hash(&key)?;
    auth.script(&hash, Script::Answer(answer_about(&hash, "200 OK", GOOD)));
    let (key, id) = (
        format!("x-api-key: {key}"),
        format!("mesh-{}", ulid::Ulid::generate()),
    );
    let id_line = format!("x-request-id: {id}");
    let allowed = client::get(to, "/v1/x", [key.as_str(), id_line.as_str()])?;
    ensure!(allowed.status == 200, "with a key: {allowed:?}");
    // It is sent again if the first answer of the feed arrives meanwhile.
    let lookups = auth.lookups_of(&id);
    ensure!(!lookups.is_empty(), "no lookup");
    let host = format!("\r\nhost: {}\r\n", case.authority);
    for lookup in lookups {
        ensure!(lookup.contains(&host), "no {host:?} in {lookup}");
    }
    Ok(())
}

/// Patches the settings of each listener, and makes the changes that its name says.
fn patch_all(config: &mut Value, patches: &[Document], filter: &Value) -> Result<()> {
    config["node"] = json!({"id": "keystile", "cluster": "keystile"});
    for (name, http) in each_http_settings(config) {
        for patch in patches {
            patch.patch(http)?;
        }
        ensure!(http["stream_idle_timeout"] == "60s", "{http}");
        let mut plain = http.clone();
        plain["http_filters"] = json!([plain["http_filters"][0], plain["http_filters"][2]]);
        shipped::lock(&mut plain)?;
        ensure!(
            plain["http_filters"] == http["http_filters"],
            "the second lock differs from the one in envoy/envoy.yaml"
        );
        let filters = http["http_filters"].as_array_mut().context("no filters")?;
        filters[0] = filter.clone();
        if name.ends_with("beside") {
            // Like one that Istio generates from an AuthorizationPolicy.
            filters.insert(1, nobody_may());
        }
        if name.starts_with("away") {
            filters.remove(0);
        }
    }
    Ok(())
}

/// With the EnvoyFilters for sidecars, including the second lock, requests get the same results as
/// without them. If Keystile is missing, they get a 503. What other filters refuse stays a 403.
fn as_istio_patches_it(world: &World) -> Result<()> {
    let patches: Vec<_> = documents(FOLDERS[0])?
        .into_iter()
        .filter(|it| it.text("/kind") == "EnvoyFilter" && !it.patches_clusters())
        .filter(|it| it.text("/metadata/namespace") == "api")
        .collect();
    ensure!(patches.len() == 2, "{} EnvoyFilters", patches.len());
    let folder = tempfile::tempdir()?;
    let plugin = json!({
        "lookup": {"cluster": "auth", "timeout": "10s"},
        "exempt": {"paths": ["/healthz"]},
    });
    let names = ["there", "away", "beside", "away, beside"];
    let discovery = Discovery::new("api.keystile", folder.path().join("filter.json"));
    discovery.publish(&discovery.resource(&module(), &plugin.to_string()))?;
    let filter = discovery.filter();
    let stack = Stack::start(Setup {
        edit: Box::new(move |config| patch_all(config, &patches, &filter)),
        ..Setup::new(names.map(|name| Listener::new(name, &plugin)).into())
    })?;
    let Stack { envoy, auth, .. } = &stack;

    let key = made_up_key();
    world.keep_secret(&key);
    let hash = hash(&key)?;
    auth.script(&hash, Script::Answer(answer_about(&hash, "200 OK", GOOD)));
    let known = format!("x-api-key: {key}");
    let rows: [(&str, &str, &[&str], u16, &str); 8] = [
        ("there", "/v1/x", &[], 401, "api_key_missing"),
        ("there", "/v1/x", &[&known], 200, ""),
        ("there", "/healthz", &[], 200, ""),
        ("away", "/v1/x", &[], 503, "no proof of authentication"),
        (
            "away",
            "/v1/x",
            &[&known],
            503,
            "no proof of authentication",
        ),
        ("beside", "/v1/x", &[&known], 403, "RBAC: access denied"),
        ("beside", "/v1/x", &[], 401, "api_key_missing"),
        (
            "away, beside",
            "/v1/x",
            &[&known],
            503,
            "no proof of authentication",
        ),
    ];
    for (listener, path, lines, status, says) in rows {
        let response = client::get(envoy.listener(listener)?, path, lines.iter().copied())?;
        ensure!(
            response.status == status && response.text().contains(says),
            "{listener}, {path}, {} line(s): {response:?}",
            lines.len()
        );
    }
    envoy.no_vm_died()
}

/// Returns a filter that lets no request through.
fn nobody_may() -> Value {
    json!({"name": "envoy.filters.http.rbac", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
        "rules": {"action": "ALLOW", "policies": {}},
    }})
}

/// Changes HTTP settings as Envoy Gateway does for a policy: the filter is disabled, and each route
/// that the policy targets enables it.
fn by_route(http: &mut Value) {
    http["http_filters"][0]["disabled"] = json!(true);
    http["route_config"]["virtual_hosts"][0]["routes"][0]["typed_per_filter_config"] = json!({
        "keystile": {
            "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig",
            "config": {},
        },
    });
}
