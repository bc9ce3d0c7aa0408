//! Requests with unknown keys while lookups fail: they must not cause a lookup each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use keystile_e2e::counters::{Counters, End};
use keystile_e2e::envoy::Listener;
use keystile_e2e::process::{until, wait_until};
use keystile_e2e::scripted_auth::{Script, answer_with};
use keystile_e2e::traffic::Traffic;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{Known, LOOKUPS, all_lookups};
use crate::range::{OnDemand, Range, Steady, plugin, request, unknown_key};

/// Requests with unknown keys per second, and for how long.
const RATE: u32 = 200;
const LASTS: Duration = Duration::from_secs(3);

/// How long it may take after an outage until new keys get in.
const RECOVERY: Duration = Duration::from_secs(1);

/// The seconds in `retry-after`.
const RETRY_AFTER: u64 = 30;

/// Lookups that may already be under way when lookups are limited.
const UNDER_WAY: usize = 10;

// Kinds of requests in the counters.
const UNKNOWN: &str = "an unknown key, in the outage";
const NEW: &str = "a new key, afterwards";

/// How the auth cluster fails, and who asks.
struct Outage {
    name: &'static str,
    /// Each has its own, because the limits outlast the case.
    listener: &'static str,
    status: &'static str,
    retry_after: bool,
    /// Whether all requests have the same key.
    one_key: bool,
}

const fn outage(name: &'static str, listener: &'static str, status: &'static str) -> Outage {
    Outage {
        name,
        listener,
        status,
        retry_after: false,
        one_key: false,
    }
}

const BUSY: &str = "503 Service Unavailable";
const TOO_MANY: &str = "429 Too Many Requests";

const ROWS: [Outage; 5] = [
    outage("outage: backoff, 503 for many keys", "503", BUSY),
    outage("outage: backoff, 429 for many keys", "429", TOO_MANY),
    Outage {
        one_key: true,
        ..outage("outage: backoff, 503 for one key", "503-one-key", BUSY)
    },
    Outage {
        retry_after: true,
        ..outage("outage: backoff, 503 with retry-after", "503-wait", BUSY)
    },
    Outage {
        retry_after: true,
        ..outage(
            "outage: backoff, 429 with retry-after",
            "429-wait",
            TOO_MANY,
        )
    },
];

pub(super) fn trials(range: &Arc<OnDemand>) -> Vec<Trial> {
    let trial = |row: &'static Outage| {
        range.trial(row.name, |range, name| {
            let steady = Steady::on(row.listener)?.without("an unknown key");
            range.case(name, steady, |counters| row.suffer(range, counters))
        })
    };
    ROWS.iter().map(trial).collect()
}

pub(super) fn listeners() -> Vec<Listener> {
    let listener = |row: &Outage| {
        // So short that the known key is served as stale all along.
        let plugin = plugin(&json!({"cache": {"allow_ttl": "300ms"}}));
        Listener::new(row.listener, &plugin)
    };
    ROWS.iter().map(listener).collect()
}

impl Outage {
    fn suffer(&self, range: &Range, counters: &Counters) -> Result<()> {
        let line = format!("retry-after: {RETRY_AFTER}");
        let lines: Vec<_> = self.retry_after.then_some(&*line).into_iter().collect();
        let failure = Script::Answer(answer_with(self.status, &lines, ""));
        range.auth.script(LOOKUPS, failure);
        let checked = self.unknown_keys(range, counters);
        range.auth.unscript(LOOKUPS);
        checked?;
        if !self.retry_after {
            self.recovers(range, counters)?;
        }
        Ok(())
    }

    /// Sends requests with unknown keys for a while, and counts the lookups.
    fn unknown_keys(&self, range: &Range, counters: &Counters) -> Result<()> {
        let to = range.envoy.listener(self.listener)?;
        let (one_key, same) = (self.one_key, unknown_key());
        let next = move || {
            let key = if one_key { same.clone() } else { unknown_key() };
            request(to, &[("x-api-key", &key)])
        };
        let (before, began) = (all_lookups(range), Instant::now());
        let unknown = Traffic::of(&range.runtime, to, RATE, next)?;
        until(began + LASTS);
        let said = self
            .retry_after
            .then(|| self.seconds(range, counters))
            .transpose()?;
        let unknown = unknown.finish(&range.runtime)?;
        let (lookups, took) = (all_lookups(range) - before, began.elapsed());
        counters.seen(UNKNOWN, &unknown);
        let said = said.map_or_else(String::new, |said| format!(", told to wait {said} s"));
        println!(
            "{}: {} requests in {took:.1?} caused {lookups} lookups{said}",
            self.name,
            unknown.len()
        );
        let tenths = usize::try_from(took.as_millis())? / 100;
        let most = UNDER_WAY
            + if self.retry_after {
                1 + tenths / 10
            } else {
                // Five failures, a bucket of ten, and what is refilled.
                5 + 10 + tenths
            };
        ensure!(lookups <= most, "{lookups} lookups, more than {most}");
        let ends = counters.ends(UNKNOWN);
        ensure!(
            ends.keys().all(|end| *end == End::Answered(503)),
            "{UNKNOWN}: {ends:?}"
        );
        Ok(())
    }

    /// Returns the seconds that a refused client is told to wait.
    fn seconds(&self, range: &Range, counters: &Counters) -> Result<u64> {
        let line = format!("x-api-key: {}", unknown_key());
        let response = range.get(counters, self.listener, "an unknown key, to read", &[&line])?;
        let header = response.header("retry-after")?.context("no retry-after")?;
        let header: u64 = header.parse()?;
        let body: Value = serde_json::from_slice(&response.body)?;
        let passed = LASTS.as_secs();
        ensure!(
            response.status == 503
                && body["retry_after"] == header
                && (RETRY_AFTER - 2 * passed..=RETRY_AFTER).contains(&header),
            "{response:?}"
        );
        Ok(header)
    }

    /// Waits until a new key gets in.
    fn recovers(&self, range: &Range, counters: &Counters) -> Result<()> {
        let over = Instant::now();
        wait_until(|| {
            let lines = Known::new()?.lines();
            let lines = lines.each_ref().map(String::as_str);
            let response = range.get(counters, self.listener, NEW, &lines)?;
            Ok(response.status == 200)
        })?;
        let took = over.elapsed();
        println!("{}: new keys get in after {took:.1?}", self.name);
        ensure!(took <= RECOVERY, "new keys get in only after {took:?}");
        Ok(())
    }
}
