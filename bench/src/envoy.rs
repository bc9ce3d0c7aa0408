//! Envoy's configuration: a listener for each variant.

use std::path::Path;

use anyhow::Result;
use keystile_e2e::envoy::{Envoy, Launch, cluster, http2_cluster, module};
use keystile_e2e::shipped;
use serde_json::{Value, json};

use crate::cpu::Cores;
use crate::floor;
use crate::servers::Servers;
use crate::variants::{STATIC_KEYS, Subject, Variant, key};

const HTTP_FILTERS: &str = "type.googleapis.com/envoy.extensions.filters.http";

/// The headers that variants with a callout set for the upstream, as Keystile does.
const IDENTITY_HEADERS: [&str; 2] = ["x-keystile-key-id", "x-keystile-account-id"];

/// A timeout long enough for a burst on a busy machine, because timeouts are not measured.
const PATIENCE: &str = "10s";

/// Starts Envoy on its core, with a listener for each subject.
pub(crate) fn start(
    subjects: &[Subject<'_>],
    workers: u32,
    cores: &Cores,
    servers: &Servers,
    folder: &Path,
) -> Result<Envoy> {
    let mut listeners = Vec::new();
    for subject in subjects {
        let module = match (subject.variant, subject.against) {
            (_, Some(against)) => against.to_owned(),
            (variant, None) if variant.is_floor() => {
                let file = folder.join(variant.name()).with_extension("wasm");
                std::fs::write(&file, floor::module(variant)?)?;
                file
            }
            _ => module(),
        };
        listeners.push(listener(*subject, &module));
    }
    let config = json!({
        "admin": {"address": address()},
        // As shipped, so that what is measured is what an operator sees.
        "memory_allocator_manager": shipped::allocator()?,
        "static_resources": {
            "listeners": listeners,
            "clusters": [
                cluster("upstream", Some(servers.upstream)),
                http2_cluster("auth", servers.auth),
            ],
        },
    });
    let launch = Launch {
        log_level: "info",
        command: Some(cores.envoy_command()?),
        ..Launch::workers(workers)
    };
    // Logs the time in seconds, to compute how long the start took.
    let launch = launch.with(&["--log-format", "%E.%F %v"]);
    launch.start(config, folder)
}

fn address() -> Value {
    json!({"socket_address": {"address": "127.0.0.1", "port_value": 0}})
}

/// Returns a listener that is set up as in envoy/envoy.yaml.
fn listener(subject: Subject<'_>, module: &Path) -> Value {
    let mut filters = Vec::from_iter(filter(subject, module));
    let name = subject.name();
    filters.push(json!({
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": format!("{HTTP_FILTERS}.router.v3.Router")},
    }));
    json!({
        "name": name,
        "address": address(),
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": name,
                "normalize_path": true,
                "merge_slashes": true,
                "path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT",
                "common_http_protocol_options": {"headers_with_underscores_action": "DROP_HEADER"},
                "route_config": {"virtual_hosts": [{
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}],
                }]},
                "http_filters": filters,
            },
        }]}],
    })
}

fn filter(subject: Subject<'_>, module: &Path) -> Option<Value> {
    let (kind, mut config) = match subject.variant {
        Variant::NoFilter => return None,
        Variant::NativeKeys => ("api_key_auth.v3.ApiKeyAuth", native_keys()),
        Variant::LuaHeader => ("lua.v3.Lua", lua(include_str!("header.lua"))),
        Variant::LuaCallout => ("lua.v3.Lua", lua(include_str!("callout.lua"))),
        Variant::AuthzHttp => ("ext_authz.v3.ExtAuthz", authz_http()),
        Variant::AuthzGrpc => ("ext_authz.v3.ExtAuthz", authz_grpc()),
        Variant::Cached
        | Variant::CachedRotation
        | Variant::Lookup
        | Variant::Refused
        | Variant::Malformed
        | Variant::CachedFloor
        | Variant::LookupFloor
        | Variant::RefusedFloor => ("wasm.v3.Wasm", wasm(subject, module)),
    };
    config["@type"] = json!(format!("{HTTP_FILTERS}.{kind}"));
    Some(json!({"name": subject.name(), "typed_config": config}))
}

fn native_keys() -> Value {
    let credentials: Vec<_> = (0..STATIC_KEYS)
        .map(|number| json!({"key": key(number), "client": format!("acct_{number}")}))
        .collect();
    json!({
        "credentials": credentials,
        "key_sources": [{"header": "authorization"}],
        "forwarding": {"header": IDENTITY_HEADERS[1], "hide_credentials": true},
    })
}

fn lua(script: &str) -> Value {
    json!({"default_source_code": {"inline_string": script}})
}

fn authz_http() -> Value {
    let headers = IDENTITY_HEADERS.map(|name| json!({"exact": name}));
    json!({
        "transport_api_version": "V3",
        "http_service": {
            "server_uri": {"uri": "http://auth", "cluster": "auth", "timeout": PATIENCE},
            "path_prefix": "/authz",
            "authorization_response": {"allowed_upstream_headers": {"patterns": headers}},
        },
    })
}

fn authz_grpc() -> Value {
    json!({
        "transport_api_version": "V3",
        "grpc_service": {"envoy_grpc": {"cluster_name": "auth"}, "timeout": PATIENCE},
    })
}

/// Returns the Wasm filter's configuration. Each variant has its own VM, so that none is slowed
/// down by another's cache.
fn wasm(subject: Subject<'_>, module: &Path) -> Value {
    let cache = match subject.variant {
        Variant::Lookup => json!({
            "allow_ttl": "0s", "not_found_ttl": "0s", "revoked_ttl": "0s", "stale_if_error": "0s",
        }),
        _ => json!({"allow_ttl": "12h", "not_found_ttl": "12h"}),
    };
    let mut lookup = json!({"cluster": "auth", "timeout": PATIENCE});
    if matches!(subject.variant, Variant::Refused) {
        lookup["path"] = json!("/v1/unknown/{key_hash}");
    }
    let plugin = json!({"lookup": lookup, "cache": cache});
    json!({"config": {
        "name": subject.name(),
        "failure_policy": "FAIL_CLOSED",
        "vm_config": {
            "vm_id": subject.name(),
            "runtime": "envoy.wasm.runtime.v8",
            "code": {"local": {"filename": module}},
        },
        "configuration": {
            "@type": "type.googleapis.com/google.protobuf.StringValue",
            "value": plugin.to_string(),
        },
    }})
}
