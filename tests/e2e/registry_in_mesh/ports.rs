//! What each workload of the mesh gets on each port of the registry.

use anyhow::{Context, Result, ensure};
use keystile_e2e::client::{self, Response};
use keystile_e2e::envoy;
use keystile_e2e::registry::SERVICE_TOKEN;
use serde_json::{Value, json};

use super::{Mesh, http};

use crate::world::World;

trials! { Together:
    "mesh: ports are for those named" => are_for_those_named,
}

/// Returns a listener of a workload's proxy that sends everything to a cluster.
fn outbound(name: &str, cluster: &Value) -> Value {
    json!({
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": http(name, &[], json!({"cluster": cluster["name"]})),
        }]}],
    })
}

/// What the AuthorizationPolicy and PeerAuthentication let through, port by port.
fn are_for_those_named(_: &World) -> Result<()> {
    let mesh = Mesh::new()?;
    let (_server, registry) = mesh.serve()?;
    let pod = mesh.pod(&registry)?;
    let rule = mesh.document("DestinationRule", "auth")?;
    let accounts = ["api/api", "web/web", "keystile/keystile-admin"];
    let ports = ["lookups", "admin", "metrics"];
    let (mut listeners, mut clusters) = (Vec::new(), Vec::new());
    for account in accounts {
        for port in ports {
            let name = format!("{account} {port}");
            let cluster =
                mesh.cluster(&name.replace('/', "-"), pod.listener(port)?, account, rule)?;
            listeners.push(outbound(&name, &cluster));
            clusters.push(cluster);
        }
    }
    let mut config = envoy::config(&[], &clusters);
    config["static_resources"]["listeners"] = json!(listeners);
    let clients = mesh.envoy("clients", &config, None)?;

    let openapi = client::get(registry.main, "/openapi.json", [])?.text();
    let openapi: Value = serde_json::from_str(&openapi)?;
    let service = with_security(&openapi, "service_token");
    let policy = mesh.document("AuthorizationPolicy", "keystile-registry")?;
    let allowed = policy.value.pointer("/spec/rules/0/to/0/operation/paths");
    let mut allowed: Vec<String> = serde_json::from_value(allowed.cloned().unwrap_or_default())?;
    allowed.sort();
    ensure!(
        allowed
            == service
                .iter()
                .map(|path| path.replace("{key_hash}", "*"))
                .collect::<Vec<_>>(),
        "proxies may ask for {allowed:?}, but the registry has {service:?} for them"
    );

    let token = format!("authorization: Bearer {SERVICE_TOKEN}");
    let hash = "0".repeat(64);
    let ask = |account: &str, port: &str, method: &str, path: &str| -> Result<Response> {
        let to = clients.listener(&format!("{account} {port}"))?;
        client::send(to, client::head(method, path, [token.as_str()]).as_bytes())?.response()
    };
    let lookup = format!("/v1/key-hashes/{hash}");
    // 404 is the verdict on an unknown key. 401 is the admin API's answer to the service token, which
    // is the wrong one there.
    let rows = [
        ("api/api", "lookups", "GET", lookup.as_str(), 404),
        ("api/api", "lookups", "GET", "/v1/changes", 200),
        (
            "api/api",
            "lookups",
            "GET",
            "/v1/changes?after=&limit=1",
            200,
        ),
        ("api/api", "lookups", "POST", &lookup, 403),
        ("api/api", "lookups", "OPTIONS", &lookup, 403),
        ("api/api", "lookups", "GET", "/v1/key-hashes", 403),
        ("api/api", "lookups", "GET", "/v1/changes/", 403),
        ("api/api", "lookups", "GET", "/v1/changes/x", 403),
        (
            "api/api",
            "lookups",
            "GET",
            "/v1/key-hashes/../changes/x",
            403,
        ),
        (
            "api/api",
            "lookups",
            "GET",
            "/v1/key-hashes/../../admin/v1/keys",
            403,
        ),
        (
            "api/api",
            "lookups",
            "GET",
            "/v1/key-hashes/%2e%2e/%2e%2e/admin/v1/keys",
            403,
        ),
        ("api/api", "admin", "GET", "/admin/v1/keys", 403),
        ("api/api", "admin", "GET", &lookup, 403),
        ("api/api", "metrics", "GET", "/metrics", 200),
        ("api/api", "metrics", "POST", "/metrics", 403),
        ("web/web", "lookups", "GET", &lookup, 403),
        ("web/web", "lookups", "GET", "/v1/changes", 403),
        ("web/web", "admin", "GET", "/admin/v1/keys", 403),
        (
            "keystile/keystile-admin",
            "admin",
            "GET",
            "/admin/v1/keys",
            401,
        ),
        (
            "keystile/keystile-admin",
            "admin",
            "DELETE",
            "/admin/v1/keys/key_1",
            401,
        ),
        ("keystile/keystile-admin", "admin", "GET", "/metrics", 403),
        (
            "keystile/keystile-admin",
            "lookups",
            "GET",
            "/v1/changes",
            403,
        ),
        (
            "keystile/keystile-admin",
            "lookups",
            "GET",
            "/admin/v1/keys",
            403,
        ),
    ];
    for (account, port, method, path, status) in rows {
        let answer = ask(account, port, method, path)?;
        ensure!(
            answer.status == status,
            "{account}: {method} {path} on the port for {port}: {answer:?}"
        );
    }
    // Every path of the registry, on every port, for a workload that no policy names.
    for path in openapi["paths"].as_object().context("no paths")?.keys() {
        let path = path
            .replace("{key_hash}", &hash)
            .replace("{key_id}", "key_1");
        for port in ports {
            let open = port == "metrics" && path == "/metrics";
            for method in ["GET", "POST", "PATCH", "DELETE"] {
                let answer = ask("web/web", port, method, &path)?;
                let denied = answer.status == 403 && answer.text().contains("RBAC");
                ensure!(
                    denied != (open && method == "GET"),
                    "{method} {path} on the port for {port}: {answer:?}"
                );
            }
        }
    }
    // Without a certificate, as from outside the mesh.
    for port in ["lookups", "admin"] {
        let answer = client::get(pod.listener(port)?, "/v1/changes", [token.as_str()]);
        ensure!(
            answer.is_err(),
            "plaintext on the port for {port}: {answer:?}"
        );
    }
    for (path, status) in [
        ("/metrics", 200),
        ("/v1/changes", 403),
        ("/admin/v1/keys", 403),
    ] {
        let answer = client::get(pod.listener("metrics")?, path, [token.as_str()])?;
        ensure!(answer.status == status, "plaintext, {path}: {answer:?}");
    }
    Ok(())
}

/// Returns the paths of an OpenAPI document that use a security scheme, in order.
fn with_security(openapi: &Value, scheme: &str) -> Vec<String> {
    let paths = openapi["paths"].as_object().into_iter().flatten();
    let mut paths: Vec<_> = paths
        .filter(|(_, operations)| {
            let operations = operations.as_object().into_iter().flatten();
            operations
                .flat_map(|(_, operation)| operation["security"].as_array().into_iter().flatten())
                .any(|requirement| requirement.get(scheme).is_some())
        })
        .map(|(path, _)| path.clone())
        .collect();
    paths.sort();
    paths
}
