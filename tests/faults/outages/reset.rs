//! A reset of the change feed, after which all keys are looked up again. Known keys stay in use if that
//! fails, or if there are too many at once.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use keystile_e2e::counters::Counters;
use keystile_e2e::envoy::Listener;
use keystile_e2e::load;
use keystile_e2e::process::wait_until;
use keystile_e2e::scripted_auth::{Script, Step, answer};
use libtest_mimic::Trial;
use serde_json::json;

use super::{Known, LOOKUPS, NARROW, PLACES, all_got, all_lookups};
use crate::range::{OnDemand, Range, Steady, plugin};

/// The listener whose lookups fail.
const FAILING: &str = "failing";

/// The listener whose lookups succeed, but are few at a time.
const CROWDED: &str = "crowded";

/// How long a lookup of the listener [`CROWDED`] takes.
const TAKES: Duration = Duration::from_millis(100);

// Kinds of requests in the counters.
const BEFORE: &str = "a key of many, before";
const AFTER_RESET: &str = "a key of many, after the reset";

pub(super) fn trials(range: &Arc<OnDemand>) -> Vec<Trial> {
    vec![
        range.trial("outage: a reset of the feed while lookups fail", failing),
        range.trial("outage: a reset of the feed, and all keys at once", crowded),
    ]
}

pub(super) fn listeners() -> Vec<Listener> {
    let listener = |name, cluster| {
        let plugin = plugin(&json!({
            "lookup": {"cluster": cluster, "timeout": "10s"},
            "cache": {"allow_ttl": "1h"},
            "feed": {
                "cluster": "auth",
                "path": format!("/v1/changes/{name}?after={{cursor}}"),
                "interval": "100ms",
            },
        }));
        Listener::new(name, &plugin)
    };
    vec![listener(FAILING, "auth"), listener(CROWDED, NARROW)]
}

fn failing(range: &Range, name: &str) -> Result<()> {
    let steady = others(FAILING)?;
    range.case(name, steady, |counters| {
        let keys = Known::some(100)?;
        let feed = Feed::begin(range, FAILING)?;
        ask(range, counters, FAILING, BEFORE, &keys, PLACES / 2)?;
        let failure = Script::Answer(answer("500 Internal Server Error", ""));
        range.auth.script(LOOKUPS, failure);
        let asked = feed
            .reset()
            .and_then(|()| ask_again(range, counters, name, FAILING, &keys));
        range.auth.unscript(LOOKUPS);
        asked
    })
}

fn crowded(range: &Range, name: &str) -> Result<()> {
    let steady = others(CROWDED)?;
    range.case(name, steady, |counters| {
        let keys = Known::some(400)?;
        let feed = Feed::begin(range, CROWDED)?;
        ask(range, counters, CROWDED, BEFORE, &keys, PLACES / 2)?;
        for key in &keys {
            let good = answer("200 OK", &key.record());
            let steps = vec![Step::Wait(TAKES), Step::Write(good)];
            range.auth.script(&key.hash, Script::Steps(steps));
        }
        feed.reset()?;
        ask_again(range, counters, name, CROWDED, &keys)
    })
}

/// Returns steady traffic without keys that the auth cluster is asked about.
fn others(listener: &'static str) -> Result<Steady> {
    let steady = Steady::on(listener)?;
    Ok(steady.without("a known key").without("an unknown key"))
}

/// Sends requests with all keys at once, after a reset.
fn ask_again(
    range: &Range,
    counters: &Counters,
    name: &str,
    listener: &str,
    keys: &[Known],
) -> Result<()> {
    const STALE: &str = "wasmcustom.keystile.verdicts.stale.total";

    let (looked_up, stale) = (all_lookups(range), range.envoy.counter(STALE)?);
    ask(range, counters, listener, AFTER_RESET, keys, keys.len())?;
    range.envoy.wait_until_constant(STALE)?;
    println!(
        "{name}: {} keys at once, {} lookups, {} requests served as stale",
        keys.len(),
        all_lookups(range) - looked_up,
        range.envoy.counter(STALE)? - stale
    );
    Ok(())
}

/// Sends a request with each key, up to `at_once` at a time.
fn ask(
    range: &Range,
    counters: &Counters,
    listener: &str,
    kind: &str,
    keys: &[Known],
    at_once: usize,
) -> Result<()> {
    const CONNECTIONS: usize = 4;

    let requests: Vec<_> = keys.iter().map(Known::request).collect();
    let to = range.envoy.listener(listener)?;
    let load = load::run(to, CONNECTIONS, at_once / CONNECTIONS, requests.into_iter());
    counters.loaded(kind, &range.runtime.block_on(load)?);
    all_got(counters, kind, 200)
}

/// The change feed of a listener. Its cursors are words that name the listener.
struct Feed<'a> {
    range: &'a Range,
    first: String,
    second: String,
}

impl<'a> Feed<'a> {
    /// Starts to answer polls, and waits until the listener has a cursor.
    fn begin(range: &'a Range, listener: &str) -> Result<Self> {
        let feed = Self {
            range,
            first: format!("{listener}1"),
            second: format!("{listener}2"),
        };
        feed.script(&format!("/v1/changes/{listener}"), &feed.first, false);
        feed.is_polled_with(&feed.first)?;
        Ok(feed)
    }

    /// Resets the feed once, and waits until the filter knows.
    fn reset(&self) -> Result<()> {
        self.script(&self.second, &self.second, false);
        self.script(&self.first, &self.second, true);
        self.is_polled_with(&self.second)
    }

    /// Answers polls whose path has this part.
    fn script(&self, part: &str, cursor: &str, reset: bool) {
        let page = json!({"cursor": cursor, "changes": [], "reset": reset}).to_string();
        let page = Script::Answer(answer("200 OK", &page));
        self.range.auth.script(part, page);
    }

    fn is_polled_with(&self, cursor: &str) -> Result<()> {
        wait_until(|| Ok(self.range.auth.lookups_about(cursor) > 0))
    }
}
