//! The bytes of the answers, and the lookups that they cost.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::Full;
use keystile_e2e::client::{self, http2};
use keystile_e2e::counters::End;
use keystile_e2e::process::until;

use super::{KINDS, Kind, Site};
use crate::range::Steady;
use crate::test_database::TestDatabase;

/// How a request is sent.
struct Way {
    name: &'static str,
    status: u16,
    /// Returns the answer's status and what a client can see of it, except what differs in every answer.
    ask: fn(&Site, &str) -> Result<(u16, String)>,
}

const WAYS: [Way; 8] = [
    Way {
        name: "GET",
        status: 401,
        ask: |site, key| over_http1(site, "GET", "/v1/x", key),
    },
    Way {
        name: "HEAD",
        status: 401,
        ask: |site, key| over_http1(site, "HEAD", "/v1/x", key),
    },
    Way {
        name: "POST",
        status: 401,
        ask: |site, key| over_http1(site, "POST", "/v1/x?a=b", key),
    },
    Way {
        name: "introspection",
        status: 401,
        ask: |site, key| over_http1(site, "GET", "/v1/keys/me", key),
    },
    Way {
        name: "HTTP/2",
        status: 401,
        ask: |site, key| over_http2(site, "application/json", key),
    },
    Way {
        name: "gRPC",
        status: 200,
        ask: |site, key| over_http2(site, "application/grpc", key),
    },
    Way {
        name: "gRPC-Web",
        status: 200,
        ask: |site, key| over_http2(site, "application/grpc-web", key),
    },
    Way {
        name: "Connect",
        status: 200,
        ask: |site, key| over_http2(site, "application/connect+json", key),
    },
];

/// Sends each kind of key in each way, first with a lookup, then from the cache.
pub(super) fn are_equal() -> Result<()> {
    let site = Site::start(1, TestDatabase::sqlite())?;
    let name = "disclosure: replies are byte-equal";
    site.range.case(name, Steady::default(), |counters| {
        for way in &WAYS {
            let mut expected = None;
            for Kind { name, make } in &KINDS {
                let key = make(&site)?;
                for cache in ["cold", "warm"] {
                    let (status, seen) = (way.ask)(&site, &key)?;
                    counters.count(way.name, End::Answered(status));
                    ensure!(status == way.status, "{}, {name}: {seen}", way.name);
                    let expected = expected.get_or_insert_with(|| seen.clone());
                    ensure!(
                        seen == *expected,
                        "{}, {name}, {cache}:\n{seen}\nbut a key that never existed gets\n{expected}",
                        way.name
                    );
                }
            }
        }
        Ok(())
    })
}

/// Each kind of key costs the same number of lookups while "not found" is cached and afterwards, when
/// an active key would still be cached.
pub(super) fn cost_the_same() -> Result<()> {
    /// Longer than `not_found_ttl`, and much shorter than `allow_ttl`.
    const PAUSE: Duration = Duration::from_secs(6);
    let site = Site::start(1, TestDatabase::sqlite())?;
    let keys: Vec<_> = KINDS
        .iter()
        .map(|kind| (kind.make)(&site))
        .collect::<Result<_>>()?;
    let lookups = || -> Result<u64> {
        ["active", "revoked", "not_found", "indeterminate"]
            .iter()
            .map(|result| {
                let name = format!("wasmcustom.keystile.lookups.{result}.total");
                site.range.envoy.counter(&name)
            })
            .sum()
    };
    let name = "disclosure: all kinds cost as many lookups";
    site.range.case(name, Steady::default(), |counters| {
        // Cached verdicts expire up to a tenth earlier.
        let rounds = [
            ("at first", Duration::ZERO, 1),
            ("at once", Duration::from_millis(1), 0),
            ("after a while", PAUSE, 1),
            ("again", PAUSE, 0),
        ];
        let mut done = 0;
        let begun = Instant::now();
        for (round, from, cost) in rounds {
            // The wait is what is tested.
            until(begun + from);
            for key in &keys {
                let (status, _) = over_http1(&site, "GET", "/v1/x", key)?;
                counters.count(round, End::Answered(status));
                done += cost;
            }
        }
        // The filter reports its counters on a tick, those of refusals together with
        // those of their lookups.
        let refused = "wasmcustom.keystile.requests.api_key_not_found.total";
        let all = (keys.len() * rounds.len()) as u64;
        site.range.envoy.wait_for_counter(refused, all)?;
        let made = lookups()?;
        ensure!(made == done, "{made} lookups, not {done}");
        Ok(())
    })
}

fn over_http1(site: &Site, method: &str, target: &str, key: &str) -> Result<(u16, String)> {
    let key = format!("x-api-key: {key}");
    let head = client::head(method, target, [key.as_str()]);
    let to = site.range.envoy.listener("site")?;
    let (response, bytes) = client::send(to, head.as_bytes())?.response_and_bytes()?;
    Ok((response.status, masked(&String::from_utf8(bytes)?)?))
}

fn over_http2(site: &Site, content_type: &str, key: &str) -> Result<(u16, String)> {
    let request = hyper::Request::post("http://test/v1/x")
        .header("content-type", content_type)
        .header("x-api-key", key)
        .body(Full::new(Bytes::from_static(b"\0\0\0\0\0")))?;
    let to = site.range.envoy.listener("site")?;
    let response = site.range.runtime.block_on(http2(to, request))?;
    let mut text = String::new();
    for (name, value) in &response.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&response.text());
    Ok((response.status, masked(&text)?))
}

/// Masks the request's id, its time and Envoy's date. Their lengths stay.
fn masked(text: &str) -> Result<String> {
    let id = text
        .split_once("x-request-id: ")
        .context("no request id")?
        .1;
    let id = id.split("\r\n").next().unwrap_or_default();
    let mut text = text.replace(id, &"#".repeat(id.len()));
    for (before, length) in [("\"timestamp\":\"", 20), ("date: ", 29)] {
        if let Some(at) = text.find(before) {
            let at = at + before.len();
            let masked = text.get(at..at + length).context("cut off")?;
            text = text.replace(masked, &"#".repeat(length));
        }
    }
    Ok(text)
}
