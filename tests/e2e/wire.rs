//! HTTP/2 and gRPC, the custom configuration, trace headers and non-disclosure.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::Full;
use keystile_e2e::client::{self, Response, http2};
use keystile_e2e::keys::{GOOD, hash, made_up_key};
use keystile_e2e::recording_upstream::Arrived;
use keystile_e2e::scripted_auth::{Script, answer};
use serde_json::Value;

use crate::table::{Reply, check_headers};
use crate::world::World;

trials! { Together:
    "wire: gRPC" => grpc,
    "wire: HTTP/2" => over_http2,
    "wire: everything configured otherwise" => custom,
    "wire: credential forwarded" => forwarded,
    "wire: trace headers" => trace_headers,
    "wire: keys in trace headers" => keys_in_trace_headers,
    "wire: other trace headers" => other_trace_headers,
    "wire: non-disclosure" => non_disclosure,
}

type Headers<'a> = &'a [(&'a str, &'a str)];

/// gRPC replies have status 200, and the outcome in `grpc-status` and `grpc-message`.
fn grpc(world: &World) -> Result<()> {
    let failing = world.scripted_key(Script::Answer(answer("500 Oops", "")))?;
    let cases = [
        ("api_key_missing", None),
        ("api_key_invalid", Some("aw_short")),
        ("api_key_not_found", Some(world.key("unknown")?)),
        ("api_key_revoked", Some(world.key("revoked")?)),
        ("endpoint_restricted", Some(world.key("astro")?)),
        ("internal_error", Some(failing.as_str())),
    ];
    for content_type in ["application/grpc", "application/grpc+proto"] {
        for (error, key) in cases {
            let mut request = hyper::Request::post(format!("http://test/s.S/{error}"))
                .header("content-type", content_type)
                .header("te", "trailers");
            if let Some(key) = key {
                request = request.header("authorization", format!("Bearer {key}"));
            }
            let request = request.body(Full::new(Bytes::from_static(b"\0\0\0\0\0")))?;
            let response = exchange(world, "plain", request)?;
            let reply = Reply::of(error)?;
            check_headers(&response, &reply).context(error)?;
            let header = |name| response.header(name);
            ensure!(response.status == 200, "{error}: {}", response.status);
            ensure!(
                header("content-type")? == Some("application/grpc"),
                "{error}: {response:?}"
            );
            ensure!(
                header("grpc-status")? == Some(reply.grpc_status),
                "{error}: {response:?}"
            );
            ensure!(
                header("grpc-message")? == Some(&*reply.message),
                "{error}: {response:?}"
            );
            ensure!(
                header("x-keystile-error")? == Some(error),
                "{error}: {response:?}"
            );
            ensure!(response.body.is_empty(), "{error}: {}", response.text());
        }
    }
    Ok(())
}

/// HTTP/2 leads to the same decisions.
fn over_http2(world: &World) -> Result<()> {
    let request = |headers: Headers<'_>| {
        headers
            .iter()
            .fold(
                hyper::Request::post("http://test/v1/x"),
                |request, (name, value)| request.header(*name, *value),
            )
            .body(Full::new(Bytes::from_static(b"hello")))
    };
    let bearer = |key: &str| Ok::<_, anyhow::Error>(format!("Bearer {}", world.key(key)?));
    let (active, unknown) = (bearer("active")?, bearer("unknown")?);
    let cases: [(&str, Headers<'_>, u16, &str); 5] = [
        ("active", &[("authorization", &active)], 200, ""),
        (
            "unknown",
            &[("authorization", &unknown)],
            401,
            "api_key_not_found",
        ),
        ("none", &[], 401, "api_key_missing"),
        (
            "repeated",
            &[("authorization", &active), ("authorization", &active)],
            401,
            "api_key_invalid",
        ),
        ("empty", &[("authorization", "")], 401, "api_key_missing"),
    ];
    for (name, headers, status, error) in cases {
        let response = exchange(world, "plain", request(headers)?)?;
        ensure!(response.status == status, "{name}: {response:?}");
        let body: Value = serde_json::from_slice(&response.body)?;
        if status == 200 {
            ensure!(body["body"] == "hello", "{name}: {body}");
        } else {
            ensure!(body["error"] == error, "{name}: {body}");
        }
    }
    let non_utf8 = hyper::header::HeaderValue::from_bytes(b"Bearer \xff\xfe")?;
    let mut request = request(&[])?;
    request.headers_mut().insert("authorization", non_utf8);
    let response = exchange(world, "plain", request)?;
    ensure!(
        response.text().contains("api_key_invalid"),
        "non-UTF-8: {response:?}"
    );
    Ok(())
}

