//! Other filters in the chain, this filter twice in a row, and local replies that Envoy rewrites.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use keystile_e2e::client;
use keystile_e2e::counters::Counters;
use keystile_e2e::keys::hash;
use keystile_e2e::recording_upstream::{ENTITLED, EXEMPT, NAMED};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{ID, Outcome};
use crate::range::{OnDemand, PATH, Range, Steady, end_of, plugin, uncached};

/// The identity header that two filters set.
const IDENTITY: &str = "x-keystile-key-id";

/// Listeners that let through whatever this filter lets through.
pub(super) const PASSING: [&str; 13] = [
    "alone",
    "alone, streamed",
    "buffer before",
    "buffer before, streamed",
    "buffer after",
    "buffer after, streamed",
    "lua before",
    "lua before, streamed",
    "lua after",
    "lua after, streamed",
    "mutation before",
    "mutation after",
    "retrying, streamed",
];

/// Other listeners. If a name ends in `forwarding`, this filter forwards the credential there.
pub(super) const LISTENERS: [&str; 5] = [
    "two",
    "two, forwarding",
    "two, overwriting, forwarding",
    "two, exempting",
    "replies",
];

/// Returns true if another filter holds a request back from this one until the body is complete.
pub(super) fn waits_for_bodies(listener: &str) -> bool {
    listener.starts_with("buffer before") || listener.starts_with("lua before")
}

/// Returns true if the upstream gets the headers of a request before its body is complete.
pub(super) fn sends_on_early(listener: &str) -> bool {
    !listener.starts_with("buffer") && !listener.starts_with("lua")
}

pub(super) fn edit(listener: &str, http: &mut Value) {
    let filters = &mut http["http_filters"];
    let of_type = |name: &str, message: &str, mut config: Value| {
        config["@type"] = json!(format!(
            "type.googleapis.com/envoy.extensions.filters.http.{message}"
        ));
        json!({"name": name, "typed_config": config})
    };
    let other = match listener.split([' ', ',']).next() {
        Some("buffer") => of_type(
            "buffer",
            "buffer.v3.Buffer",
            json!({"max_request_bytes": 1_000_000}),
        ),
        Some("lua") => {
            let script = "function envoy_on_request(handle)\n  handle:headers():add('x-lua', '1')\n  \
                          handle:body()\nend";
            of_type(
                "lua",
                "lua.v3.Lua",
                json!({"default_source_code": {"inline_string": script}}),
            )
        }
        Some("mutation") => {
            let mut added = vec![json!({"append": {"header": {"key": "x-mutated", "value": "1"}}})];
            if listener.contains("before") {
                // This filter takes it for the client's.
                added.push(json!({"append": {"header": {"key": IDENTITY, "value": "evil"}}}));
            }
            let mutations = json!({"mutations": {"request_mutations": added}});
            of_type("mutation", "header_mutation.v3.HeaderMutation", mutations)
        }
        Some("two") => {
            // The second instance of this filter, after one that removes or forwards the credential.
            let mut second = filters[0].clone();
            second["name"] = json!("second");
            let config = &mut second["typed_config"]["config"];
            config["name"] = json!("second");
            let more = if listener.contains("overwriting") {
                json!({"identity_headers": {IDENTITY: "account_id"}})
            } else if listener.contains("exempting") {
                json!({"exempt": {"paths": [PATH]}})
            } else {
                json!({"cache": uncached()})
            };
            config["configuration"]["value"] = json!(plugin(&more).to_string());
            second
        }
        Some("replies") => {
            http["local_reply_config"] = local_replies();
            return;
        }
        _ => return,
    };
    let at = usize::from(!listener.contains("before"));
    if let Some(filters) = filters.as_array_mut() {
        filters.insert(at, other);
    }
}

/// Returns settings that give every local reply another status, another body and one more header.
fn local_replies() -> Value {
    let of_status = |from: u16, to: u16| {
        json!({
            "filter": {"status_code_filter": {"comparison": {
                "op": "EQ",
                "value": {"default_value": from, "runtime_key": format!("replies.{from}")},
            }}},
            "status_code": to,
            "headers_to_add": [{"header": {"key": "x-rewritten", "value": format!("{from}")}}],
            "body_format_override": {"text_format_source": {"inline_string":
                "rewritten %RESPONSE_CODE% details=[%RESPONSE_CODE_DETAILS%] body=[%LOCAL_REPLY_BODY%]"}},
        })
    };
    json!({"mappers": [of_status(401, 418), of_status(403, 499), of_status(503, 500)]})
}

type Case = fn(&Range, &Counters) -> Result<()>;

pub(super) fn trials(range: &Arc<OnDemand>) -> Vec<Trial> {
    let rows: [(&str, Case); 3] = [
        ("two filters in a row", two),
        ("two filters set one header", overwritten),
        ("rewritten local replies", rewritten),
    ];
    let trials = rows.map(|(name, case)| {
        range.trial(&format!("around: {name}"), move |range, name| {
            range.case(name, Steady::on("steady")?, |counters| {
                case(range, counters)
            })
        })
    });
    trials.into()
}

