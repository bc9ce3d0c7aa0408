//! The route that no client may use, and the clusters for the registry.

use keystile_e2e::manifests::Document;
use serde_json::{Value, json};

use super::istio::presents_the_token;
use super::registry::{Registry, variables};
use super::{Checked, SERVICE_TOKEN, list};

pub(super) fn check(checked: &mut Checked<'_>) {
    let Some(registry) = Registry::find(checked) else {
        return;
    };
    route(checked);
    credential(checked);
    for backend in checked.of_kind("Backend") {
        backend_pins(checked, backend, &registry);
    }
    for patch in checked.of_kind("EnvoyPatchPolicy") {
        patched_clusters(checked, patch, &registry);
    }
    network(checked);
}

/// Each rule of the route is for one path that the registry does not serve, and the policy denies it.
fn route(checked: &mut Checked<'_>) {
    let Some(route) = checked.only("HTTPRoute") else {
        return;
    };
    for host in list(&route.value, "/spec/hostnames") {
        let invalid = host.as_str().is_some_and(|host| host.ends_with(".invalid"));
        checked.check(route, invalid, &format!("{host} may be a real host"));
    }
    let hosts = list(&route.value, "/spec/hostnames").count();
    checked.check(route, hosts == 1, "is for all hosts");
    for rule in list(&route.value, "/spec/rules") {
        let matches: Vec<_> = list(rule, "/matches").collect();
        let harmless = matches.iter().all(|it| {
            let path = it["path"]["value"].as_str().unwrap_or_default();
            it["path"]["type"] == "Exact" && path.starts_with("/keystile/no-such-path/")
        });
        checked.check(
            route,
            matches.len() == 1 && harmless,
            "a rule matches paths that may exist",
        );
        let backends: Vec<_> = list(rule, "/backendRefs").collect();
        checked.check(route, backends.len() == 1, "a rule has several backends");
        for backend in backends {
            let known = checked.of_kind("Backend").any(|it| {
                it.text("/metadata/name") == backend["name"] && backend["kind"] == "Backend"
            });
            checked.check(route, known, &format!("no Backend {}", backend["name"]));
            let reference = &backend["filters"][0]["extensionRef"];
            let filtered = checked.of_kind("HTTPRouteFilter").any(|it| {
                it.text("/metadata/name") == reference["name"]
                    && reference["kind"] == "HTTPRouteFilter"
            });
            checked.check(route, filtered, "a backend gets no token");
        }
        let on_rule = list(rule, "/filters").next().is_none();
        checked.check(
            route,
            on_rule,
            "a filter is on a rule, which lookups do not pass",
        );
    }
    for kind in ["SecurityPolicy", "BackendTrafficPolicy"] {
        let Some(policy) = checked.only(kind) else {
            continue;
        };
        let targets = policy.value["spec"]["targetRefs"]
            == json!([{
                "group": "gateway.networking.k8s.io",
                "kind": "HTTPRoute",
                "name": route.text("/metadata/name"),
            }]);
        checked.check(policy, targets, "is for another route");
        if kind == "SecurityPolicy" {
            let denied = policy.text("/spec/authorization/defaultAction") == "Deny"
                && policy.value["spec"]["authorization"].get("rules").is_none();
            checked.check(policy, denied, "lets requests in");
        }
    }
}

fn credential(checked: &mut Checked<'_>) {
    let Some(filter) = checked.only("HTTPRouteFilter") else {
        return;
    };
    let injection = &filter.value["spec"]["credentialInjection"];
    checked.check(filter, injection["overwrite"] == true, "does not overwrite");
    let header = injection.get("header");
    let authorization = header.is_none_or(|header| header == "Authorization");
    checked.check(filter, authorization, "uses another header");
    let secret = &injection["credential"]["valueRef"];
    let own = secret["name"] == "keystile-service-token" && secret.get("namespace").is_none();
    checked.check(filter, own, "uses another Secret");
}