fn exchange(
    world: &World,
    listener: &str,
    request: hyper::Request<Full<Bytes>>,
) -> Result<Response> {
    let to = world.envoy.listener(listener)?;
    let response = world.runtime.block_on(http2(to, request))?;
    world.keep_reply(&response);
    Ok(response)
}

/// A configuration in which everything differs from the defaults.
fn custom(world: &World) -> Result<()> {
    let to = world.envoy.listener("custom")?;
    let ask = |header: &str| {
        let id = format!("x-request-id: custom-{}", header.len());
        client::get(to, "/v1/x", [header, &id])
    };
    let missing = ask("x-api-key: 12345678")?;
    ensure!(missing.status == 401, "{missing:?}");
    ensure!(
        missing.header("www-authenticate")? == Some("ApiKey realm=\"example\""),
        "{missing:?}"
    );
    let body: Value = serde_json::from_slice(&missing.body)?;
    ensure!(body["message"] == "Bring a key, s'il vous plaît.", "{body}");
    ensure!(
        body["doc_url"] == "https://example.com/errors#api_key_missing",
        "{body}"
    );

    let not_found = ask("x-token: 12345678")?;
    ensure!(
        not_found
            .text()
            .contains("Verify the key in your Example dashboard."),
        "{not_found:?}"
    );
    ensure!(
        ask("x-token: 1234567")?.text().contains("api_key_invalid"),
        "too short"
    );
    ensure!(
        ask("authorization: Bearer 12345678")?
            .text()
            .contains("api_key_missing"),
        "Bearer"
    );

    let staging = world.key("staging")?;
    let allowed = ask(&format!("authorization: apikey {staging}"))?;
    ensure!(allowed.status == 200, "{allowed:?}");
    let echo = Arrived::echoed(&allowed.body)?;
    ensure!(
        echo.values("x-key").iter().all(|id| id.starts_with("key_")),
        "{echo:?}"
    );
    ensure!(echo.values("x-env") == ["staging"], "{echo:?}");
    ensure!(echo.values("x-keystile-key-id").is_empty(), "{echo:?}");

    // Not found by `x-request-id`: without a key prefix, that might be a key, so it is not sent.
    let target = format!(
        "GET /v1/key-hashes/{}?from=gateway HTTP/1.1\r\n",
        hash(staging)?
    );
    let received = world.auth.text();
    let (_, rest) = received.split_once(&target).context("no lookup")?;
    let lookup = rest.split_inclusive("\r\n\r\n").next().unwrap_or_default();
    ensure!(!lookup.contains("x-request-id"), "{lookup}");
    ensure!(
        lookup.contains("host: auth.default.svc.cluster.local\r\n"),
        "{lookup}"
    );
    ensure!(
        lookup.contains("authorization: Bearer service-token\r\n"),
        "{lookup}"
    );
    Ok(())
}

/// `credential.forward`: the upstream gets the credential unchanged.
fn forwarded(world: &World) -> Result<()> {
    let line = format!("authorization: Bearer {}", world.key("forwarded")?);
    let response = client::get(world.envoy.listener("forward")?, "/", [line.as_str()])?;
    let echo = Arrived::echoed(&response.body)?;
    let expected = format!("Bearer {}", world.key("forwarded")?);
    ensure!(echo.values("authorization") == [expected], "{echo:?}");
    ensure!(
        echo.values("x-keystile-account-id") == ["acct_1"],
        "{echo:?}"
    );
    Ok(())
}

/// The lookup carries the trace headers of its request, and nothing else from it.
fn trace_headers(world: &World) -> Result<()> {
    let id = "e2e-trace";
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    // Of no other test: requests with one key may share a lookup.
    let key = world.scripted_key(Script::Answer(answer("200 OK", GOOD)))?;
    let credential = format!("x-api-key: {key}");
    let response = client::get(
        world.envoy.listener("plain")?,
        "/v1/x",
        [
            &format!("x-request-id: {id}"),
            &format!("traceparent: {trace}"),
            "tracestate: a=1",
            "cookie: session=1",
            &credential,
        ],
    )?;
    ensure!(response.status == 200, "{response:?}");
    let lookups = world.auth.lookups_of(id);
    let lookup = lookups.first().context("no lookup")?;
    let hash = hash(&key)?;
    ensure!(
        lookup.starts_with(&format!("GET /v1/key-hashes/{hash} HTTP/1.1\r\n")),
        "{lookup}"
    );
    for line in [
        "host: auth\r\n",
        "accept: application/json\r\n",
        &format!("traceparent: {trace}\r\n"),
        "tracestate: a=1\r\n",
    ] {
        ensure!(lookup.contains(line), "no {line} in {lookup}");
    }
    for word in ["cookie", "api-key", "authorization"] {
        ensure!(!lookup.contains(word), "{word} in {lookup}");
    }
    Ok(())
}

