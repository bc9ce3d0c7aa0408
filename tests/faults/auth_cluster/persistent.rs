//! Connections that stay open: an error in one answer must not affect another.

use std::time::Duration;

use anyhow::{Context, Result};
use keystile_e2e::counters::Counters;
use keystile_e2e::envoy::{Launch, Listener};
use keystile_e2e::keys::{GOOD, hash};
use keystile_e2e::recording_upstream::ENTITLED;
use keystile_e2e::scripted_auth::{Script, Step, keep_alive_answer};
use keystile_e2e::stack::Setup;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::expect::Expect::{self, Internal, Refused};
use super::records::allowed;
use super::rows::{Row, STEADY, TIMEOUT, Table, listeners, suffer_all};
use crate::range::{
    self, OnDemand, Range, Steady, key_id, known_key, plugin, uncached, unknown_key,
};

keystile_e2e::suite!(Together, trials);

fn trials() -> Vec<Trial> {
    let range = OnDemand::new(setup);
    let mut trials = vec![range.trial("auth: words on an idle connection", idle)];
    let late = Table {
        times_out: true,
        ..Table::new("kept connections, too late", late())
    };
    for table in [Table::new("kept connections", one_too_many()), late] {
        let name = format!("auth: {}", table.name);
        trials.push(range.trial(&name, move |range, name| {
            // All requests share the connections, so a wrong answer here would show as a wrong
            // identity there.
            range.case(name, Steady::on(STEADY)?, |counters| {
                // Each row depends on timing, so those that do not take long are repeated.
                for _ in 0..if table.times_out { 1 } else { 5 } {
                    suffer_all(range, counters, &table)?;
                }
                Ok(())
            })
        }));
    }
    trials
}

/// One worker, so that there is one connection pool.
fn setup() -> Result<Setup> {
    let alone = json!({"cluster": "alone", "timeout": "10s"});
    let alone = plugin(&json!({"lookup": alone, "cache": uncached()}));
    let mut all = listeners("auth");
    all.push(Listener::new("alone", &alone));
    Ok(Setup {
        launch: Launch::workers(1),
        keep_alive: true,
        edit: Box::new(|config| {
            let clusters = config["static_resources"]["clusters"].as_array_mut();
            let clusters = clusters.context("no clusters")?;
            let auth = clusters.iter().find(|cluster| cluster["name"] == "auth");
            let mut alone: Value = auth.context("no cluster auth")?.clone();
            alone["name"] = json!("alone");
            clusters.push(alone);
            Ok(())
        }),
        ..range::setup(all)
    })
}

/// Returns an answer with this status and the record of another key.
fn kept(status: &str) -> Vec<u8> {
    keep_alive_answer(status, &[], GOOD.as_bytes())
}

/// Returns rows with more than one answer to a lookup, or less than one.
fn one_too_many() -> Vec<Row> {
    let revoked = br#"{"key_id":"key_1","status":"revoked"}"#;
    let revoked = keep_alive_answer("200 OK", &[], revoked);
    let none = kept("404 Not Found");
    let half = &kept("200 OK")[..40];
    let short = format!("HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n{GOOD}").into_bytes();
    let long = format!("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{GOOD}").into_bytes();
    let chunks = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{GOOD}\r\n",
        GOOD.len()
    );
    let not_found = || Refused("api_key_not_found");
    let about_another = |status| {
        let said = format!("x-keystile-key-hash: {:064}", 0);
        keep_alive_answer(status, &[&said], GOOD.as_bytes())
    };
    let written: [(&str, Vec<Vec<u8>>, Expect); 10] = [
        (
            "not found, and active",
            vec![none.clone(), kept("200 OK")],
            not_found(),
        ),
        (
            "active, of another lookup, and its own",
            vec![about_another("200 OK"), kept("200 OK")],
            Internal,
        ),
        (
            "not found, of another lookup, and its own",
            vec![about_another("404 Not Found"), none.clone()],
            Internal,
        ),
        (
            "active, and not found",
            vec![kept("200 OK"), none.clone()],
            allowed(),
        ),
        (
            "revoked, and active",
            vec![revoked, kept("200 OK")],
            Refused("api_key_revoked"),
        ),
        (
            "unavailable, and active",
            vec![kept("503 Busy"), kept("200 OK")],
            Internal,
        ),
        (
            "three answers",
            vec![none.clone(), kept("200 OK"), kept("200 OK")],
            not_found(),
        ),
        (
            "one answer and half of another",
            vec![none.clone(), half.to_vec()],
            not_found(),
        ),
        ("a body longer than its length", vec![short], Internal),
        (
            "an answer and no HTTP",
            vec![none, b"\0\0\0\0".to_vec()],
            not_found(),
        ),
    ];
    let written = written.map(|(name, answers, expect)| {
        let steps = vec![Step::Write(answers.concat())];
        Row::new(name, Script::Steps(steps), expect)
    });
    let broken_off = [
        (
            "closed inside the body",
            vec![Step::Write(long.clone()), Step::Close],
        ),
        (
            "reset inside the body",
            vec![Step::Write(long), Step::Reset],
        ),
        (
            "closed between chunks",
            vec![Step::Write(chunks.clone().into_bytes()), Step::Close],
        ),
        (
            "reset between chunks",
            vec![Step::Write(chunks.into_bytes()), Step::Reset],
        ),
        ("closed without a byte", vec![Step::Close]),
        ("reset without a byte", vec![Step::Reset]),
    ]
    .map(|(name, steps)| Row::new(name, Script::Steps(steps), Internal));
    written.into_iter().chain(broken_off).collect()
}

