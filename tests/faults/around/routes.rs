//! Routes that send a request more than once, elsewhere, or around the filter, and headers by which
//! clients may instruct Envoy's router.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keystile_e2e::client::{self, Response};
use keystile_e2e::counters::Counters;
use keystile_e2e::keys::{hash, made_up_key};
use keystile_e2e::process::wait_until;
use keystile_e2e::recording_upstream::{
    DELAY, ELSEWHERE, ENTITLED, EXEMPT, NAMED, RecordingUpstream, STATUS,
};
use keystile_e2e::scripted_auth::{Script, answer};
use keystile_e2e::shipped;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::{ID, Outcome};
use crate::range::{OnDemand, PATH, Range, Steady, end_of};

/// The listeners that [`edit`] configures.
pub(super) const LISTENERS: [&str; 9] = [
    "retrying",
    "hedging",
    "mirroring",
    "mirroring, forwarding",
    "redirecting",
    "redirecting, forwarding",
    "switched off",
    "switched off, with proof",
    "switched off, and proof",
];

pub(super) fn edit(listener: &str, http: &mut Value) -> Result<()> {
    let routes = &mut http["route_config"]["virtual_hosts"][0]["routes"];
    let route = &mut routes[0]["route"];
    let first = listener.split(',').next();
    match first {
        Some("retrying") => {
            route["retry_policy"] = json!({"retry_on": "5xx", "num_retries": 2,
                "retry_back_off": {"base_interval": "0.001s"}});
        }
        Some("hedging") => {
            route["retry_policy"] = json!({"retry_on": "5xx", "num_retries": 2,
                "per_try_timeout": "0.2s", "retry_back_off": {"base_interval": "0.001s"}});
            route["hedge_policy"] = json!({"hedge_on_per_try_timeout": true});
        }
        Some("mirroring") => route["request_mirror_policies"] = json!([{"cluster": "mirror"}]),
        Some("redirecting") => {
            route["internal_redirect_policy"] = json!({"max_internal_redirects": 2});
        }
        Some("switched off") => {
            let weighted = json!({"weighted_clusters": {"clusters": [
                {"name": "upstream", "weight": 50}, {"name": "mirror", "weight": 50},
            ]}});
            let off = json!({
                "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig",
                "disabled": true,
            });
            let off = if listener.ends_with("and proof") {
                json!({"keystile": off, "proof": off})
            } else {
                json!({"keystile": off})
            };
            *routes = json!([
                {"match": {"path_separated_prefix": "/off"}, "route": {"cluster": "upstream"},
                 "typed_per_filter_config": off},
                {"match": {"prefix": "/"}, "route": weighted},
            ]);
        }
        _ => {}
    }
    if listener.ends_with("proof") {
        shipped::lock(http)?;
    }
    Ok(())
}

pub(super) fn trials(range: &Arc<OnDemand>, mirror: &RecordingUpstream) -> Vec<Trial> {
    type Case = fn(&Range, &RecordingUpstream, &Counters) -> Result<()>;
    let rows: [(&str, Case); 6] = [
        ("retries", retries),
        ("hedging", hedging),
        ("mirrors", mirrors),
        ("internal redirects", redirects),
        ("headers for Envoy's router", router_headers),
        (
            "weighted clusters, and a route without the filter",
            switched_off,
        ),
    ];
    let trials = rows.map(|(name, case)| {
        let mirror = mirror.clone();
        range.trial(&format!("around: {name}"), move |range, name| {
            range.case(name, Steady::on("steady")?, |counters| {
                case(range, &mirror, counters)
            })
        })
    });
    trials.into()
}

/// Sends a `GET` under a name. It is counted by the part of the name before the first comma.
fn get(
    range: &Range,
    counters: &Counters,
    listener: &str,
    name: &str,
    target: &str,
    lines: &[&str],
) -> Result<Response> {
    let name_line = format!("{NAMED}: {name}");
    let kind = name.split(',').next().unwrap_or_default();
    let lines = lines.iter().copied().chain([name_line.as_str()]);
    let answer = client::get(range.envoy.listener(listener)?, target, lines);
    counters.count(kind, end_of(&answer));
    answer.with_context(|| name.to_owned())
}

