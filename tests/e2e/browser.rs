//! What pages of another origin can read of Keystile's replies, in a real browser.

use anyhow::{Context, Result, ensure};
use keystile_e2e::browser::{Fetch, Page};
use keystile_e2e::client::{self, Response};
use keystile_e2e::envoy::{Listener, cluster, each_http_settings, http_settings};
use keystile_e2e::gateway;
use keystile_e2e::keys::{GOOD, hash, made_up_key};
use keystile_e2e::manifests::documents;
use keystile_e2e::recording_upstream::RecordingUpstream;
use keystile_e2e::scripted_auth::{Script, answer};
use keystile_e2e::shipped::{self, FREE};
use keystile_e2e::stack::{Setup, Stack};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

trials! { Together:
    "browser: reads each reply of the gateway" => reads_each_reply_of_the_gateway,
    "browser: reads replies behind cors only" => reads_replies_behind_cors_only,
}

/// What a page can read of a reply: its status, the body's `error`, and two headers.
type Read<'a> = (u16, Option<&'a str>, Option<&'a str>, Option<&'a str>);

const BARE: &str = r#"Bearer realm="api""#;
const INVALID: &str = r#"Bearer realm="api", error="invalid_token""#;
const MISSING: Read<'_> = (401, Some("api_key_missing"), Some(BARE), None);
const NOT_FOUND: Read<'_> = (401, Some("api_key_not_found"), Some(INVALID), None);
const ALLOWED: Read<'_> = (200, None, None, None);
const UNAVAILABLE: Read<'_> = (503, Some("internal_error"), None, Some("1"));
const LIMITED: Read<'_> = (429, Some("rate_limited"), None, Some("1"));

/// A page whose origin `envoy/gateway.yaml` allows reads each reply, and another page none.
fn reads_each_reply_of_the_gateway() -> Result<()> {
    let runtime = Runtime::new()?;
    let folder = tempfile::tempdir()?;
    let upstream = RecordingUpstream::echoing();
    let (serving, allowed, other) = runtime.block_on(async {
        let serving = upstream.serve().await?;
        anyhow::Ok((serving, Page::serve().await?, Page::serve().await?))
    })?;
    let stack = shipped::Stack::with(
        |ports| for_page(&gateway::config_on(ports)?, &allowed.origin()),
        serving.address,
        FREE,
        &folder.path().join("keystile.db"),
        false,
    )?;
    let active = stack.keys()?.active.key;
    let url = format!("http://{}/v1/x", stack.listener);

    let bearer = |key: &str| json!({"headers": {"authorization": format!("Bearer {key}")}});
    // Without permission. The first request is sent without asking for it.
    let rows = [(json!({}), None), (bearer(&active), None)];
    ensure_reads(&other, &url, &rows)?;
    ensure!(upstream.counts().arrived == 0, "{}", upstream.text());

    let post = |key: &str| {
        let headers = json!({"x-api-key": key, "content-type": "application/json"});
        json!({"method": "POST", "headers": headers, "body": "{}"})
    };
    let rows = [
        (json!({}), Some(MISSING)),
        (bearer(&made_up_key()), Some(NOT_FOUND)),
        (post(&made_up_key()), Some(NOT_FOUND)),
        (bearer(&active), Some(ALLOWED)),
        (post(&active), Some(ALLOWED)),
    ];
    ensure_reads(&allowed, &url, &rows)?;
    ensure!(upstream.counts().arrived == 2, "{}", upstream.text());

    preflights_end_at_the_gateway(&stack, &upstream)?;

    drop(stack.server);
    let rows = [
        (bearer(&made_up_key()), Some(UNAVAILABLE)),
        (json!({}), Some(LIMITED)),
    ];
    ensure_reads(&allowed, &url, &rows)
}

/// Requests that need a token of `limits-by-address` before the last row: all but preflights.
const TOKENS: u64 = 9;

/// Returns `envoy/gateway.yaml` as its user changes it for a page, and with few tokens for an address.
fn for_page(gateway: &str, origin: &str) -> Result<Value> {
    let mut config: Value = serde_saphyr::from_str(gateway)?;
    let http = http_settings(&mut config)?;
    let host = &mut http["route_config"]["virtual_hosts"][0];
    host["typed_per_filter_config"]["cors"]["allow_origin_string_match"][0] =
        json!({"exact": origin});
    *gateway::tokens_in(http)? =
        json!({"max_tokens": TOKENS, "tokens_per_fill": TOKENS, "fill_interval": "3600s"});
    shipped::with_patience(http)?;
    Ok(config)
}

