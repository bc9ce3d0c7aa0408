//! What Istio generates from its resources, as far as the shipped ones need it. Unknown fields are
//! errors.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

use super::Document;

/// The PEM files of a workload: its certificate, its key, and the mesh's authority.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The certificate.
    pub certificate: &'a Path,
    /// Its key.
    pub key: &'a Path,
    /// The certificate of the authority that signs all certificates of the mesh.
    pub authority: &'a Path,
}

impl Document {
    /// Applies the patches of an EnvoyFilter to a listener's HTTP settings, as Istio does. Other
    /// documents have no patches.
    ///
    /// # Errors
    /// When a patch is not supported here, or Istio would find no filter to insert before.
    pub fn patch(&self, http: &mut Value) -> Result<()> {
        for patch in self.patches() {
            let (operation, value) = (&patch["patch"]["operation"], &patch["patch"]["value"]);
            match (patch["applyTo"].as_str(), operation.as_str()) {
                (Some("NETWORK_FILTER"), Some("MERGE")) => merge(http, &value["typed_config"]),
                (Some("HTTP_FILTER"), Some("INSERT_FIRST")) => {
                    let filters = http["http_filters"].as_array_mut().context("no filters")?;
                    filters.insert(0, value.clone());
                }
                (Some("HTTP_FILTER"), Some("INSERT_BEFORE")) => {
                    let filter = &patch["match"]["listener"]["filterChain"]["filter"];
                    let filters = http["http_filters"].as_array_mut().context("no filters")?;
                    let before = filters
                        .iter()
                        .position(|other| other["name"] == filter["subFilter"]["name"]);
                    filters.insert(before.context("no filter to insert before")?, value.clone());
                }
                (to, what) => bail!("{}: unsupported patch: {what:?} on {to:?}", self.name()),
            }
        }
        Ok(())
    }

    /// Returns true if this is an EnvoyFilter for clusters.
    pub fn patches_clusters(&self) -> bool {
        self.patches().any(|patch| patch["applyTo"] == "CLUSTER")
    }

    /// Applies the patches of an EnvoyFilter to a proxy's cluster, as Istio does. Returns true if one
    /// matches. `context` is `SIDECAR_OUTBOUND` or `GATEWAY`.
    ///
    /// # Errors
    /// When a patch is not supported here.
    pub fn patch_cluster(&self, context: &str, cluster: &mut Value) -> Result<bool> {
        let mut matched = false;
        for patch in self.patches() {
            let about = &patch["match"]["cluster"];
            let name = cluster["name"]
                .as_str()
                .context("a cluster without a name")?;
            let mut parts = name.split('|').skip(1);
            let (port, subset, host) = (parts.next(), parts.next(), parts.next());
            ensure!(
                patch["applyTo"] == "CLUSTER" && patch["patch"]["operation"] == "MERGE",
                "{}: {patch}",
                self.name()
            );
            let same = |field: &str, value: Option<&str>| match &about[field] {
                Value::Null => true,
                Value::Number(number) => Some(number.to_string().as_str()) == value,
                wanted => wanted.as_str() == value,
            };
            if patch["match"]["context"] == context
                && same("portNumber", port)
                && same("subset", subset)
                && same("service", host)
            {
                matched = true;
                for (field, value) in patch["patch"]["value"].as_object().context("no value")? {
                    ensure!(field == "typed_extension_protocol_options", "{field}");
                    // In a map of messages, Istio replaces entries instead of merging them.
                    let entries = cluster.as_object_mut().context("no cluster")?;
                    let options = entries.entry(field).or_insert_with(|| json!({}));
                    let options = options.as_object_mut().context("no map")?;
                    options.extend(value.as_object().context("no map")?.clone());
                }
            }
        }
        Ok(matched)
    }

    fn patches(&self) -> impl Iterator<Item = &Value> {
        let patches = self.value.pointer("/spec/configPatches");
        patches.and_then(Value::as_array).into_iter().flatten()
    }

