//! Routes that rewrite paths, and headers by which a client claims another path or method.

use std::sync::Arc;

use anyhow::{Result, ensure};
use keystile_e2e::client;
use keystile_e2e::counters::Counters;
use keystile_e2e::recording_upstream::{ENTITLED, EXEMPT};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{Field, ID, SHIPPED, case, is_forwarded};
use crate::range::{OnDemand, end_of};

/// Returns routes that rewrite paths for the upstream: an endpoint of the key by its prefix, another one
/// by a regular expression, forbidden paths to permitted ones, and an exempt path to one that is not.
pub(super) fn routes() -> Value {
    let to = |mut more: Value| {
        more["cluster"] = json!("upstream");
        more
    };
    json!([
        {"match": {"prefix": "/v1/astro"}, "route": to(json!({"prefix_rewrite": "/internal"}))},
        {"match": {"prefix": "/v1/numerology/"}, "route": to(json!({"regex_rewrite": {
            "pattern": {"regex": "^/v1/numerology/(.*)$"}, "substitution": "/n/\\1"}}))},
        {"match": {"prefix": "/v1/secret"}, "route": to(json!({"prefix_rewrite": "/v1/astro"}))},
        {"match": {"prefix": "/hidden"}, "route": to(json!({"prefix_rewrite": "/healthz"}))},
        {"match": {"prefix": "/public"}, "route": to(json!({"prefix_rewrite": "/v1/x"}))},
        {"match": {"prefix": "/"}, "route": to(json!({}))},
    ])
}

pub(super) fn trials(range: &Arc<OnDemand>) -> Vec<Trial> {
    vec![
        case(range, "rewritten by routes", by_routes),
        case(range, "headers with another path or method", by_headers),
    ]
}

/// The decision is about the path that the client sends, before the route rewrites it.
fn by_routes(field: &Field<'_>, counters: &Counters) -> Result<()> {
    // The target, the status with the key, the status without it, and the path that the upstream sees.
    let rows = [
        ("/v1/astro", 200, 401, "/internal"),
        ("/v1/astro/natal?x=1", 200, 401, "/internal/natal?x=1"),
        ("/v1/astro/../secret", 403, 401, ""),
        ("/v1/astro/%2e%2e/secret", 403, 401, ""),
        ("/v1/astro/..%2fsecret", 403, 401, ""),
        ("/v1/numerology/x", 200, 401, "/n/x"),
        ("/v1/numerology/..%2f..%2fx", 403, 401, ""),
        ("/internal", 403, 401, ""),
        ("/internal/natal", 403, 401, ""),
        ("/n/x", 403, 401, ""),
        ("/v1/secret", 403, 401, ""),
        ("/v1/secret/x", 403, 401, ""),
        ("/hidden", 403, 401, ""),
        // Exempt paths are exempt for clients with a key, too.
        ("/public/x", 200, 200, "/v1/x/x"),
        ("/v1/x", 403, 401, ""),
    ];
    let to = field.range.envoy.listener("rewriting")?;
    let key = format!("x-api-key: {}", field.key);
    for (target, for_key, for_nobody, path) in rows {
        let is_exempt = for_nobody == 200;
        let whose = format!("{ENTITLED}: {}", if is_exempt { EXEMPT } else { ID });
        for (lines, status) in [
            (vec![key.as_str(), whose.as_str()], for_key),
            (vec![whose.as_str()], for_nobody),
        ] {
            let answer = client::get(to, target, lines);
            counters.count("rewritten", end_of(&answer));
            let answer = answer?;
            ensure!(answer.status == status, "{target}: {answer:?}");
            ensure!(
                is_forwarded(&answer) == (status == 200),
                "{target}: {answer:?}"
            );
            ensure!(
                status != 200 || answer.text() == path,
                "{target}: {answer:?}"
            );
        }
    }
    Ok(())
}

/// Headers with another path or method change nothing, for better or for worse.
fn by_headers(field: &Field<'_>, counters: &Counters) -> Result<()> {
    const HEADERS: [&str; 22] = [
        "x-envoy-original-path",
        "x-envoy-original-method",
        "x-envoy-original-url",
        "x-envoy-decorator-operation",
        "x-original-path",
        "x-original-url",
        "x-original-uri",
        "x-original-host",
        "x-rewrite-url",
        "x-rewrite-path",
        "x-forwarded-path",
        "x-forwarded-uri",
        "x-forwarded-url",
        "x-forwarded-prefix",
        "x-forwarded-host",
        "x-forwarded-method",
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        "x-request-uri",
        "path",
        "forwarded",
    ];
    let key = format!("x-api-key: {}", field.key);
    let id = format!("{ENTITLED}: {ID}");
    for listener in [SHIPPED.exempting, "rewriting"] {
        let to = field.range.envoy.listener(listener)?;
        for header in HEADERS {
            for value in [
                "/healthz",
                "/public/x",
                "/v1/astro/x",
                "/v1/secret",
                "OPTIONS",
                "GET",
                "http://other/healthz",
            ] {
                let line = format!("{header}: {value}");
                // The headers of a browser's preflight, but with another method.
                let preflight = [
                    "origin: https://a.example",
                    "access-control-request-method: PUT",
                ];
                for (lines, target, status) in [
                    (vec![], "/v1/astro/x", 401),
                    (preflight.to_vec(), "/v1/astro/x", 401),
                    (vec![key.as_str(), &id], "/v1/x", 403),
                    (vec![key.as_str(), &id], "/v1/astro/x", 200),
                ] {
                    let answer = client::get(to, target, [&lines[..], &[&line]].concat());
                    counters.count("another path or method", end_of(&answer));
                    let answer = answer?;
                    ensure!(answer.status == status, "{line}, {target}: {answer:?}");
                }
            }
        }
    }
    Ok(())
}