/// Checks what a page reads of the replies to requests: `None` stands for a network error.
fn ensure_reads(page: &Page, url: &str, rows: &[(Value, Option<Read<'_>>)]) -> Result<()> {
    let requests = rows.iter().map(|(init, _)| (url.to_owned(), init.clone()));
    let requests: Vec<Fetch> = requests.collect();
    for ((init, expected), reply) in rows.iter().zip(page.fetch(&requests)?) {
        let what = || format!("{init}: {reply:?}, not {expected:?}");
        match (&reply, expected) {
            (Some(reply), Some(expected)) => ensure!(is(reply, *expected)?, what()),
            (reply, expected) => ensure!(reply.is_none() && expected.is_none(), what()),
        }
    }
    Ok(())
}

fn is(reply: &Response, expected: Read<'_>) -> Result<bool> {
    let body: Value = serde_json::from_slice(&reply.body)?;
    let error = body["error"].as_str();
    let (challenge, retry) = (
        reply.header("www-authenticate")?,
        reply.header("retry-after")?,
    );
    // The ID with which the request can be found in the logs.
    let id = reply.header("x-request-id")?;
    let has_id = error.is_none() || id.is_some() && id == body["request_id"].as_str();
    Ok((reply.status, error, challenge, retry) == expected && has_id)
}

/// Whoever sends a preflight, it reaches neither Keystile nor the upstream. Other `OPTIONS` need a key.
fn preflights_end_at_the_gateway(
    stack: &shipped::Stack,
    upstream: &RecordingUpstream,
) -> Result<()> {
    const METHOD: &str = "access-control-request-method: POST";
    let rows: [(&[&str], u16); 4] = [
        (&["origin: https://other.example.com", METHOD], 200),
        (&["origin: null", METHOD], 200),
        (&["origin: https://other.example.com"], 401),
        (&[METHOD], 401),
    ];
    let before = upstream.counts().arrived;
    for (lines, status) in rows {
        let head = client::head("OPTIONS", "/v1/x", lines.iter().copied());
        let response = client::send(stack.listener, head.as_bytes())?.response()?;
        ensure!(response.status == status, "{lines:?}: {response:?}");
        let permission = response.header("access-control-allow-origin")?;
        ensure!(permission.is_none(), "{lines:?}: {response:?}");
    }
    ensure!(
        upstream.counts().arrived == before,
        "arrived: {}",
        upstream.text()
    );
    Ok(())
}

/// In the order of Istio's gateways, `cors` adds nothing to Keystile's replies, and a page gets a network
/// error. The shipped EnvoyFilter changes that. With Keystile in a sidecar, nothing needs to change.
fn reads_replies_behind_cors_only() -> Result<()> {
    let runtime = Runtime::new()?;
    let page = runtime.block_on(Page::serve())?;
    let plugin = json!({"lookup": {"cluster": "auth", "timeout": "10s"}});
    let listeners = |names: &[&'static str]| {
        let names = names.iter();
        names.map(|name| Listener::new(name, &plugin)).collect()
    };
    let origin = page.origin();
    let stack = Stack::start(Setup {
        edit: Box::new(move |config| as_in_istio(config, &origin)),
        runtime: Some(runtime),
        ..Setup::new(listeners(&["gateway", "patched gateway", "sidecar"]))
    })?;
    let sidecar = cluster("upstream", Some(stack.envoy.listener("sidecar")?));
    let origin = page.origin();
    let front = Stack::start(Setup {
        clusters: vec![sidecar],
        edit: Box::new(move |config| as_in_istio(config, &origin)),
        ..Setup::new(listeners(&["gateway of a sidecar"]))
    })?;

    let (known, unknown) = (made_up_key(), made_up_key());
    for (key, status, record) in [(&known, "200 OK", GOOD), (&unknown, "404 Not Found", "")] {
        let script = Script::Answer(answer(status, record));
        stack.auth.script(&hash(key)?, script);
    }
    let keys = [None, Some(&unknown), Some(&known)];
    let inits = keys.map(|key| key.map_or(json!({}), |key| json!({"headers": {"x-api-key": key}})));
    let all: Reads<'_> = [Some(MISSING), Some(NOT_FOUND), Some(ALLOWED)];
    let rows = [
        (&stack, "gateway", [None, None, Some(ALLOWED)]),
        (&stack, "patched gateway", all),
        (&front, "gateway of a sidecar", all),
    ];
    for (stack, name, expected) in rows {
        let url = format!("http://{}/v1/x", stack.envoy.listener(name)?);
        let rows: Vec<_> = inits.iter().cloned().zip(expected).collect();
        ensure_reads(&page, &url, &rows).context(name)?;
    }
    Ok(())
}

/// What a page reads without a key, with an unknown one, and with a known one.
type Reads<'a> = [Option<Read<'a>>; 3];

/// Changes listeners to what Istio makes of a VirtualService with a `corsPolicy`: it follows the policy
/// of the route, and comes after the filters of plugins.
fn as_in_istio(config: &mut Value, origin: &str) -> Result<()> {
    for (name, http) in each_http_settings(config) {
        // Istio's sidecars do not read VirtualServices for requests that come in.
        if name == "sidecar" {
            continue;
        }
        let route = &mut http["route_config"]["virtual_hosts"][0]["routes"][0];
        route["typed_per_filter_config"] = json!({"envoy.filters.http.cors": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy",
            "allow_origin_string_match": [{"exact": origin}],
            "allow_methods": "GET",
            "allow_headers": "x-api-key",
            "expose_headers": "x-request-id,retry-after,www-authenticate",
        }});
        let filters = http["http_filters"].as_array_mut().context("no filters")?;
        filters.insert(
            1,
            json!({"name": "envoy.filters.http.cors", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors",
            }}),
        );
        match &*name {
            "patched gateway" => {
                for document in documents("envoy/istio")? {
                    if document.file.ends_with("cors.yaml") {
                        document.patch(http)?;
                    }
                }
            }
            "gateway of a sidecar" => {
                filters.remove(0);
            }
            _ => {}
        }
    }
    Ok(())
}
