//! The table of answers to lookups that are invalid, or valid in an odd form. Only the keys of a row
//! get its answer; all others get their own.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use keystile_e2e::counters::Counters;
use keystile_e2e::envoy::{Launch, Listener};
use keystile_e2e::scripted_auth::{Script, ScriptedAuth};
use keystile_e2e::stack::Setup;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::expect::Expect;
use super::fault::{self, Fault, Listeners, suffer};
use super::{records, statuses, wire};
use crate::range::{self, OnDemand, Range, Steady, plugin, uncached};

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
    /// Whether lookups time out.
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

/// Listeners whose lookup timeout is long enough for a busy machine.
pub(crate) const PATIENT: Listeners = Listeners {
    uncached: "uncached",
    cached: "cached",
    grace: "grace",
};

/// Listeners whose lookup timeout is [`TIMEOUT`].
const IMPATIENT: Listeners = Listeners {
    uncached: "impatient, uncached",
    cached: "impatient, cached",
    grace: "impatient, grace",
};

/// The `lookup.timeout` for rows that time out. It is long enough for a good lookup on a busy machine.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(1);

/// The listener for steady traffic.
pub(crate) const STEADY: &str = "steady";

/// Returns the listeners for steady traffic and for faults of this cluster.
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

/// Returns the listeners on which to try a fault, and the number of rounds. A fault that times out has
/// only one round, as each takes the whole timeout.
pub(crate) fn listeners_and_rounds(times_out: bool) -> (Listeners, usize) {
    if times_out {
        (IMPATIENT, 1)
    } else {
        (PATIENT, 3)
    }
}

/// One worker, so that requests with the same key share a lookup.
fn setup() -> Result<Setup> {
    Ok(Setup {
        launch: Launch::workers(1),
        ..range::setup(listeners("auth"))
    })
}

keystile_e2e::suite!(Together, trials);

fn trials() -> Vec<Trial> {
    let range = OnDemand::new(setup);
    let tables = [records::tables(), statuses::tables(), wire::tables()];
    let tables = tables.into_iter().flatten();
    tables
        .map(|table| {
            range.trial(&format!("auth: {}", table.name), move |range, name| {
                range.case(name, Steady::on(STEADY)?, |counters| {
                    suffer_all(range, counters, &table)
                })
            })
        })
        .collect()
}

/// Runs the rows of a table, several at a time, as each has its own keys.
pub(crate) fn suffer_all(range: &Range, counters: &Counters, table: &Table) -> Result<()> {
    /// Few enough that Envoy and the auth cluster can take all their lookups at once.
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
        suffer(range, counters, listeners, rounds, &rows)?;
    }
    Ok(())
}

/// A fault in which lookups of some hashes get scripted answers.
pub(crate) struct Scripted<'a> {
    auth: &'a ScriptedAuth,
    script: Script,
    permits: Arc<Semaphore>,
}

impl<'a> Scripted<'a> {
    pub(crate) fn new(auth: &'a ScriptedAuth, script: Script) -> Self {
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
        // Enough for all lookups until the fault is over.
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
