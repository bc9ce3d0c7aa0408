//! The registry's pods, and what both folders have to go with them.

use std::collections::{BTreeMap, BTreeSet};

use keystile_e2e::manifests::Document;
use serde_json::{Value, json};

use super::{Checked, SERVICE_TOKEN, list, texts};

/// The registry's Deployment.
pub(super) struct Registry<'a> {
    pub(super) document: &'a Document,
}

impl<'a> Registry<'a> {
    pub(super) fn find(checked: &mut Checked<'a>) -> Option<Self> {
        let deployments = checked.of_kind("Deployment");
        let mut registries =
            deployments.filter(|it| it.text("/metadata/name") == "keystile-registry");
        let document = registries.next();
        if document.is_none() {
            checked
                .problems
                .push("no Deployment keystile-registry".to_owned());
        }
        Some(Self {
            document: document?,
        })
    }

    pub(super) fn namespace(&self) -> &'a str {
        self.document.text("/metadata/namespace")
    }

    /// Returns its identity in the mesh's certificates, without `spiffe://`, for the trust domain
    /// `cluster.local`.
    pub(super) fn principal(&self) -> String {
        let account = self.document.text("/spec/template/spec/serviceAccountName");
        format!("cluster.local/ns/{}/sa/{account}", self.namespace())
    }

    /// Returns the ports of its container, by name.
    pub(super) fn ports(&self) -> BTreeMap<&'a str, u64> {
        let ports = list(self.container(), "/ports");
        ports
            .filter_map(|port| Some((port["name"].as_str()?, port["containerPort"].as_u64()?)))
            .collect()
    }

    pub(super) fn container(&self) -> &'a Value {
        let container = self
            .document
            .value
            .pointer("/spec/template/spec/containers/0");
        container.unwrap_or(&Value::Null)
    }

    /// Returns true if the labels select its pods.
    pub(super) fn has(&self, labels: Option<&Value>) -> bool {
        let own = self
            .document
            .value
            .pointer("/spec/template/metadata/labels");
        let labels = labels.and_then(Value::as_object);
        labels.is_some_and(|labels| {
            !labels.is_empty()
                && labels
                    .iter()
                    .all(|(name, value)| own.and_then(|own| own.get(name)) == Some(value))
        })
    }
}

pub(super) fn check(checked: &mut Checked<'_>) {
    let Some(registry) = Registry::find(checked) else {
        return;
    };
    pods(checked, &registry);
    services(checked, &registry);
    network(checked, &registry);
    secrets(checked);
    no_literal_token(checked);
}

fn pods(checked: &mut Checked<'_>, registry: &Registry<'_>) {
    let document = registry.document;
    let (spec, container) = ("/spec/template/spec", registry.container());
    let at = |pointer: &str| document.value.pointer(&format!("{spec}{pointer}")).cloned();
    let selector = document.value.pointer("/spec/selector/matchLabels");
    checked.check(
        document,
        registry.has(selector),
        "selects other pods than its own",
    );
    checked.check(
        document,
        at("/securityContext/runAsNonRoot") == Some(json!(true))
            && at("/automountServiceAccountToken") == Some(json!(false))
            && container["securityContext"]["readOnlyRootFilesystem"] == true
            && container["securityContext"]["allowPrivilegeEscalation"] == false
            && container["securityContext"]["capabilities"]["drop"] == json!(["ALL"]),
        "may do more than it needs",
    );
    let ports = registry.ports();
    for (option, port) in [
        ("--listen", "lookups"),
        ("--admin-listen", "admin"),
        ("--metrics-listen", "metrics"),
    ] {
        let number = ports.get(port).copied().unwrap_or_default();
        let argument = format!("{option}=0.0.0.0:{number}");
        let has = list(container, "/args").any(|it| it == &json!(argument));
        checked.check(document, has, &format!("no argument {argument}"));
    }
    for probe in ["livenessProbe", "readinessProbe"] {
        let port = container[probe]["httpGet"]["port"] == "metrics";
        checked.check(
            document,
            port,
            &format!("{probe} asks another port than metrics"),
        );
    }
    let account = document.text("/spec/template/spec/serviceAccountName");
    let known = checked.of_kind("ServiceAccount").any(|it| {
        it.text("/metadata/name") == account
            && it.text("/metadata/namespace") == registry.namespace()
    });
    checked.check(document, known, &format!("no ServiceAccount {account}"));
}