/// If a client puts its key into a header that lookups carry on, the auth cluster does not see it.
fn keys_in_trace_headers(world: &World) -> Result<()> {
    let to = world.envoy.listener("plain")?;
    for name in ["x-request-id", "traceparent", "tracestate"] {
        for around in ["KEY", "Bearer KEY", "acme=KEY,other=1", "id-KEY"] {
            let key = made_up_key();
            let hash = hash(&key)?;
            let record = answer("200 OK", GOOD);
            world.auth.script(&hash, Script::Answer(record));
            let value = format!("{name}: {}", around.replace("KEY", &key));
            let credential = format!("x-api-key: {key}");
            let response = client::get(to, "/v1/x", [value.as_str(), credential.as_str()])?;
            ensure!(response.status == 200, "{value}: {response:?}");
            let lookup = world.auth.lookup_about(&hash).context("no lookup")?;
            ensure!(!lookup.contains(&key), "{value}: {lookup}");
        }
    }
    Ok(())
}

/// `lookup.propagate_headers`: the lookup carries the listed headers instead of the default ones, except
/// values with a key.
fn other_trace_headers(world: &World) -> Result<()> {
    let to = world.envoy.listener("propagating")?;
    // The upstream gets this key, in the headers that the filter leaves alone.
    let key = made_up_key();
    let record = answer("200 OK", GOOD);
    world.auth.script(&hash(&key)?, Script::Answer(record));
    let carried = [
        "b3: 80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1",
        "x-b3-traceid: 80f198ee56343ba864fe8b2a57d3eff7",
        "baggage: user=1,other=2",
        "baggage: third=3",
    ];
    let dropped = [
        "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "tracestate: a=1",
        "x-request-id: e2e-other-trace",
        "x-b3-spanid: e457b5a2e4d86bd1",
        &format!("baggage: key={key}"),
        &format!("b3: {key}"),
    ];
    let credential = format!("x-api-key: {key}");
    let lines = carried.into_iter().chain(dropped).chain([&*credential]);
    let response = client::get(to, "/v1/x", lines)?;
    ensure!(response.status == 200, "{response:?}");
    let lookup = world.auth.lookup_about(&hash(&key)?).context("no lookup")?;
    for line in carried {
        ensure!(
            lookup.contains(&format!("{line}\r\n")),
            "no {line} in {lookup}"
        );
    }
    for line in dropped {
        ensure!(!lookup.contains(line), "{line} in {lookup}");
    }
    ensure!(!lookup.contains(&key), "the key in {lookup}");
    Ok(())
}

/// Unknown keys, deleted keys and keys of another environment get the same bytes.
fn non_disclosure(world: &World) -> Result<()> {
    let to = world.envoy.listener("production")?;
    let masked = |key: &str, method: &str| -> Result<String> {
        let key = format!("x-api-key: {}", world.key(key)?);
        let request = client::head(method, "/v1/x", [key.as_str()]);
        let response = client::send(to, request.as_bytes())?.response()?;
        let id = response
            .header("x-request-id")?
            .context("no id")?
            .to_owned();
        let mut text = format!("{}\n", response.status);
        for (name, value) in &response.headers {
            if name != "date" {
                text.push_str(&format!("{name}: {}\n", value));
            }
        }
        text.push_str(&response.text());
        let text = text.replace(&id, "ID");
        Ok(match text.split_once("\"timestamp\":\"") {
            Some((before, after)) => format!("{before}{}", &after[20..]),
            None => text,
        })
    };
    for method in ["GET", "HEAD"] {
        let expected = masked("unknown", method)?;
        ensure!(expected.contains("401"), "{expected}");
        for key in ["deleted", "staging", "revoked_staging", "expired"] {
            let text = masked(key, method)?;
            ensure!(text == expected, "{key}:\n{text}\nnot\n{expected}");
        }
    }
    Ok(())
}
