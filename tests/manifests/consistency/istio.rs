//! Istio's identities, patches and visibility.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::registry::{Registry, variables};
use super::{Checked, SERVICE_TOKEN, list, plugin_namespaces, policies, texts};

pub(super) fn check(checked: &mut Checked<'_>) {
    let Some(registry) = Registry::find(checked) else {
        return;
    };
    policies::check(checked, &registry);
    identities(checked, &registry);
    exported(checked, &registry);
    listeners(checked);
    tokens(checked);
    admission(checked, &registry);
}

/// Proxies only talk to the registry's service account, and to outside hosts by their names.
fn identities(checked: &mut Checked<'_>, registry: &Registry<'_>) {
    for rule in checked.of_kind("DestinationRule") {
        let tls = rule
            .value
            .pointer("/spec/trafficPolicy/tls")
            .unwrap_or(&Value::Null);
        let pinned = if rule.text("/spec/host").ends_with(".svc.cluster.local") {
            let own = format!("spiffe://{}", registry.principal());
            tls["mode"] == "ISTIO_MUTUAL" && tls["subjectAltNames"] == json!([own])
        } else {
            let host = &rule.value["spec"]["host"];
            tls["mode"] == "SIMPLE"
                && tls["subjectAltNames"] == json!([host])
                && &tls["sni"] == host
                && tls["caCertificates"].is_string()
        };
        checked.check(rule, pinned, "does not say who may answer");
        let subsets = list(&rule.value, "/spec/subsets");
        let loose = subsets.filter(|subset| subset["trafficPolicy"].get("tls").is_some());
        checked.check(rule, loose.count() == 0, "a subset has TLS of its own");
        let limits = |of: &Value| of["connectionPool"]["http"]["http2MaxRequests"].is_number();
        let policies = list(&rule.value, "/spec/subsets").map(|subset| &subset["trafficPolicy"]);
        let limited = policies
            .chain([&rule.value["spec"]["trafficPolicy"]])
            .all(limits);
        checked.check(rule, limited, "has no limits");
    }
}

/// The auth service is visible to the namespaces that have the filter, and to no others.
fn exported(checked: &mut Checked<'_>, registry: &Registry<'_>) {
    let mut namespaces = plugin_namespaces(checked.documents);
    namespaces.insert(registry.namespace().to_owned());
    for kind in ["Service", "ServiceEntry", "DestinationRule"] {
        for document in checked.of_kind(kind) {
            let exported = if kind == "Service" {
                let annotation = "/metadata/annotations/networking.istio.io~1exportTo";
                let list = document.text(annotation).split(',');
                list.map(str::to_owned).collect()
            } else {
                texts(&document.value, "/spec/exportTo")
            };
            // The admin API's Service is for the registry's own namespace.
            let expected = if kind == "Service" && document.text("/metadata/name") != "auth" {
                BTreeSet::from([".".to_owned()])
            } else {
                namespaces.clone()
            };
            checked.check(
                document,
                exported == expected,
                &format!("is exported to {exported:?}, not {expected:?}"),
            );
        }
    }
}

/// Listeners are patched in proxies with the filter, and in no others.
fn listeners(checked: &mut Checked<'_>) {
    for filter in checked.of_kind("EnvoyFilter") {
        if filter.patches_clusters() {
            continue;
        }
        let own = filter.value.pointer("/spec/workloadSelector/labels");
        let mut plugins = checked.documents.iter().filter(|it| it.plugin().is_some());
        let has_plugin = plugins.any(|plugin| {
            plugin.text("/metadata/namespace") == filter.text("/metadata/namespace")
                && plugin.value.pointer("/spec/selector/matchLabels") == own
        });
        let selects = own.is_some() && has_plugin;
        checked.check(filter, selects, "is for proxies without the filter");
    }
}