fn services(checked: &mut Checked<'_>, registry: &Registry<'_>) {
    let ports = registry.ports();
    for service in checked.of_kind("Service") {
        let selects = registry.has(service.value.pointer("/spec/selector"))
            && service.text("/metadata/namespace") == registry.namespace();
        checked.check(service, selects, "does not select the registry");
        for port in list(&service.value, "/spec/ports") {
            let target = port.get("targetPort").unwrap_or(&port["port"]);
            let number = target
                .as_u64()
                .or_else(|| ports.get(target.as_str()?).copied());
            let has = number.is_some_and(|number| {
                ports.values().any(|port| *port == number) && port["port"] == json!(number)
            });
            checked.check(service, has, &format!("the registry has no port {target}"));
        }
    }
    let auth = checked
        .of_kind("Service")
        .find(|it| it.text("/metadata/name") == "auth");
    match auth {
        Some(auth) => {
            let only = list(&auth.value, "/spec/ports").map(|port| port["port"].as_u64());
            let lookups = ports.get("lookups").copied();
            checked.check(auth, only.eq([lookups]), "is for more than lookups");
        }
        None => checked.problems.push("no Service auth".to_owned()),
    }
}

/// Each port has one rule, which names the pods and the namespaces that it lets in.
fn network(checked: &mut Checked<'_>, registry: &Registry<'_>) {
    let Some(policy) = checked.only("NetworkPolicy") else {
        return;
    };
    let selects = registry.has(policy.value.pointer("/spec/podSelector/matchLabels"))
        && policy.text("/metadata/namespace") == registry.namespace();
    checked.check(policy, selects, "does not select the registry");
    let types = texts(&policy.value, "/spec/policyTypes");
    checked.check(policy, types.contains("Ingress"), "is not about Ingress");
    let mut seen = Vec::new();
    for rule in list(&policy.value, "/spec/ingress") {
        checked.check(
            policy,
            list(rule, "/from").next().is_some(),
            "a rule lets everyone in",
        );
        checked.check(
            policy,
            list(rule, "/ports").next().is_some(),
            "a rule is for all ports",
        );
        for peer in list(rule, "/from") {
            let labels = |selector: &str| {
                let labels = peer[selector]["matchLabels"].as_object();
                labels.is_some_and(|labels| !labels.is_empty())
            };
            checked.check(
                policy,
                labels("namespaceSelector") && labels("podSelector"),
                "a rule lets more than some pods of a namespace in",
            );
        }
        seen.extend(list(rule, "/ports").map(|port| port["port"].as_u64().unwrap_or_default()));
    }
    seen.sort_unstable();
    let ports: BTreeSet<_> = registry.ports().into_values().collect();
    checked.check(
        policy,
        seen.iter().eq(&ports),
        &format!("is about the ports {seen:?}, but the registry has {ports:?}"),
    );
}

/// Returns each variable whose name begins with `KEYSTILE_`.
pub(super) fn variables(value: &Value) -> Vec<&Value> {
    let mut found = Vec::new();
    collect(value, &mut |value| {
        if value["name"]
            .as_str()
            .is_some_and(|name| name.starts_with("KEYSTILE_"))
        {
            found.push(value);
        }
    });
    found
}

/// Variables come from Secrets. The service token comes from the same one everywhere, and the admin
/// token from another.
fn secrets(checked: &mut Checked<'_>) {
    let (mut service, mut admin) = (BTreeSet::new(), BTreeSet::new());
    for document in checked.documents {
        for variable in variables(&document.value) {
            let secret = &variable["valueFrom"]["secretKeyRef"];
            let named = secret["name"].is_string() && secret["key"].is_string();
            checked.check(
                document,
                named && variable.get("value").is_none(),
                &format!("{} comes from no Secret", variable["name"]),
            );
            let secret = format!("{} of {}", secret["key"], secret["name"]);
            match variable["name"].as_str() {
                Some(SERVICE_TOKEN) => service.insert(secret),
                Some("KEYSTILE_ADMIN_TOKEN") => admin.insert(secret),
                _ => false,
            };
        }
    }
    if service.len() != 1 {
        checked
            .problems
            .push(format!("service tokens: {service:?}"));
    }
    if !service.is_disjoint(&admin) {
        checked
            .problems
            .push(format!("also the admin token: {service:?}"));
    }
}

/// No document has a Bearer value other than that of the variable.
fn no_literal_token(checked: &mut Checked<'_>) {
    let bearer = format!("Bearer %ENVIRONMENT({SERVICE_TOKEN})%");
    for document in checked.documents {
        let mut literal = false;
        collect(&document.value, &mut |value| {
            let text = value.as_str().unwrap_or_default();
            literal |= text.to_ascii_lowercase().contains("bearer") && text != bearer;
        });
        checked.check(document, !literal, "has a literal token");
        let config = document.plugin().map(|(plugin, field)| &plugin[field]);
        let headers = config.map(|config| &config["lookup"]["headers"]);
        let none = headers.is_none_or(Value::is_null);
        checked.check(
            document,
            none,
            "has lookup.headers, which everyone can read",
        );
    }
}

/// Calls `each` with this value and all values in it.
fn collect<'a>(value: &'a Value, each: &mut impl FnMut(&'a Value)) {
    each(value);
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, each)),
        Value::Object(fields) => fields.values().for_each(|field| collect(field, each)),
        _ => {}
    }
}
