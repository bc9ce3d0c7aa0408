//! Answers do not disclose whether a key once existed or exists elsewhere, neither by their bytes nor
//! by their timing.

mod replies;
mod timing;

use std::net::SocketAddr;

use anyhow::{Context, Result};
use keystile_e2e::envoy::{Launch, Listener, http2_cluster};
use keystile_e2e::process::Process;
use keystile_e2e::registry::{Registry, SERVICE_TOKEN};
use keystile_e2e::stack::Setup;
use keystile_e2e::trials::trial;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::range::{self, Range, plugin, unknown_key};
use crate::test_database::TestDatabase;

keystile_e2e::suite!(Together, || {
    vec![
        trial("disclosure: replies are byte-equal", replies::are_equal),
        trial(
            "disclosure: all kinds cost as many lookups",
            replies::cost_the_same,
        ),
    ]
});

keystile_e2e::suite!(Alone, timings);

fn timings() -> Vec<Trial> {
    vec![
        trial("disclosure: cold answers take as long", timing::is_equal).with_ignored_flag(true),
        trial(
            "disclosure: cold answers take as long, PostgreSQL",
            timing::is_equal_on_postgres,
        )
        .with_ignored_flag(true),
        trial(
            "disclosure: a record takes as long as none",
            timing::is_equal_without_help,
        )
        .with_ignored_flag(true),
    ]
}

/// A range whose auth cluster is a real registry. Its filter accepts production keys.
struct Site {
    range: Range,
    registry: SocketAddr,
    _server: Process,
    _database: TestDatabase,
    _folder: TempDir,
}

impl Site {
    fn start(workers: u32, database: TestDatabase) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (server, registry) = Registry::guarded(database.url.clone())
            .quiet()
            .serve(([127, 0, 0, 1], 0).into(), &folder.path().join("log"))?;
        let plugin = plugin(&json!({
            "lookup": {
                "cluster": "auth",
                "timeout": "10s",
                "headers": {"authorization": format!("Bearer {SERVICE_TOKEN}")},
            },
            "environment": "production",
            "introspection": {"path": "/v1/keys/me"},
        }));
        let range = Range::start(Setup {
            launch: Launch::workers(workers),
            clusters: vec![http2_cluster("auth", registry)],
            ..range::setup(vec![Listener::new("site", &plugin)])
        })?;
        Ok(Self {
            range,
            registry,
            _server: server,
            _database: database,
            _folder: folder,
        })
    }

    fn create(&self, record: &Value) -> Result<(String, String)> {
        let mut record = record.clone();
        record["account_id"] = json!("acct_1");
        let created = Registry::ask(self.registry, "POST", "", Some(&record))?;
        let text = |field: &str| {
            let text = created[field].as_str().map(str::to_owned);
            text.with_context(|| format!("no {field} in {created}"))
        };
        Ok((text("key")?, text("key_id")?))
    }
}

/// A kind of key that the filter answers with `api_key_not_found`.
struct Kind {
    name: &'static str,
    /// Creates a key of this kind.
    make: fn(&Site) -> Result<String>,
}

/// All kinds. The first one, keys that never existed, is the reference.
const KINDS: [Kind; 10] = [
    Kind {
        name: "never existed",
        // As long as the registry's own keys, because a longer key takes longer to hash.
        make: |_| {
            Ok(format!(
                "aw_{:.43}",
                unknown_key().trim_start_matches("aw_")
            ))
        },
    },
    Kind {
        name: "deleted",
        make: |site| deleted(site, false),
    },
    Kind {
        name: "of another environment",
        make: |site| Ok(site.create(&json!({"environment": "staging"}))?.0),
    },
    Kind {
        name: "wrong last character",
        make: |site| {
            Ok(misspelt(
                &site.create(&json!({"environment": "production"}))?.0,
            ))
        },
    },
    Kind {
        name: "revoked, then deleted",
        make: |site| deleted(site, true),
    },
    Kind {
        name: "of no environment",
        make: |site| Ok(site.create(&json!({}))?.0),
    },
    Kind {
        name: "revoked in another environment",
        make: |site| {
            let (key, id) = site.create(&json!({"environment": "staging"}))?;
            Registry::ask(site.registry, "POST", &format!("/{id}/revoke"), None)?;
            Ok(key)
        },
    },
    Kind {
        name: "expired in another environment",
        make: |site| {
            let record = json!({"environment": "staging", "expires_at": "2020-01-01T00:00:00Z"});
            Ok(site.create(&record)?.0)
        },
    },
    Kind {
        name: "of another environment, with a long record",
        make: |site| {
            // Larger than any record that the filter caches for its own environment.
            let endpoints: Vec<_> = (0..90).map(|n| format!("/v1/{n}/{:0>60}", n)).collect();
            let record = json!({"environment": "staging", "endpoints": endpoints});
            Ok(site.create(&record)?.0)
        },
    },
    Kind {
        name: "wrong last character of a deleted one",
        make: |site| Ok(misspelt(&deleted(site, false)?)),
    },
];

fn deleted(site: &Site, revoke: bool) -> Result<String> {
    let (key, id) = site.create(&json!({"environment": "production"}))?;
    if revoke {
        Registry::ask(site.registry, "POST", &format!("/{id}/revoke"), None)?;
    }
    Registry::ask(site.registry, "DELETE", &format!("/{id}"), None)?;
    Ok(key)
}

/// Returns the key with another last character.
fn misspelt(key: &str) -> String {
    let mut key = key.to_owned();
    let last = key.pop();
    key.push(if last == Some('A') { 'B' } else { 'A' });
    key
}
