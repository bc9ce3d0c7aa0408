//! Outages of the auth cluster: they must not look like denials, and the filter must not make them
//! worse. Each case prints what its requests got, and how many lookups they caused.

mod backoff;
mod gateway;
mod reset;

use anyhow::{Result, ensure};
use keystile_e2e::counters::{Counters, End};
use keystile_e2e::envoy::{Launch, Listener, copy_cluster};
use keystile_e2e::keys::hash;
use keystile_e2e::load::Request;
use keystile_e2e::recording_upstream::ENTITLED;
use keystile_e2e::rule_auth;
use keystile_e2e::stack::Setup;
use libtest_mimic::Trial;
use serde_json::json;

use crate::range::{self, OnDemand, PATH, Range, key_id, known_key};

/// The part of a lookup's path that stands for any key.
const LOOKUPS: &str = "/v1/key-hashes/";

/// The cluster `auth` with room for few lookups.
const NARROW: &str = "narrow";

/// Concurrent lookups that the cluster [`NARROW`] allows.
const PLACES: usize = 20;

keystile_e2e::suite!(Together, trials);

fn trials() -> Vec<Trial> {
    let range = OnDemand::new(|| Ok(setup()));
    let suites = [gateway::trials, reset::trials, backoff::trials];
    suites.iter().flat_map(|trials| trials(&range)).collect()
}

/// One worker, so that all requests share one cache and the lookups of one worker can be counted.
fn setup() -> Setup {
    let suites = [gateway::listeners, reset::listeners, backoff::listeners];
    let listeners: Vec<Listener> = suites.iter().flat_map(|listeners| listeners()).collect();
    Setup {
        launch: Launch::workers(1),
        edit: Box::new(|config| {
            let narrow = copy_cluster(config, "auth", NARROW)?;
            narrow["circuit_breakers"] = json!({"thresholds": [{"max_requests": PLACES}]});
            Ok(())
        }),
        ..range::setup(listeners)
    }
}

/// A key that the auth cluster knows.
struct Known {
    key: String,
    hash: String,
    id: String,
}

impl Known {
    fn new() -> Result<Self> {
        let key = known_key()?;
        Ok(Self {
            hash: hash(&key)?,
            id: key_id(&key)?,
            key,
        })
    }

    fn some(count: usize) -> Result<Vec<Self>> {
        (0..count).map(|_| Self::new()).collect()
    }

    /// Returns its record, which is that of the rule.
    fn record(&self) -> String {
        rule_auth::record(&self.hash)
    }

    /// Returns the header lines of a request with this key.
    fn lines(&self) -> [String; 2] {
        [
            format!("x-api-key: {}", self.key),
            format!("{ENTITLED}: {}", self.id),
        ]
    }

    fn request(&self) -> Request {
        Request {
            entitled: Some(self.id.clone()),
            ..Request::new(PATH, self.key.clone())
        }
    }
}

/// Returns the number of lookups so far, of whichever key.
fn all_lookups(range: &Range) -> usize {
    range.auth.lookups_about("hashes")
}

/// Checks that all requests of a kind got this status.
fn all_got(counters: &Counters, kind: &str, status: u16) -> Result<()> {
    let ends = counters.ends(kind);
    ensure!(
        !ends.is_empty() && ends.keys().all(|end| *end == End::Answered(status)),
        "{kind}: {ends:?}, not only {status}"
    );
    Ok(())
}
