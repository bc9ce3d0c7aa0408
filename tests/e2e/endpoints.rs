//! Endpoints of a record that can never match: whoever wrote them expects a wildcard, or left out the
//! first slash.

use anyhow::{Result, ensure};
use keystile_e2e::client;
use keystile_e2e::envoy::Listener;
use keystile_e2e::keys::{hash, made_up_key};
use keystile_e2e::scripted_auth::{Script, answer};
use keystile_e2e::stack::{Setup, Stack};
use serde_json::{Value, json};

trials! { Together:
    "endpoints: patterns that match nothing" => patterns_that_match_nothing,
}

/// Paths that somebody may have meant, or that are equal to an endpoint.
const PATHS: [&str; 6] = ["/", "/v1/x", "/v1/astro", "/v1/*", "/*", "/v1/*/x"];

/// Such an endpoint allows no request. The log names the key and the endpoint once, however often the
/// key is looked up, and says nothing about other keys.
fn patterns_that_match_nothing() -> Result<()> {
    let plugin = json!({
        "lookup": {"cluster": "auth", "timeout": "10s"},
        // Each request is a lookup.
        "cache": {"allow_ttl": "0s"},
    });
    let stack = Stack::start(Setup::new(vec![Listener::new("endpoints", &plugin)]))?;
    // The key ID, its endpoints, and the one that the log names.
    let rows = [
        ("key_star", json!(["/v1/*"]), Some("/v1/*")),
        ("key_relative", json!(["v1/astro"]), Some("v1/astro")),
        ("key_all", json!(["*"]), Some("*")),
        ("key_empty", json!([""]), Some("")),
        ("key_none", json!([]), None),
        ("key_good", json!(["/"]), None),
        ("key_any", Value::Null, None),
    ];
    for (key_id, endpoints, named) in rows {
        let record = json!({"key_id": key_id, "status": "active", "endpoints": endpoints});
        let key = made_up_key();
        let script = Script::Answer(answer("200 OK", &record.to_string()));
        stack.auth.script(&hash(&key)?, script);
        let allowed = ["key_good", "key_any"].contains(&key_id);
        for path in PATHS {
            let line = format!("x-api-key: {key}");
            let answer = client::get(stack.envoy.listener("endpoints")?, path, [&*line])?;
            let is_right = if allowed {
                answer.status == 200
            } else {
                answer.status == 403 && answer.text().contains("\"endpoint_restricted\"")
            };
            ensure!(is_right, "{key_id}, {path}: {answer:?}");
        }
        let lookups = stack.auth.lookups_about(&hash(&key)?);
        ensure!(lookups == PATHS.len(), "{key_id}: {lookups} lookups");
        let log = stack.envoy.written();
        let warnings: Vec<_> = log.lines().filter(|line| line.contains(key_id)).collect();
        let is_right = match (named, &warnings[..]) {
            (None, []) => true,
            (Some(endpoint), [warning]) => {
                let text = format!("the endpoint {endpoint:?} of key {key_id} can never match");
                warning.contains(&text) && warning.contains("[warning]")
            }
            _ => false,
        };
        ensure!(is_right, "{key_id}: {warnings:#?}");
    }
    stack.envoy.no_vm_died()
}