/// Each try is an allowed request without its key. Neither the filter's replies nor lookups are
/// retried, whatever the client says.
fn retries(range: &Range, _: &RecordingUpstream, counters: &Counters) -> Result<()> {
    let id = format!("{ENTITLED}: {ID}");
    for (index, more) in [
        &[][..],
        &[
            "x-envoy-retry-on: 5xx,retriable-status-codes",
            "x-envoy-max-retries: 5",
            "x-envoy-retriable-status-codes: 401,503",
        ],
    ]
    .iter()
    .enumerate()
    {
        for outcome in Outcome::ALL {
            let name = format!("retried {index}, {outcome:?}");
            let key = outcome.key(range)?;
            let line = format!("x-api-key: {key}");
            let status = format!("{STATUS}: 503");
            let lines = [&[line.as_str(), &id, &status], *more].concat();
            let answer = get(range, counters, "retrying", &name, PATH, &lines)?;
            let expected = match outcome {
                Outcome::Allowed => 503,
                _ => outcome.status(),
            };
            ensure!(answer.status == expected, "{name}: {answer:?}");
            let arrived = range.upstream.named(&name);
            ensure!(
                !format!("{arrived:?}").contains(&key),
                "{name}: {arrived:?}"
            );
            let tries = range.upstream.begun(&name);
            match outcome {
                Outcome::Allowed => ensure!(tries >= 3, "{name}: {tries} tries"),
                _ => ensure!(tries == 0, "{name}: {tries} tries"),
            }
            let lookups = range.auth.lookups_about(&hash(&key)?);
            ensure!(lookups == 1, "{name}: {lookups} lookups");
        }
    }
    Ok(())
}

/// The same if the tries overlap.
fn hedging(range: &Range, _: &RecordingUpstream, counters: &Counters) -> Result<()> {
    let id = format!("{ENTITLED}: {ID}");
    let delay = format!("{DELAY}: 600");
    for outcome in Outcome::ALL {
        let name = format!("hedged, {outcome:?}");
        let key = outcome.key(range)?;
        let line = format!("x-api-key: {key}");
        let answer = get(
            range,
            counters,
            "hedging",
            &name,
            PATH,
            &[&line, &id, &delay],
        )?;
        ensure!(answer.status == outcome.status(), "{name}: {answer:?}");
        let tries = range.upstream.begun(&name);
        match outcome {
            Outcome::Allowed => ensure!(tries >= 2, "{name}: {tries} tries"),
            _ => ensure!(tries == 0, "{name}: {tries} tries"),
        }
        let lookups = range.auth.lookups_about(&hash(&key)?);
        ensure!(lookups == 1, "{name}: {lookups} lookups");
    }
    Ok(())
}

/// The mirror gets each allowed request once, with the identity. It gets the key only if the filter
/// forwards it.
fn mirrors(range: &Range, mirror: &RecordingUpstream, counters: &Counters) -> Result<()> {
    let id = format!("{ENTITLED}: {ID}");
    for listener in ["mirroring", "mirroring, forwarding"] {
        let before = mirror.counts();
        let rows = [
            ("allowed", Some(Outcome::Allowed.key(range)?), 200),
            ("missing", None, 401),
            ("malformed", Some("aw_short".to_owned()), 401),
            ("unknown", Some(Outcome::Refused.key(range)?), 401),
            ("no verdict", Some(Outcome::Failed.key(range)?), 503),
            ("allowed again", Some(Outcome::Allowed.key(range)?), 200),
        ];
        let mut allowed = 0;
        for (case, key, status) in rows {
            let name = format!("{listener}, {case}");
            let line = key.as_ref().map(|key| format!("x-api-key: {key}"));
            let mut lines = vec![id.as_str(), "x-keystile-key-id: evil"];
            lines.extend(line.as_deref());
            let answer = get(range, counters, listener, &name, PATH, &lines)?;
            ensure!(answer.status == status, "{name}: {answer:?}");
            if status == 200 {
                allowed += 1;
                wait_until(|| Ok(!mirror.named(&name).is_empty())).context("not mirrored")?;
                let key = key.unwrap_or_default();
                for recorder in [mirror, &range.upstream] {
                    let arrived = recorder.named(&name);
                    let has_key = format!("{arrived:?}").contains(&key);
                    ensure!(
                        has_key == listener.ends_with("forwarding"),
                        "{name}: {arrived:?}"
                    );
                    ensure!(arrived.len() == 1, "{name}: {arrived:?}");
                }
            }
        }
        let after = mirror.counts();
        let (arrived, leaked) = (after.arrived - before.arrived, after.leaked - before.leaked);
        ensure!(
            arrived == allowed && leaked == 0,
            "{listener}: {arrived}, {leaked}: {after:?}"
        );
    }
    Ok(())
}

