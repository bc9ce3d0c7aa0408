//! A broken change feed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use keystile_e2e::client;
use keystile_e2e::keys::{hash, made_up_key};
use keystile_e2e::process::{until, wait_until};
use keystile_e2e::scripted_auth::{Script, answer};
use serde_json::json;

use crate::stage::{Asks, Setup};

trials! { Together:
    "broken feed: invalid answers" => invalid_answers,
    "broken feed: a poll that hangs" => a_poll_that_hangs,
    "broken feed: the same page for ever" => the_same_page_for_ever,
    "introspection: its client leaves" => introspection_left,
}

const POLLS: &str = "/v1/changes?";

fn setup(feed: &serde_json::Value) -> Setup {
    Setup {
        asks: Asks::Auth,
        more: json!({"feed": feed, "introspection": {}}),
        ..Setup::new(json!({"allow_ttl": "10m", "not_found_ttl": "10m", "revoked_ttl": "10m"}))
    }
}

fn page(cursor: &str, changes: &serde_json::Value, reset: bool) -> Script {
    let page = json!({"cursor": cursor, "changes": changes, "reset": reset});
    Script::Answer(answer("200 OK", &page.to_string()))
}

/// Anything that is not a page counts as a failed poll: known keys are still served, no VM dies, and
/// the feed continues where it was.
fn invalid_answers() -> Result<()> {
    let setup = setup(&json!({"interval": "100ms"}));
    setup.auth.script(POLLS, page("c1", &json!([]), false));
    setup.run(|stage| {
        stage.wait_for("feed_polls.reset.total", 2)?;
        let known = stage.create()?;
        ensure!(stage.get(&known.key)?.status == 200, "before");
        let deep = "[".repeat(100_000);
        let truncated = answer("200 OK", r#"{"cursor":"c2","changes":[],"reset":true}"#);
        let huge = format!(
            r#"{{"cursor":"c2","changes":[],"reset":true,"x":"{}"}}"#,
            "x".repeat(2 * 1024 * 1024)
        );
        let half = truncated
            .get(..truncated.len() - 5)
            .unwrap_or_default()
            .to_vec();
        let cases = [
            (
                "HTML",
                Script::Answer(answer("200 OK", "<html>Welcome</html>")),
            ),
            ("nothing", Script::Answer(answer("200 OK", ""))),
            (
                "deep",
                Script::Answer(answer("200 OK", &format!("{{\"x\":{deep}"))),
            ),
            ("404", Script::Answer(answer("404 Not Found", ""))),
            (
                "500",
                Script::Answer(answer("500 Internal Server Error", "")),
            ),
            (
                "moved",
                Script::Answer(answer(
                    "302 Found",
                    r#"{"cursor":"c2","changes":[],"reset":true}"#,
                )),
            ),
            ("no HTTP", Script::Answer(b"SSH-2.0-OpenSSH\r\n".to_vec())),
            ("closed in the body", Script::Answer(half.clone())),
            ("reset in the body", Script::AnswerAndReset(half)),
            ("too large", Script::Answer(answer("200 OK", &huge))),
            (
                "no cursor",
                Script::Answer(answer("200 OK", r#"{"changes":[],"reset":true}"#)),
            ),
            (
                "no hash",
                page("c2", &json!([{"key_hash": "x", "kind": "revoked"}]), false),
            ),
        ];
        for (name, script) in cases {
            let before = stage.counter("feed_polls.failed.total")?;
            stage.auth.script(POLLS, script);
            wait_until(|| Ok(stage.counter("feed_polls.failed.total")? >= before + 4))
                .context(name)?;
            ensure!(stage.get(&known.key)?.status == 200, "{name}");
        }
        let resets = stage.counter("feed_polls.reset.total")?;
        ensure!(resets == 2, "{resets} resets");
        ensure!(stage.lookups(&known.key)? == 1, "a lookup");
        stage.registry.run(&["revoke", &known.key_id])?;
        let changes = json!([{"key_hash": hash(&known.key)?, "kind": "revoked"}]);
        stage.auth.script(POLLS, page("c2", &changes, false));
        wait_until(|| Ok(stage.get(&known.key)?.status == 401)).context("the feed goes on")
    })
}

/// Lookups that belong to the root context are answered while its poll is in flight.
fn a_poll_that_hangs() -> Result<()> {
    let setup = setup(&json!({"interval": "10s", "stale_after": "1m"}));
    // From the start: the first answer to a poll would have the lookup sent again.
    setup.auth.script(POLLS, Script::Hang);
    setup.run(|stage| {
        // One poll of the worker, and one of the main thread.
        wait_until(|| Ok(stage.auth.text().matches(POLLS).count() >= 2)).context("no poll")?;
        let hung = Instant::now();
        let record = json!({"key_id": "key_1", "status": "active"});
        let (key, answered) = stage.held_key(answer("200 OK", &record.to_string()))?;
        let mut first = stage.send(&key, 1)?;
        stage.wait_for_lookups(&key, 1)?;
        let mut second = stage.send(&key, 1)?;
        stage.wait_for_requests(2)?;
        first.remove(0).leave();
        answered.add_permits(1);
        let response = second.remove(0).response()?;
        ensure!(response.status == 200, "{response:?}");
        ensure!(
            hung.elapsed() < Duration::from_secs(9),
            "the poll was over: {:?}",
            hung.elapsed()
        );
        let failed = stage.counter("feed_polls.failed.total")?;
        ensure!(failed == 0, "{failed} polls failed");
        Ok(())
    })
}

/// A feed that returns the same long page again and again is not polled more often than others.
fn the_same_page_for_ever() -> Result<()> {
    let setup = setup(&json!({}));
    let change = json!({"key_hash": "a".repeat(64), "kind": "revoked"});
    let changes = json!(vec![change; 100]);
    setup.auth.script(POLLS, page("c1", &changes, false));
    setup.run(|stage| {
        stage.wait_for("feed_polls.reset.total", 2)?;
        let begun = Instant::now();
        until(begun + Duration::from_secs(4));
        let polls = stage.counter("feed_polls.changes.total")?;
        println!("{polls} polls of 2 instances in {:?}", begun.elapsed());
        ensure!(polls <= 12, "{polls} polls in 4 s");
        Ok(())
    })
}

/// The lookup of a client that leaves still completes, and the worker learns its result.
fn introspection_left() -> Result<()> {
    setup(&json!({})).run(|stage| {
        let key = made_up_key();
        stage.auth.script(&hash(&key)?, Script::Hang);
        let head = client::head("GET", "/v1/keys/me", [format!("x-api-key: {key}").as_str()]);
        let sent = client::send(stage.to, head.as_bytes())?;
        stage.wait_for_lookups(&key, 1)?;
        sent.leave();
        stage.wait_for_requests(0)?;
        stage.wait_for("lookups.indeterminate.total", 1)
    })
}
