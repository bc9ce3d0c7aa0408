//! The table of answers to lookups that are none, or are one in an odd shape: one key gets them,
//! all others get theirs.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use keystile_e2e::auth::{Auth, Script};
use keystile_e2e::envoy::Listener;
use keystile_e2e::tally::Tally;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::expect::Expect;
use super::fault::{self, Fault, Listeners, suffer};
use super::{records, statuses, wire};
use crate::range::{OnDemand, Range, Setup, Steady, plugin, uncached};

/// A row of the table.
#[derive(Clone)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) script: Script,
    pub(crate) expect: Expect,
}

/// Rows of a kind.
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) rows: Vec<Row>,
    /// Whether the lookups' time runs out.
    pub(crate) times_out: bool,
}

impl Table {
    pub(crate) fn new(name: &'static str, rows: Vec<Row>) -> Self {
        Self {
            name,
            rows,
            times_out: false,
        }
    }
}

impl Row {
    pub(crate) fn new(name: &str, script: Script, expect: Expect) -> Self {
        Self {
            name: name.to_owned(),
            script,
            expect,
        }
    }
}

/// Listeners where a lookup may take as long as a busy machine needs.
pub(crate) const PATIENT: Listeners = Listeners {
    uncached: "uncached",
    cached: "cached",
    grace: "grace",
};

/// Listeners where it may take [`TIMEOUT`].
const IMPATIENT: Listeners = Listeners {
    uncached: "impatient, uncached",
    cached: "impatient, cached",
    grace: "impatient, grace",
};

/// `lookup.timeout`, where it is to run out: enough for a good lookup on a busy machine.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(1);

/// Where steady traffic goes.
pub(crate) const STEADY: &str = "steady";

/// Listeners for steady traffic and for faults of this cluster.
pub(crate) fn listeners(cluster: &str) -> Vec<Listener> {
    let steady = Listener::new(STEADY, &plugin(&json!({"cache": uncached()})));
    let lookup = |timeout: Duration| {
        let timeout = format!("{}ms", timeout.as_millis());
        json!({"cluster": cluster, "timeout": timeout})
    };
    let of = |listeners: Listeners, lookup: Value| {
        listeners.caches().map(|(name, cache)| {
            Listener::new(name, &plugin(&json!({"lookup": lookup, "cache": cache})))
        })
    };
    [steady]
        .into_iter()
        .chain(of(PATIENT, lookup(Duration::from_secs(10))))
        .chain(of(IMPATIENT, lookup(TIMEOUT)))
        .collect()
}

/// Where the fault is to be tried, and how often, as it may take the lookups' time each time.
pub(crate) fn listeners_and_rounds(times_out: bool) -> (Listeners, usize) {
    if times_out {
        (IMPATIENT, 1)
    } else {
        (PATIENT, 3)
    }
}

/// One worker, so that each key's requests meet.
fn setup() -> Result<Setup> {
    Ok(Setup {
        workers: 1,
        ..Setup::new(listeners("auth"))
    })
}

pub(crate) fn trials() -> Vec<Trial> {
    let range = OnDemand::new(setup);
    let tables = [records::tables(), statuses::tables(), wire::tables()];
    let tables = tables.into_iter().flatten();
    tables
        .map(|table| {
            range.trial(&format!("auth: {}", table.name), move |range, name| {
                range.case(name, Steady::on(STEADY)?, |tally| {
                    suffer_all(range, tally, &table)
                })
            })
        })
        .collect()
}

/// Some rows at a time, as each has its own keys.
pub(crate) fn suffer_all(range: &Range, tally: &Tally, table: &Table) -> Result<()> {
    /// Their lookups, all at once, are not more than Envoy and the auth cluster are ready for.
    const AT_A_TIME: usize = 16;

    let (listeners, rounds) = listeners_and_rounds(table.times_out);
    for some in table.rows.chunks(AT_A_TIME) {
        let faults: Vec<_> = some
            .iter()
            .map(|row| Scripted::new(&range.auth, row.script.clone()))
            .collect();
        let rows: Vec<_> = some
            .iter()
            .zip(&faults)
            .map(|(row, fault)| fault::Row {
                name: row.name.clone(),
                fault,
                expect: row.expect.clone(),
            })
            .collect();
        suffer(range, tally, listeners, rounds, &rows)?;
    }
    Ok(())
}

/// Lookups of some hashes go by a script.
pub(crate) struct Scripted<'a> {
    auth: &'a Auth,
    script: Script,
    permits: Arc<Semaphore>,
}

impl<'a> Scripted<'a> {
    pub(crate) fn new(auth: &'a Auth, script: Script) -> Self {
        let permits = Arc::new(Semaphore::new(0));
        Self {
            auth,
            script: script.when(Arc::clone(&permits)),
            permits,
        }
    }
}

impl Fault for Scripted<'_> {
    fn begin(&self, hashes: &[String]) -> Result<()> {
        for hash in hashes {
            self.auth.script(hash, self.script.clone());
        }
        Ok(())
    }

    fn holds(&self) -> bool {
        true
    }

    fn release(&self) {
        // For whoever comes until it is over.
        self.permits.add_permits(1000);
    }

    fn end(&self, hashes: &[String]) -> Result<()> {
        for hash in hashes {
            self.auth.unscript(hash);
        }
        Ok(())
    }

    fn lookups(&self, hash: &str) -> Option<usize> {
        Some(self.auth.lookups_about(hash))
    }
}