/// A request that follows an upstream's redirect inside Envoy passes the filter again and needs a
/// credential again. If the filter has removed the credential, the client gets an unexpected 401. If
/// the new path is exempt, no credential is needed. If the credential is forwarded, it is checked
/// again, for the new path.
fn redirects(range: &Range, _: &RecordingUpstream, counters: &Counters) -> Result<()> {
    // The new path, the status if the key is removed, and the status if it is forwarded. Each key may
    // call all of these paths except the last.
    let rows = [
        ("/v1/numerology/y", 401, 200),
        ("/v1/numerology/x", 401, 200),
        ("/outside", 401, 403),
    ];
    let record = json!({"key_id": ID, "status": "active", "endpoints": ["/v1/numerology"]});
    for (listener, hands_on) in [("redirecting", false), ("redirecting, forwarding", true)] {
        for (index, (to, taken, handed)) in rows.iter().enumerate() {
            let name = format!("{listener}, {index}");
            let key = made_up_key();
            let script = Script::Answer(answer("200 OK", &record.to_string()));
            range.auth.script(&hash(&key)?, script);
            let lines = [
                format!("x-api-key: {key}"),
                format!("{ENTITLED}: {ID}"),
                format!("{ELSEWHERE}: http://test{to}"),
            ];
            let lines = lines.each_ref().map(String::as_str);
            let answer = get(range, counters, listener, &name, PATH, &lines)?;
            let status = if hands_on { *handed } else { *taken };
            let targets: Vec<_> = range
                .upstream
                .named(&name)
                .into_iter()
                .map(|a| a.target)
                .collect();
            // The upstream redirects each time, so the client gets the redirect at which Envoy gives up.
            let is_so = if status == 200 {
                answer.status == 302 && targets.len() == 3
            } else {
                answer.status == status && targets == [PATH]
            };
            ensure!(is_so, "{name}, {targets:?}: {answer:?}");
            if !hands_on {
                ensure!(
                    answer.text().contains("api_key_missing"),
                    "{name}: {answer:?}"
                );
            }
        }
    }
    // No redirect from an exempt path leads around the filter. Between exempt paths, no key is needed.
    for (to, status, arrives) in [("/v1/numerology/x", 401, 1), ("/healthz", 302, 3)] {
        let name = format!("redirected from what is exempt, {to}");
        let lines = [
            format!("{ENTITLED}: {EXEMPT}"),
            format!("{ELSEWHERE}: http://test{to}"),
            "x-keystile-key-id: evil".to_owned(),
        ];
        let lines = lines.each_ref().map(String::as_str);
        let answer = get(range, counters, "redirecting", &name, "/healthz", &lines)?;
        let begun = range.upstream.begun(&name);
        ensure!(
            answer.status == status && begun == arrives,
            "{name}, {begun}: {answer:?}"
        );
    }
    Ok(())
}