/// Envoy only talks to a server with a certificate for the host's name, on the port for lookups.
fn backend_pins(checked: &mut Checked<'_>, backend: &Document, registry: &Registry<'_>) {
    let endpoint = &backend.value["spec"]["endpoints"][0]["fqdn"];
    let tls = &backend.value["spec"]["tls"];
    let inside = endpoint["hostname"]
        .as_str()
        .is_some_and(|host| host.ends_with(".svc.cluster.local"));
    let authority = if inside {
        tls["caCertificateRefs"]
            == json!([{"group": "", "kind": "Secret", "name": "keystile-registry-ca"}])
    } else {
        tls["wellKnownCACertificates"] == "System"
    };
    let pinned = authority
        && tls["sni"] == endpoint["hostname"]
        && tls["insecureSkipVerify"] != true
        && list(&backend.value, "/spec/endpoints").count() == 1;
    checked.check(backend, pinned, "does not say who may answer");
    if inside {
        let port = endpoint["port"].as_u64();
        let lookups = registry.ports().get("lookups").copied();
        checked.check(backend, port == lookups, "is not for lookups");
        let host = format!("auth.{}.svc.cluster.local", registry.namespace());
        checked.check(backend, endpoint["hostname"] == host, "is for another host");
        let args: Vec<_> = list(registry.container(), "/args")
            .filter_map(Value::as_str)
            .collect();
        let tls = |option: &str| args.iter().any(|it| it.starts_with(option));
        checked.check(
            registry.document,
            tls("--tls-cert=") && tls("--tls-key="),
            "answers without TLS",
        );
    }
}

fn patched_clusters(checked: &mut Checked<'_>, patch: &Document, registry: &Registry<'_>) {
    let proxies: Vec<_> = checked.of_kind("EnvoyProxy").collect();
    for operation in list(&patch.value, "/spec/jsonPatches") {
        let (name, cluster) = (&operation["name"], &operation["operation"]["value"]);
        let named = &cluster["name"] == name && &cluster["load_assignment"]["cluster_name"] == name;
        checked.check(patch, named, &format!("{name} has several names"));
        let address = cluster
            .pointer("/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address")
            .unwrap_or(&Value::Null);
        let port = address["port_value"].as_u64();
        let lookups = registry.ports().get("lookups").copied();
        checked.check(
            patch,
            port == lookups,
            &format!("{name} is not for lookups"),
        );
        let tls = &cluster["transport_socket"]["typed_config"];
        let validation = &tls["common_tls_context"]["validation_context"];
        let names = &validation["match_typed_subject_alt_names"];
        let file = validation["trusted_ca"]["filename"]
            .as_str()
            .unwrap_or_default();
        let mounted = proxies.iter().any(|proxy| {
            let mounts = "/spec/provider/kubernetes/envoyDeployment/container/volumeMounts";
            let mut mounts = list(&proxy.value, mounts).filter_map(|it| it["mountPath"].as_str());
            mounts.any(|path| file == format!("{path}/ca.crt"))
        });
        checked.check(
            patch,
            tls["sni"] == address["address"]
                && names == &json!([{"san_type": "DNS", "matcher": {"exact": address["address"]}}])
                && mounted,
            &format!("{name} does not say who may answer"),
        );
        let options = cluster.pointer(
            "/typed_extension_protocol_options/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        );
        let presents = options.is_some_and(presents_the_token);
        checked.check(patch, presents, &format!("{name} gets no token"));
    }
    let has = proxies
        .iter()
        .flat_map(|it| variables(&it.value))
        .any(|it| it["name"] == SERVICE_TOKEN);
    checked.check(patch, has, "its proxies do not get the token");
}

/// The NetworkPolicy lets in the proxies of the plugins' Gateway.
fn network(checked: &mut Checked<'_>) {
    let Some(policy) = checked.only("NetworkPolicy") else {
        return;
    };
    let gateway = checked.of_kind("HTTPRoute").next();
    let gateway = gateway.map(|it| {
        (
            it.text("/metadata/namespace"),
            it.text("/spec/parentRefs/0/name"),
        )
    });
    let labels = |peer: &Value| {
        let labels = &peer["podSelector"]["matchLabels"];
        let label =
            |name: &str| labels[format!("gateway.envoyproxy.io/owning-gateway-{name}")].clone();
        (label("namespace"), label("name"))
    };
    let peers = list(&policy.value, "/spec/ingress/0/from").map(labels);
    let peers: Vec<_> = peers.collect();
    let expected = gateway.map(|(namespace, name)| (json!(namespace), json!(name)));
    checked.check(
        policy,
        peers.iter().eq(&expected),
        &format!("lets in {peers:?}, not {expected:?}"),
    );
}