/// Returns rows whose answer arrives, or is completed, only after the lookup has timed out.
fn late() -> Vec<Row> {
    let soon_after = TIMEOUT + Duration::from_millis(200);
    let long = format!("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{GOOD}").into_bytes();
    let rows = [
        (
            "slow past the timeout",
            vec![Step::Wait(soon_after), Step::Write(kept("200 OK"))],
        ),
        (
            "the rest of the body past the timeout",
            vec![
                Step::Write(long),
                Step::Wait(soon_after),
                Step::Write(vec![b' '; 1000]),
            ],
        ),
    ];
    rows.map(|(name, steps)| Row::new(name, Script::Steps(steps), Internal))
        .into()
}

/// Bytes on an idle connection are no answer to the next lookup.
fn idle(range: &Range, name: &str) -> Result<()> {
    /// Long enough for Envoy to read the first answer before the other bytes arrive.
    const PAUSE: Duration = Duration::from_millis(20);

    range.case(name, Steady::on(STEADY)?, |counters| {
        let said = [
            ("408", kept("408 Request Timeout"), true),
            ("an active record", kept("200 OK"), false),
            ("not found", kept("404 Not Found"), false),
            ("no HTTP", b"bye\r\n".to_vec(), true),
            ("nothing, and closed", Vec::new(), true),
        ];
        for (what, words, closes) in said {
            let (key, before) = (unknown_key(), connections(range)?);
            let first = kept("404 Not Found");
            let mut steps = vec![Step::Write(first), Step::Wait(PAUSE), Step::Write(words)];
            steps.extend(closes.then_some(Step::Close));
            range.auth.script(&hash(&key)?, Script::Steps(steps));
            ask(range, counters, &key, &Refused("api_key_not_found")).context(what)?;
            // Waits until Envoy has read the bytes and closed the connection.
            let destroyed = "cluster.alone.upstream_cx_destroy";
            range
                .envoy
                .wait_for_counter(destroyed, before + 1)
                .context(what)?;
            for _ in 0..5 {
                let known = known_key()?;
                let truth = Expect::Allowed(key_id(&known)?);
                ask(range, counters, &known, &truth).context(what)?;
                let unknown = Refused("api_key_not_found");
                ask(range, counters, &unknown_key(), &unknown).context(what)?;
            }
        }
        Ok(())
    })
}

/// Returns how many connections of the cluster `alone` have ended.
fn connections(range: &Range) -> Result<u64> {
    range.envoy.counter("cluster.alone.upstream_cx_destroy")
}

fn ask(range: &Range, counters: &Counters, key: &str, expect: &Expect) -> Result<()> {
    let mut lines = vec![format!("x-api-key: {key}")];
    if let Expect::Allowed(id) = expect {
        lines.push(format!("{ENTITLED}: {id}"));
    }
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    expect.check(&range.get(counters, "alone", "beside an idle connection", &lines)?)
}