/// Each proxy with the filter presents the token to each of the auth service's clusters.
fn tokens(checked: &mut Checked<'_>) {
    let filters: Vec<_> = checked
        .of_kind("EnvoyFilter")
        .filter(|it| it.patches_clusters())
        .collect();
    let hosts = checked
        .of_kind("DestinationRule")
        .map(|it| it.text("/spec/host"));
    let hosts: BTreeSet<_> = hosts.collect();
    let clusters = keystile_e2e::manifests::clusters(checked.documents);
    let auth = clusters
        .iter()
        .filter(|it| hosts.iter().any(|host| it.ends_with(host)));
    let auth: Vec<_> = auth.collect();
    for plugin in checked.documents.iter().filter(|it| it.plugin().is_some()) {
        let namespace = plugin.text("/metadata/namespace");
        let sidecar = plugin.value["spec"].get("match").is_some();
        let context = if sidecar {
            "SIDECAR_OUTBOUND"
        } else {
            "GATEWAY"
        };
        for cluster in &auth {
            let mut patched = json!({"name": cluster});
            let mut times = 0;
            for filter in filters
                .iter()
                .filter(|it| it.text("/metadata/namespace") == namespace)
            {
                let own = filter.value.pointer("/spec/workloadSelector/labels");
                let selector = plugin.value.pointer("/spec/selector/matchLabels");
                let selects = own.is_none() || own == selector;
                if selects && matches!(filter.patch_cluster(context, &mut patched), Ok(true)) {
                    times += 1;
                }
            }
            let options = "/typed_extension_protocol_options/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
            let presents = times == 1 && patched.pointer(options).is_some_and(presents_the_token);
            checked.check(plugin, presents, &format!("no token for {cluster}"));
        }
        let patches = checked.of_kind("Deployment");
        let own = patches.filter(|it| it.text("/metadata/namespace") == namespace);
        let has = own
            .flat_map(|it| variables(&it.value))
            .any(|it| it["name"] == SERVICE_TOKEN);
        // A gateway's Deployment belongs to its chart or to Istio.
        checked.check(plugin, has || !sidecar, "its proxies do not get the token");
    }
}

/// Returns true if an upstream's HTTP options set the header to the variable's value, and then send
/// the request.
pub(super) fn presents_the_token(options: &Value) -> bool {
    let filters = options["http_filters"].as_array().map(Vec::as_slice);
    let [mutation, codec] = filters.unwrap_or_default() else {
        return false;
    };
    let mutations = &mutation["typed_config"]["mutations"]["request_mutations"];
    let append = &mutations[0]["append"];
    let bearer = format!("Bearer %ENVIRONMENT({SERVICE_TOKEN})%");
    append["header"] == json!({"key": "authorization", "value": bearer})
        && append["append_action"] == "OVERWRITE_IF_EXISTS_OR_ADD"
        && codec["name"] == "envoy.filters.http.upstream_codec"
}

/// The admission policy covers the hosts and namespaces of the other files.
fn admission(checked: &mut Checked<'_>, registry: &Registry<'_>) {
    let Some(policy) = checked.only("ValidatingAdmissionPolicy") else {
        return;
    };
    let quoted = |names: BTreeSet<String>| {
        let quoted: Vec<_> = names.iter().map(|name| format!("'{name}'")).collect();
        format!("[{}]", quoted.join(", "))
    };
    let hosts = checked
        .of_kind("DestinationRule")
        .map(|it| it.text("/spec/host"));
    let mut hosts: Vec<_> = hosts.map(|host| format!("'{host}'")).collect();
    hosts.sort_by_key(|host| !host.contains(".svc."));
    let hosts = format!("[{}]", hosts.join(", "));
    let about = policy.text("/spec/variables/0/expression");
    checked.check(
        policy,
        about == hosts,
        &format!("is about {about}, not {hosts}"),
    );
    let elsewhere = format!("request.namespace != '{}'", registry.namespace());
    checked.check(
        policy,
        policy.text("/spec/matchConditions/0/expression") == elsewhere,
        "is about other namespaces",
    );
    let namespaces = quoted(plugin_namespaces(checked.documents));
    let rules = policy.text("/spec/validations/1/expression");
    checked.check(
        policy,
        rules.contains(&format!("request.namespace in {namespaces}")),
        &format!("does not name {namespaces}"),
    );
    checked.check(
        policy,
        policy.text("/spec/failurePolicy") == "Fail",
        "fails open",
    );
    let bound = checked
        .of_kind("ValidatingAdmissionPolicyBinding")
        .any(|binding| {
            binding.text("/spec/policyName") == policy.text("/metadata/name")
                && binding.value["spec"]["validationActions"] == json!(["Deny"])
        });
    checked.check(policy, bound, "has no binding");
}
