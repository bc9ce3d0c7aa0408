//! What operators are told once about the auth cluster's answers, if they should change something.

#![forbid(unsafe_code)]

use std::collections::HashSet;

use crate::auth::answer::Verdict;
use crate::auth::record::Record;
use crate::engine::cache::Seed;
use crate::engine::host::{Host, Level};
use crate::request::key_hash::KeyHash;
use crate::request::path;

/// The most keys that are remembered as reported.
const MAX_REPORTED: usize = 1000;

/// The most characters of an endpoint that are logged.
const MAX_LOGGED: usize = 64;

/// What one worker has told.
#[derive(Debug)]
pub(crate) struct Notices {
    /// The cluster of the lookups.
    cluster: String,
    /// Whether it is still to be told if answers name the hash. Never, if they must.
    hash_is_due: bool,
    /// The keys whose endpoints were reported.
    reported: HashSet<KeyHash, Seed>,
}

impl Notices {
    /// Starts with nothing told.
    pub(crate) fn new(cluster: &str, require_key_hash: bool, seed: Seed) -> Self {
        Self {
            cluster: cluster.to_owned(),
            hash_is_due: !require_key_hash,
            reported: HashSet::with_hasher(seed),
        }
    }

    /// Tells what is remarkable about a verdict on a hash. `names_hash` says whether its answer named
    /// that hash.
    pub(crate) fn about<H: Host>(
        &mut self,
        host: &mut H,
        hash: &KeyHash,
        verdict: &Verdict,
        names_hash: bool,
    ) {
        if std::mem::take(&mut self.hash_is_due) {
            self.tell_hash(host, names_hash);
        }
        if let Verdict::Active(record) = verdict {
            self.tell_endpoints(host, hash, record);
        }
    }

    #[cold]
    fn tell_hash<H: Host>(&self, host: &mut H, names_hash: bool) {
        let cluster = &self.cluster;
        let (level, line) = if names_hash {
            (
                Level::Info,
                format!(
                    "keystile: the answers of cluster {cluster:?} carry x-keystile-key-hash. Set \
                     lookup.require_key_hash, so that a 404 without it never turns a valid key away"
                ),
            )
        } else {
            (
                Level::Warn,
                format!(
                    "keystile: the answers of cluster {cluster:?} do not carry x-keystile-key-hash, \
                     so a 404 that a gateway sends in the auth cluster's place turns valid keys \
                     away. Add the header, and set lookup.require_key_hash"
                ),
            )
        };
        host.log(level, &line);
    }

    fn tell_endpoints<H: Host>(&mut self, host: &mut H, hash: &KeyHash, record: &Record) {
        let mut endpoints = record.endpoints().into_iter().flatten();
        let Some(endpoint) = endpoints.find(|endpoint| !path::can_match(endpoint)) else {
            return;
        };
        if self.reported.len() >= MAX_REPORTED || !self.reported.insert(*hash) {
            return;
        }
        let endpoint: String = endpoint.chars().take(MAX_LOGGED).collect();
        let line = format!(
            "keystile: the endpoint {endpoint:?} of key {} can never match: endpoints are prefixes \
             that start with \"/\" and have no wildcards, such as \"/v1\"",
            record.key_id()
        );
        host.log(Level::Warn, &line);
    }
}