/// The second filter needs a credential too. If the first removes it, there is none. If the first
/// forwards it, the upstream gets one identity and no key.
fn two(range: &Range, counters: &Counters) -> Result<()> {
    for listener in ["two", "two, forwarding"] {
        for outcome in Outcome::ALL {
            let key = outcome.key(range)?;
            let name = format!("{listener}, {outcome:?}");
            let lines = [
                format!("x-api-key: {key}"),
                format!("{ENTITLED}: {ID}"),
                format!("{NAMED}: {name}"),
                "x-keystile-key-id: evil".to_owned(),
            ];
            let to = range.envoy.listener(listener)?;
            let answer = client::get(to, PATH, lines.iter().map(String::as_str));
            counters.count(&name, end_of(&answer));
            let answer = answer?;
            let passes = outcome == Outcome::Allowed && listener == "two, forwarding";
            let status = match outcome {
                Outcome::Allowed if !passes => 401,
                _ => outcome.status(),
            };
            ensure!(answer.status == status, "{name}: {answer:?}");
            ensure!(range.upstream.begun(&name) == usize::from(passes), "{name}");
            let lookups = range.auth.lookups_about(&hash(&key)?);
            ensure!(
                lookups == 1 + usize::from(passes),
                "{name}: {lookups} lookups"
            );
            if passes {
                let arrived = range.upstream.named(&name);
                ensure!(
                    !format!("{arrived:?}").contains(&key),
                    "{name}: {arrived:?}"
                );
            } else if outcome == Outcome::Allowed {
                ensure!(
                    answer.text().contains("api_key_missing"),
                    "{name}: {answer:?}"
                );
            }
        }
    }
    Ok(())
}

/// To the second filter, the first one's identity headers are the client's: it removes them, and sets
/// its own if it has any.
fn overwritten(range: &Range, counters: &Counters) -> Result<()> {
    let rows = [
        ("two, overwriting, forwarding", "acct_1", &["acct_1"][..]),
        ("two, exempting", EXEMPT, &[]),
    ];
    for (listener, entitled, identity) in rows {
        let lines = [
            format!("x-api-key: {}", Outcome::Allowed.key(range)?),
            format!("{ENTITLED}: {entitled}"),
            format!("{NAMED}: {listener}"),
        ];
        let to = range.envoy.listener(listener)?;
        let answer = client::get(to, PATH, lines.iter().map(String::as_str));
        counters.count(listener, end_of(&answer));
        let answer = answer?;
        ensure!(answer.status == 200, "{listener}: {answer:?}");
        let arrived = range.upstream.named(listener);
        let identities: Vec<_> = arrived.iter().map(|it| it.values(IDENTITY)).collect();
        ensure!(identities == [identity], "{listener}: {identities:?}");
    }
    Ok(())
}

/// The client gets the rewritten reply, which keeps what every reply must have.
/// Nothing reaches the upstream.
fn rewritten(range: &Range, counters: &Counters) -> Result<()> {
    let to = range.envoy.listener("replies")?;
    let rows = [
        ("nothing", None, 401, 418, "api_key_missing"),
        (
            "a malformed key",
            Some("aw_short".to_owned()),
            401,
            418,
            "api_key_invalid",
        ),
        (
            "an unknown key",
            Some(Outcome::Refused.key(range)?),
            401,
            418,
            "api_key_not_found",
        ),
        (
            "no verdict",
            Some(Outcome::Failed.key(range)?),
            503,
            500,
            "internal_error",
        ),
    ];
    for (name, key, from, status, error) in rows {
        for method in ["GET", "POST"] {
            let mut lines = vec![
                format!("{NAMED}: rewritten, {name}"),
                "content-length: 0".to_owned(),
            ];
            lines.extend(key.iter().map(|key| format!("x-api-key: {key}")));
            let head = client::head(method, PATH, lines.iter().map(String::as_str));
            let answer = client::send(to, head.as_bytes()).and_then(client::Sent::response);
            counters.count(&format!("rewritten, {name}"), end_of(&answer));
            let answer = answer.with_context(|| name)?;
            let text = answer.text();
            ensure!(answer.status == status, "{name}: {answer:?}");
            ensure!(
                text.starts_with(&format!("rewritten {status} ")),
                "{name}: {text}"
            );
            ensure!(text.contains(error), "{name}: {text}");
            for (header, value) in [
                ("x-rewritten", from.to_string().as_str()),
                ("cache-control", "no-store"),
            ] {
                ensure!(
                    answer.header(header)? == Some(value),
                    "{name}: {header}: {answer:?}"
                );
            }
            let id = answer.header("x-request-id")?.context("no x-request-id")?;
            ensure!(id.starts_with("req_"), "{name}: {id}");
            let challenge = answer.header("www-authenticate")?.is_some();
            ensure!(challenge == (from == 401), "{name}: {answer:?}");
            ensure!(
                range.upstream.begun(&format!("rewritten, {name}")) == 0,
                "{name}: sent on"
            );
        }
    }
    Ok(())
}
