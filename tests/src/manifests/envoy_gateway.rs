//! What Envoy Gateway generates from routes, backends and policies, as far as the shipped ones need
//! it. Unknown fields are errors.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Document;

/// Returns the first document of a kind.
fn of_kind<'a>(documents: &'a [Document], kind: &str) -> Result<&'a Document> {
    let mut found = documents.iter().filter(|it| it.text("/kind") == kind);
    found.next().with_context(|| format!("no {kind}"))
}

/// Returns the virtual host that Envoy Gateway generates from the HTTPRoute. If `denied`, it includes
/// the SecurityPolicy's denial of all requests, for which the listener needs the filter [`rbac`].
///
/// # Errors
/// When the route has something that is not supported here.
pub fn virtual_host(documents: &[Document], denied: bool) -> Result<Value> {
    let route = of_kind(documents, "HTTPRoute")?;
    if denied {
        let policy = of_kind(documents, "SecurityPolicy")?;
        let action = policy.text("/spec/authorization/defaultAction");
        let target = policy.text("/spec/targetRefs/0/name");
        ensure!(action == "Deny" && target == route.text("/metadata/name"));
    }
    let names = route.clusters();
    let mut routes = Vec::new();
    let rules = route.value.pointer("/spec/rules").and_then(Value::as_array);
    let rules = rules.context("no rules")?;
    ensure!(names.len() == rules.len(), "{names:?}");
    for (rule, cluster) in rules.iter().zip(names) {
        // A rule without a match takes all paths.
        let matches = rule["matches"].as_array().cloned();
        for it in matches.unwrap_or_else(|| vec![json!({})]) {
            let known = |field: &String| field == "path";
            ensure!(
                it.as_object().is_some_and(|it| it.keys().all(known)),
                "{it}"
            );
            let path = &it["path"];
            let matched = match path["type"].as_str() {
                None | Some("PathPrefix") => {
                    json!({"prefix": path["value"].as_str().unwrap_or("/")})
                }
                Some("Exact") => json!({"path": path["value"]}),
                Some(other) => anyhow::bail!("a path of type {other}"),
            };
            let mut route = json!({"match": matched, "route": {"cluster": cluster}});
            if denied {
                route["typed_per_filter_config"] = json!({"envoy.filters.http.rbac": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute",
                    "rbac": {"rules": {"action": "ALLOW", "policies": {}}},
                }});
            }
            routes.push(route);
        }
    }
    Ok(json!({
        "name": route.text("/metadata/name"),
        "domains": route.value.pointer("/spec/hostnames"),
        "routes": routes,
    }))
}

/// Returns the filter that lets all requests through unless a route says otherwise.
pub fn rbac() -> Value {
    json!({
        "name": "envoy.filters.http.rbac",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"},
    })
}

/// The name of the secret in Envoy with the credential of the HTTPRouteFilter.
const CREDENTIAL: &str = "credential_injector/credential/keystile-service-token";

/// Returns the entry in `static_resources` for a Kubernetes Secret's `credential`.
pub fn secret(credential: &str) -> Value {
    json!({"name": CREDENTIAL, "generic_secret": {"secret": {"inline_string": credential}}})
}

/// Returns the clusters that Envoy Gateway generates from the HTTPRoute, with `host` in place of the
/// Backend's host. `authority` is the file with the authority's certificate.
///
/// # Errors
/// When the Backend or a filter of the route has something that is not supported here.
pub fn clusters(documents: &[Document], host: SocketAddr, authority: &Path) -> Result<Vec<Value>> {
    let (route, backend) = (
        of_kind(documents, "HTTPRoute")?,
        of_kind(documents, "Backend")?,
    );
    let filter = of_kind(documents, "HTTPRouteFilter")?;
    let sni = backend.text("/spec/tls/sni");
    ensure!(!sni.is_empty(), "{}: no sni", backend.name());
    let rules = route.value.pointer("/spec/rules").and_then(Value::as_array);
    let mut clusters = Vec::new();
    for (rule, name) in rules.into_iter().flatten().zip(route.clusters()) {
        let mut cluster = crate::envoy::cluster(&name, Some(host));
        cluster["transport_socket"] = json!({
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                "sni": sni,
                "common_tls_context": {
                    "alpn_protocols": ["h2", "http/1.1"],
                    "validation_context": {
                        "trusted_ca": {"filename": authority},
                        "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": sni}}],
                    },
                },
            },
        });
        let mut options = json!({
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "auto_config": {"http_protocol_options": {}, "http2_protocol_options": {}},
        });
        // Filters on a backend. Those on the rule go into the listener, which lookups do not pass.
        let filters = rule["backendRefs"][0]["filters"].as_array();
        for reference in filters.into_iter().flatten() {
            let named = &reference["extensionRef"]["name"];
            ensure!(named == filter.text("/metadata/name"), "no filter {named}");
            options["http_filters"] = json!([
                {"name": "envoy.filters.http.credential_injector", "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.credential_injector.v3.CredentialInjector",
                    "overwrite": filter.value.pointer("/spec/credentialInjection/overwrite"),
                    "credential": {
                        "name": "envoy.http.injected_credentials.generic",
                        "typed_config": {
                            "@type": "type.googleapis.com/envoy.extensions.http.injected_credentials.generic.v3.Generic",
                            "credential": {"name": CREDENTIAL},
                        },
                    },
                }},
                {"name": "envoy.filters.http.upstream_codec", "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec",
                }},
            ]);
        }
        cluster["typed_extension_protocol_options"] =
            json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options});
        clusters.push(cluster);
    }
    Ok(clusters)
}
