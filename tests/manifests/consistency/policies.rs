//! Which clients Istio's policies let reach which port of the registry.

use std::collections::BTreeSet;

use keystile_e2e::manifests::Document;
use serde_json::Value;

use super::registry::Registry;
use super::{Checked, SERVICE_PATHS, list, plugin_namespaces, texts};

pub(super) fn check(checked: &mut Checked<'_>, registry: &Registry<'_>) {
    peers(checked, registry);
    authorization(checked, registry);
}

/// All ports except the one for metrics require mutual TLS.
fn peers(checked: &mut Checked<'_>, registry: &Registry<'_>) {
    let Some(policy) = checked.only("PeerAuthentication") else {
        return;
    };
    let selects = registry.has(policy.value.pointer("/spec/selector/matchLabels"))
        && policy.text("/metadata/namespace") == registry.namespace();
    checked.check(policy, selects, "does not select the registry");
    for (name, port) in registry.ports() {
        let port = u16::try_from(port).unwrap_or_default();
        let strict = policy.peer_mode(port) == "STRICT";
        checked.check(
            policy,
            strict || name == "metrics",
            &format!("port {port} takes plaintext"),
        );
    }
    let own = policy.value.pointer("/spec/portLevelMtls");
    for port in own.and_then(Value::as_object).into_iter().flatten() {
        let known = registry
            .ports()
            .values()
            .any(|it| it.to_string() == *port.0);
        checked.check(
            policy,
            known,
            &format!("the registry has no port {}", port.0),
        );
    }
}

/// Each port has a rule that allows no more than it needs.
fn authorization(checked: &mut Checked<'_>, registry: &Registry<'_>) {
    let Some(policy) = checked.only("AuthorizationPolicy") else {
        return;
    };
    let selects = registry.has(policy.value.pointer("/spec/selector/matchLabels"))
        && policy.text("/metadata/namespace") == registry.namespace();
    checked.check(policy, selects, "does not select the registry");
    checked.check(
        policy,
        policy.text("/spec/action") == "ALLOW",
        "is not an ALLOW policy",
    );
    let mut seen = Vec::new();
    for rule in list(&policy.value, "/spec/rules") {
        let mut principals = BTreeSet::new();
        for from in list(rule, "/from") {
            let source = from["source"]
                .as_object()
                .map(|it| it.keys().collect::<Vec<_>>());
            checked.check(
                policy,
                source.is_some_and(|it| it == ["principals"]),
                "a source has something other than principals",
            );
            principals.extend(texts(from, "/source/principals"));
        }
        for to in list(rule, "/to") {
            let ports = texts(to, "/operation/ports");
            let known = registry.ports();
            let port = known
                .iter()
                .find(|(_, port)| ports.iter().eq([&port.to_string()]));
            let Some((name, _)) = port else {
                checked.check(
                    policy,
                    false,
                    &format!("an operation is for the ports {ports:?}"),
                );
                continue;
            };
            seen.push(*name);
            operation(
                checked,
                registry,
                policy,
                name,
                &to["operation"],
                &principals,
            );
        }
    }
    seen.sort_unstable();
    checked.check(
        policy,
        seen == ["admin", "lookups", "metrics"],
        &format!("has rules for {seen:?}"),
    );
}

fn operation(
    checked: &mut Checked<'_>,
    registry: &Registry<'_>,
    policy: &Document,
    port: &str,
    operation: &Value,
    principals: &BTreeSet<String>,
) {
    let (methods, paths) = (texts(operation, "/methods"), texts(operation, "/paths"));
    let get = methods == BTreeSet::from(["GET".to_owned()]);
    let namespace = |principal: &str| {
        let parts: Vec<_> = principal.split('/').collect();
        match parts[..] {
            ["cluster.local", "ns", namespace, "sa", account] if !account.contains('*') => {
                namespace.to_owned()
            }
            _ => format!("that of {principal}"),
        }
    };
    let namespaces: BTreeSet<_> = principals.iter().map(|it| namespace(it)).collect();
    match port {
        "lookups" => {
            let service: BTreeSet<_> = SERVICE_PATHS.map(str::to_owned).into();
            checked.check(
                policy,
                get && paths == service,
                &format!("lets proxies do {methods:?} {paths:?}"),
            );
            let plugins = plugin_namespaces(checked.documents);
            checked.check(
                policy,
                namespaces == plugins,
                &format!("lets in {namespaces:?}, but the filter is in {plugins:?}"),
            );
            let network = network_namespaces(checked.documents, registry.ports().get(port));
            checked.check(
                policy,
                network == namespaces,
                &format!("lets in {namespaces:?}, but the NetworkPolicy {network:?}"),
            );
            accounts(checked, policy, principals);
        }
        "admin" => {
            let admin = |path: &String| path.starts_with("/admin/v1/");
            checked.check(
                policy,
                !paths.is_empty() && paths.iter().all(admin),
                &format!("lets administrators do {paths:?}"),
            );
            let own = BTreeSet::from([registry.namespace().to_owned()]);
            checked.check(
                policy,
                namespaces == own,
                &format!("lets {principals:?} at the admin API"),
            );
        }
        _ => checked.check(
            policy,
            get && paths == BTreeSet::from(["/metrics".to_owned()]),
            &format!("lets everyone do {methods:?} {paths:?}"),
        ),
    }
}

/// The proxies of each plugin are among the principals. Istio's chart names a gateway's service
/// account `istio-LABEL`, Istio itself names that of a Gateway `GATEWAY-istio`, and the API's is
/// named like its label here.
fn accounts(checked: &mut Checked<'_>, policy: &Document, principals: &BTreeSet<String>) {
    for plugin in checked.documents.iter().filter(|it| it.plugin().is_some()) {
        let namespace = plugin.text("/metadata/namespace");
        let account = match plugin.text("/spec/targetRefs/0/name") {
            "" => {
                let labels = plugin.value.pointer("/spec/selector/matchLabels");
                let labels = labels.and_then(Value::as_object);
                let label = labels.and_then(|labels| labels.iter().next());
                let value = label.and_then(|(_, value)| value.as_str());
                let value = value.unwrap_or_default();
                match label {
                    Some((name, _)) if name == "istio" => format!("istio-{value}"),
                    _ => value.to_owned(),
                }
            }
            gateway => format!("{gateway}-istio"),
        };
        let principal = format!("cluster.local/ns/{namespace}/sa/{account}");
        checked.check(
            policy,
            principals.contains(&principal),
            &format!("does not let in {principal}, where {} is", plugin.name()),
        );
    }
}

/// Returns the namespaces that the NetworkPolicy lets reach a port.
fn network_namespaces(documents: &[Document], port: Option<&u64>) -> BTreeSet<String> {
    let policies = documents
        .iter()
        .filter(|it| it.text("/kind") == "NetworkPolicy");
    let rules = policies.flat_map(|policy| list(&policy.value, "/spec/ingress"));
    let of_port =
        rules.filter(|rule| list(rule, "/ports").any(|it| it["port"].as_u64() == port.copied()));
    of_port
        .flat_map(|rule| list(rule, "/from"))
        .filter_map(|peer| {
            let labels = &peer["namespaceSelector"]["matchLabels"];
            Some(labels["kubernetes.io/metadata.name"].as_str()?.to_owned())
        })
        .collect()
}