/// What a client tells the router affects at most its own request. The lookup has its own timeout, is
/// made once, and carries none of these headers.
fn router_headers(range: &Range, _: &RecordingUpstream, counters: &Counters) -> Result<()> {
    let rows = [
        "x-envoy-upstream-rq-timeout-ms: 1",
        "x-envoy-upstream-rq-per-try-timeout-ms: 1",
        "x-envoy-expected-rq-timeout-ms: 1",
        "x-envoy-upstream-stream-duration-ms: 1",
        "x-envoy-upstream-rq-timeout-alt-response: 1",
        "x-envoy-upstream-alt-stat-name: evil",
        "x-envoy-max-retries: 9",
        "x-envoy-retry-on: 5xx,4xx,connect-failure,reset",
        "x-envoy-retry-grpc-on: internal",
        "x-envoy-retriable-status-codes: 200,404,500",
        "x-envoy-retriable-header-names: content-type",
        "x-envoy-hedge-on-per-try-timeout: true",
        "x-envoy-attempt-count: 99",
        "x-envoy-force-trace: true",
        "x-envoy-immediate-health-check-fail: true",
        "x-envoy-degraded: true",
        "x-envoy-overloaded: true",
        "x-envoy-ratelimited: true",
        "x-envoy-original-dst-host: 127.0.0.1:1",
        "x-envoy-cluster: upstream",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-client-cert: By=evil",
        "grpc-timeout: 1n",
        "te: trailers",
    ];
    for row in rows {
        for outcome in [Outcome::Refused, Outcome::Failed] {
            let key = made_up_key();
            let hash = hash(&key)?;
            let verdict = Arc::new(Semaphore::new(0));
            let script = Script::AnswerWhen(Arc::clone(&verdict), outcome.answer());
            range.auth.script(&hash, script);
            let name = format!("{row}, {outcome:?}");
            let request = client::head(
                "GET",
                PATH,
                [
                    &*format!("x-api-key: {key}"),
                    &format!("{NAMED}: {name}"),
                    row,
                ],
            );
            let sent = client::send(range.envoy.listener("retrying")?, request.as_bytes())?;
            wait_until(|| Ok(range.auth.lookups_about(&hash) > 0)).context("no lookup")?;
            // Longer than any of the times above.
            std::thread::park_timeout(Duration::from_millis(30));
            verdict.add_permits(1);
            let answer = sent.response();
            counters.count("a header for the router", end_of(&answer));
            let answer = answer.with_context(|| name.clone())?;
            ensure!(answer.status == outcome.status(), "{name}: {answer:?}");
            ensure!(range.upstream.begun(&name) == 0, "{name}: sent on");
            let lookups = range.auth.lookups_about(&hash);
            ensure!(lookups == 1, "{name}: {lookups} lookups");
            let text = range.auth.lookup_about(&hash).context("no lookup")?;
            ensure!(!text.contains(&format!("{row}\r\n")), "{name}: {text}");
        }
    }
    Ok(())
}

/// Refused requests reach none of a route's clusters. A route on which an operator disables the filter
/// is open, and no other route is. The second lock closes it again, unless the route disables that too.
fn switched_off(range: &Range, mirror: &RecordingUpstream, counters: &Counters) -> Result<()> {
    let before = mirror.counts();
    let key = Outcome::Refused.key(range)?;
    let unknown = format!("x-api-key: {key}");
    for times in 0..20 {
        for lines in [&[][..], &[unknown.as_str()]] {
            let name = format!("weighted, {times}, {}", lines.len());
            let answer = get(range, counters, "switched off", &name, PATH, lines)?;
            ensure!(answer.status == 401, "{name}: {answer:?}");
            ensure!(
                range.upstream.begun(&name) + mirror.begun(&name) == 0,
                "{name}: sent on"
            );
        }
    }
    let (allowed, id) = (Outcome::Allowed.key(range)?, format!("{ENTITLED}: {ID}"));
    let (allowed, exempt) = (
        format!("x-api-key: {allowed}"),
        format!("{ENTITLED}: {EXEMPT}"),
    );
    for times in 0..20 {
        let name = format!("weighted, allowed, {times}");
        let answer = get(
            range,
            counters,
            "switched off",
            &name,
            PATH,
            &[&allowed, &id],
        )?;
        ensure!(answer.status == 200, "{name}: {answer:?}");
        ensure!(
            range.upstream.begun(&name) + mirror.begun(&name) == 1,
            "{name}"
        );
    }
    let after = mirror.counts();
    ensure!(after.leaked == before.leaked, "{after:?}");
    ensure!(
        after.arrived > before.arrived,
        "the second cluster got nothing"
    );

    for (target, off, with_proof) in [
        ("/off", 200, 503),
        ("/off/x", 200, 503),
        ("/v1/../off/x", 200, 503),
        ("/offside", 401, 401),
        ("/OFF", 401, 401),
        ("/off/../v1/x", 401, 401),
        ("/off/%2e%2e/v1/x", 401, 401),
        ("/v1/x?/off", 401, 401),
        ("/v1/off", 401, 401),
    ] {
        for (listener, status) in [
            ("switched off", off),
            ("switched off, with proof", with_proof),
            ("switched off, and proof", off),
        ] {
            let name = format!("{listener}, {target}");
            let answer = get(range, counters, listener, &name, target, &[&exempt])?;
            ensure!(answer.status == status, "{name}: {answer:?}");
            ensure!(
                range.upstream.begun(&name) == usize::from(status == 200),
                "{name}"
            );
        }
    }
    Ok(())
}