    /// Returns the transport socket of a cluster to which this DestinationRule with `ISTIO_MUTUAL`
    /// applies, in a proxy with this identity.
    ///
    /// # Errors
    /// When the rule has another mode or an unknown field.
    pub fn mutual_tls(&self, cluster: &str, identity: Identity<'_>) -> Result<Value> {
        let tls = self.value.pointer("/spec/trafficPolicy/tls");
        let tls = tls.and_then(Value::as_object).context("no tls")?;
        ensure!(tls["mode"] == "ISTIO_MUTUAL", "{}: {tls:?}", self.name());
        let known = |field: &&String| ["mode", "subjectAltNames"].contains(&field.as_str());
        ensure!(tls.keys().all(|field| known(&field)), "{tls:?}");
        let names = tls.get("subjectAltNames").and_then(Value::as_array);
        let names: Vec<_> = names
            .into_iter()
            .flatten()
            .map(|name| json!({"san_type": "URI", "matcher": {"exact": name}}))
            .collect();
        let mut validation = json!({"trusted_ca": {"filename": identity.authority}});
        if !names.is_empty() {
            validation["match_typed_subject_alt_names"] = json!(names);
        }
        Ok(json!({
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                "sni": cluster.replace('|', "_."),
                "common_tls_context": {
                    "alpn_protocols": ["h2"],
                    "tls_certificates": [certificate(identity)],
                    "validation_context": validation,
                },
            },
        }))
    }

    /// Returns the mode of mutual TLS that a PeerAuthentication sets for a port of its pods.
    pub fn peer_mode(&self, port: u16) -> &str {
        let own = format!("/spec/portLevelMtls/{port}/mode");
        match self.text(&own) {
            "" => self.text("/spec/mtls/mode"),
            own => own,
        }
    }

    /// Returns the HTTP filter that Istio generates from an AuthorizationPolicy for a port of the pod.
    /// The actual listener may use another port.
    ///
    /// # Errors
    /// When the policy has an unknown field.
    pub fn authorization(&self, port: u16) -> Result<Value> {
        ensure!(self.text("/spec/action") == "ALLOW", "{}", self.name());
        let rules = self.value.pointer("/spec/rules").and_then(Value::as_array);
        let mut policies = Map::new();
        for (index, rule) in rules.context("no rules")?.iter().enumerate() {
            let mut principals = Vec::new();
            for from in rule["from"].as_array().into_iter().flatten() {
                for (field, values) in from["source"].as_object().context("no source")? {
                    ensure!(field == "principals", "{field}");
                    for name in values.as_array().into_iter().flatten() {
                        let name = name.as_str().context("a principal is not a string")?;
                        principals.push(json!({"authenticated": {"principal_name":
                            text_matcher(name, "spiffe://")?}}));
                    }
                }
            }
            if principals.is_empty() {
                principals.push(json!({"any": true}));
            }
            let mut permissions = Vec::new();
            for to in rule["to"].as_array().into_iter().flatten() {
                let mut all = Vec::new();
                for (field, values) in to["operation"].as_object().context("no operation")? {
                    let values = values.as_array().context("no list")?;
                    let values = values
                        .iter()
                        .map(|value| value.as_str().unwrap_or_default());
                    let any: Vec<_> = values
                        .map(|value| permission(field, value, port))
                        .collect::<Result<_>>()?;
                    all.push(json!({"or_rules": {"rules": any}}));
                }
                permissions.push(json!({"and_rules": {"rules": all}}));
            }
            let policy = json!({"permissions": permissions, "principals": principals});
            policies.insert(format!("rule-{index}"), policy);
        }
        Ok(json!({
            "name": "envoy.filters.http.rbac",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
                "rules": {"action": "ALLOW", "policies": policies},
            },
        }))
    }
}

/// Returns a workload's certificate with its key, in Envoy's configuration.
pub fn certificate(identity: Identity<'_>) -> Value {
    json!({
        "certificate_chain": {"filename": identity.certificate},
        "private_key": {"filename": identity.key},
    })
}

fn permission(field: &str, value: &str, port: u16) -> Result<Value> {
    Ok(match field {
        "ports" if value == port.to_string() => json!({"any": true}),
        "ports" => json!({"not_rule": {"any": true}}),
        "methods" => json!({"header": {"name": ":method", "string_match": {"exact": value}}}),
        // Without the query.
        "paths" => json!({"url_path": {"path": text_matcher(value, "")?}}),
        other => bail!("unsupported operation field: {other}"),
    })
}

/// Returns a matcher for Istio's text. It may end with a star, but not begin with one here.
fn text_matcher(value: &str, before: &str) -> Result<Value> {
    Ok(match value.strip_suffix('*') {
        Some("") => bail!("{value} matches anything"),
        Some(prefix) => json!({"prefix": format!("{before}{prefix}")}),
        None => {
            ensure!(!value.contains('*'), "{value}");
            json!({"exact": format!("{before}{value}")})
        }
    })
}

/// Merges Envoy's messages as Istio does, except that a list replaces another list.
fn merge(into: &mut Value, value: &Value) {
    match (into, value) {
        (Value::Object(into), Value::Object(fields)) => {
            for (name, value) in fields {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, value) => *into = value.clone(),
    }
}
