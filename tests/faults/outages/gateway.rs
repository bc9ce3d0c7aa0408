//! A gateway in front of the auth cluster that answers 404 in its place.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use keystile_e2e::counters::Counters;
use keystile_e2e::envoy::Listener;
use keystile_e2e::process::wait_until;
use keystile_e2e::scripted_auth::{Script, answer, answer_about};
use libtest_mimic::Trial;
use serde_json::json;

use super::{Known, all_got};
use crate::range::{OnDemand, Range, Steady, plugin};

const KEYS: usize = 20;

/// How long it may take until a known key is looked up again after the gateway is gone. Failed lookups
/// are repeated after a second.
const SOON: Duration = Duration::from_secs(3);

// Kinds of requests in the counters.
const BEFORE: &str = "a known key, before";
const AT_FIRST: &str = "a known key, at first";
const DURING: &str = "a known key, during the outage";
const NEW: &str = "a new key, afterwards";
const AFTERWARDS: &str = "a known key, afterwards";

/// A gateway's answer, and what becomes of known keys.
struct Gateway {
    name: &'static str,
    listener: &'static str,
    require_key_hash: bool,
    answer: fn() -> Vec<u8>,
    /// What requests with known keys get.
    status: u16,
}

const ROWS: [Gateway; 3] = [
    Gateway {
        name: "outage: a gateway's 404 in HTML",
        listener: "html",
        require_key_hash: false,
        answer: html,
        status: 200,
    },
    Gateway {
        name: "outage: a gateway's 404 without the required hash",
        listener: "hash-required",
        require_key_hash: true,
        answer: plain,
        status: 200,
    },
    // The simplest auth cluster answers like this, so it is a verdict.
    Gateway {
        name: "outage: a 404 that needs no hash",
        listener: "hash-optional",
        require_key_hash: false,
        answer: plain,
        status: 401,
    },
];

fn html() -> Vec<u8> {
    let page = "<html><body><h1>404 Not Found</h1></body></html>";
    format!(
        "HTTP/1.1 404 Not Found\r\ncontent-type: text/html\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{page}",
        page.len()
    )
    .into_bytes()
}

fn plain() -> Vec<u8> {
    answer("404 Not Found", "")
}

pub(super) fn trials(range: &Arc<OnDemand>) -> Vec<Trial> {
    let trial = |row: &'static Gateway| {
        range.trial(row.name, |range, name| {
            let steady = Steady::on(row.listener)?
                .without("a known key")
                .without("an unknown key");
            range.case(name, steady, |counters| row.suffer(range, counters))
        })
    };
    ROWS.iter().map(trial).collect()
}

pub(super) fn listeners() -> Vec<Listener> {
    let listener = |row: &Gateway| {
        let lookup = json!({
            "cluster": "auth", "timeout": "10s", "require_key_hash": row.require_key_hash,
        });
        // So short that keys are looked up again and again.
        let cache = json!({"allow_ttl": "300ms", "not_found_ttl": "300ms"});
        let plugin = plugin(&json!({"lookup": lookup, "cache": cache}));
        Listener::new(row.listener, &plugin)
    };
    ROWS.iter().map(listener).collect()
}

impl Gateway {
    fn suffer(&self, range: &Range, counters: &Counters) -> Result<()> {
        let keys = Known::some(KEYS)?;
        let script = |key: &Known, answer| range.auth.script(&key.hash, Script::Answer(answer));
        let healthy = |key: &Known| script(key, answer_about(&key.hash, "200 OK", &key.record()));
        keys.iter().for_each(healthy);
        self.ask(range, counters, BEFORE, &keys)?;
        all_got(counters, BEFORE, 200)?;

        keys.iter().for_each(|key| script(key, (self.answer)()));
        // Two lookups of each key after the one before the outage, or one if it is a verdict.
        let lookups = if self.status == 200 { 3 } else { 2 };
        self.ask_until(range, counters, AT_FIRST, &keys, lookups)?;
        self.ask(range, counters, DURING, &keys)?;
        all_got(counters, DURING, self.status)?;
        if self.status == 200 {
            all_got(counters, AT_FIRST, 200)?;
        }

        keys.iter().for_each(healthy);
        let over = Instant::now();
        let new = Known::some(1)?;
        new.iter().for_each(healthy);
        self.ask(range, counters, NEW, &new)?;
        all_got(counters, NEW, 200)?;
        self.ask_until(range, counters, "a known key, at last", &keys, lookups + 1)?;
        let fresh = over.elapsed();
        self.ask(range, counters, AFTERWARDS, &keys)?;
        all_got(counters, AFTERWARDS, 200)?;
        println!(
            "{}: {KEYS} known keys, each looked up at least {} times in vain, got {} only; all of \
             them had fresh verdicts {fresh:.1?} after the outage",
            self.name,
            lookups - 1,
            self.status
        );
        ensure!(fresh < SOON, "fresh verdicts only after {fresh:?}");
        Ok(())
    }

    /// Sends a request with each key.
    fn ask(&self, range: &Range, counters: &Counters, kind: &str, keys: &[Known]) -> Result<()> {
        for key in keys {
            let lines = key.lines();
            range.get(
                counters,
                self.listener,
                kind,
                &lines.each_ref().map(String::as_str),
            )?;
        }
        Ok(())
    }

    /// Sends requests with all keys until each has been looked up this often.
    fn ask_until(
        &self,
        range: &Range,
        counters: &Counters,
        kind: &str,
        keys: &[Known],
        lookups: usize,
    ) -> Result<()> {
        let looked_up = |key: &Known| range.auth.lookups_about(&key.hash) >= lookups;
        wait_until(|| {
            self.ask(range, counters, kind, keys)?;
            Ok(keys.iter().all(looked_up))
        })
        .with_context(|| format!("{kind}: not all keys are looked up"))
    }
}
