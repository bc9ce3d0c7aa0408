//! What clients get during a fault of the auth cluster, and afterwards.
//!
//! During a fault, no key gets in that was not known before, none is refused with a 401, and no
//! failure is cached. When it is over, each key gets its true verdict at once.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;

use anyhow::{Context, Result, ensure};
use keystile_e2e::client::Sent;
use keystile_e2e::counters::Counters;
use keystile_e2e::keys::hash;
use keystile_e2e::process::wait_until;
use keystile_e2e::recording_upstream::ENTITLED;
use serde_json::{Value, json};

use super::expect::Expect;
use crate::range::{Range, key_id, known_key, uncached, unknown_key};

/// Concurrent requests with the same key.
const AT_ONCE: usize = 4;

/// Listeners that differ in how they cache an auth cluster's answers.
#[derive(Clone, Copy)]
pub(crate) struct Listeners {
    /// Caches nothing.
    pub(crate) uncached: &'static str,
    /// Caches with the default settings.
    pub(crate) cached: &'static str,
    /// Caches active records for a moment. After that, they count only during an outage.
    pub(crate) grace: &'static str,
}

impl Listeners {
    /// Returns the names, each with the `cache` of its plugin configuration.
    pub(crate) fn caches(self) -> [(&'static str, Value); 3] {
        [
            (self.uncached, uncached()),
            (self.cached, json!({})),
            (self.grace, json!({"allow_ttl": "1ms"})),
        ]
    }
}

/// A fault that can begin and end.
pub(crate) trait Fault {
    /// Makes lookups of these hashes fail, or be answered wrongly, from now on.
    fn begin(&self, hashes: &[String]) -> Result<()>;

    /// Returns true if lookups wait for [`Self::release`].
    fn holds(&self) -> bool {
        false
    }

    /// Lets waiting lookups continue.
    fn release(&self) {}

    /// Ends the fault.
    fn end(&self, hashes: &[String]) -> Result<()>;

    /// Returns how many lookups of a hash have arrived so far, if that is known.
    fn lookups(&self, _hash: &str) -> Option<usize> {
        None
    }
}

/// A key, and the listener to which it is sent.
struct Asker {
    listener: &'static str,
    kind: &'static str,
    hash: String,
    line: String,
    truth: Expect,
    /// Whether the filter knew the key before the fault and may still use that verdict.
    in_grace: bool,
}

impl Asker {
    fn new(listener: &'static str, kind: &'static str, key: &str, known: bool) -> Result<Self> {
        Ok(Self {
            listener,
            kind,
            hash: hash(key)?,
            line: format!("x-api-key: {key}"),
            truth: if known {
                Expect::Allowed(key_id(key)?)
            } else {
                Expect::Refused("api_key_not_found")
            },
            in_grace: false,
        })
    }

    fn send(&self, range: &Range, expect: &Expect) -> Result<Sent> {
        match expect.entitled() {
            Some(id) => range.send(self.listener, &[&self.line, &format!("{ENTITLED}: {id}")]),
            None => range.send(self.listener, &[&self.line]),
        }
    }

    fn receive(&self, counters: &Counters, sent: Sent, expect: &Expect, when: &str) -> Result<()> {
        let response = Range::received(counters, self.kind, sent);
        let what = || format!("{}, {when}", self.kind);
        expect
            .check(&response.with_context(what)?)
            .with_context(what)
    }

    /// Returns what the key gets during the fault.
    fn expect(&self, expect: &Expect) -> Expect {
        if self.in_grace && *expect == Expect::Internal {
            self.truth.clone()
        } else {
            expect.clone()
        }
    }
}

/// A fault, and what requests should get during it.
pub(crate) struct Row<'a> {
    pub(crate) name: String,
    pub(crate) fault: &'a dyn Fault,
    pub(crate) expect: Expect,
}

/// A row, its keys, and how many lookups each key had before the fault.
struct Sufferer<'a> {
    row: &'a Row<'a>,
    askers: Vec<Asker>,
    before: Vec<Option<usize>>,
}

/// Sends requests through all listeners while faults of different keys last: many at the same time, then
/// `rounds` one after the other. Sends them again when the faults are over. Reports each row that fails.
pub(crate) fn suffer(
    range: &Range,
    counters: &Counters,
    listeners: Listeners,
    rounds: usize,
    rows: &[Row<'_>],
) -> Result<()> {
    let mut all = rows
        .iter()
        .map(|row| Sufferer::new(range, counters, listeners, row).context(row.name.clone()))
        .collect::<Result<Vec<_>>>()?;
    let mut problems = Problems::default();
    end_limits(range, listeners)?;
    for sufferer in &mut all {
        let hashes = sufferer.hashes();
        let begun = sufferer.row.fault.begin(&hashes);
        begun.context(sufferer.row.name.clone())?;
        sufferer.before = sufferer.lookups();
    }
    let outcome = at_once(range, counters, &all, &mut problems);
    if outcome.is_ok() {
        one_after_the_other(range, counters, &all, rounds, &mut problems);
    }
    for sufferer in &all {
        sufferer.row.fault.end(&sufferer.hashes())?;
    }
    outcome?;
    end_limits(range, listeners)?;
    // Other rows end in a verdict, which may be cached.
    for sufferer in all.iter().filter(|s| s.row.expect == Expect::Internal) {
        for asker in &sufferer.askers {
            let truth = &asker.truth;
            let sent = asker.send(range, truth);
            let received =
                sent.and_then(|sent| asker.receive(counters, sent, truth, "when it is over"));
            problems.note(sufferer, received);
        }
    }
    ensure!(problems.0.is_empty(), "{:#?}", problems.0);
    Ok(())
}

/// Ends the limits on lookups, which begin when some have failed: the first verdict ends them.
fn end_limits(range: &Range, listeners: Listeners) -> Result<()> {
    for listener in [listeners.uncached, listeners.cached, listeners.grace] {
        wait_until(|| {
            let key = known_key()?;
            let (line, id) = (format!("x-api-key: {key}"), key_id(&key)?);
            let sent = range.send(listener, &[&line, &format!("{ENTITLED}: {id}")])?;
            Ok(sent.response()?.status == 200)
        })
        .context("lookups are still limited")?;
    }
    Ok(())
}

/// The first problem of each row.
#[derive(Default)]
struct Problems(BTreeMap<String, String>);

impl Problems {
    fn note(&mut self, sufferer: &Sufferer<'_>, outcome: Result<()>) {
        if let Err(problem) = outcome {
            let name = sufferer.row.name.clone();
            self.0.entry(name).or_insert_with(|| format!("{problem:#}"));
        }
    }
}

impl<'a> Sufferer<'a> {
    fn new(
        range: &Range,
        counters: &Counters,
        listeners: Listeners,
        row: &'a Row<'a>,
    ) -> Result<Self> {
        let mut askers = vec![
            Asker::new(listeners.uncached, "uncached", &known_key()?, true)?,
            Asker::new(listeners.cached, "cached", &known_key()?, true)?,
            Asker::new(listeners.cached, "cached, unknown", &unknown_key(), false)?,
        ];
        let known_before = Asker {
            in_grace: true,
            ..Asker::new(listeners.grace, "in grace", &known_key()?, true)?
        };
        let truth = &known_before.truth;
        known_before.receive(counters, known_before.send(range, truth)?, truth, "before")?;
        askers.push(known_before);
        Ok(Self {
            row,
            askers,
            before: Vec::new(),
        })
    }

    fn hashes(&self) -> Vec<String> {
        self.askers.iter().map(|asker| asker.hash.clone()).collect()
    }

    fn lookups(&self) -> Vec<Option<usize>> {
        let lookups = |asker: &Asker| self.row.fault.lookups(&asker.hash);
        self.askers.iter().map(lookups).collect()
    }

    /// Checks how many lookups have arrived since the fault began, if that is known.
    fn check_lookups(
        &self,
        expected: impl Fn(&Asker) -> Option<RangeInclusive<usize>>,
    ) -> Result<()> {
        let lookups = self.askers.iter().zip(&self.before).zip(self.lookups());
        for ((asker, before), now) in lookups {
            if let (Some(before), Some(now), Some(expected)) = (before, now, expected(asker)) {
                let (made, kind) = (now - before, asker.kind);
                ensure!(
                    expected.contains(&made),
                    "{kind}: {made} lookups, not {expected:?}"
                );
            }
        }
        Ok(())
    }
}

fn at_once(
    range: &Range,
    counters: &Counters,
    all: &[Sufferer<'_>],
    problems: &mut Problems,
) -> Result<()> {
    let mut under_way = Vec::new();
    for sufferer in all {
        for asker in &sufferer.askers {
            for _ in 0..AT_ONCE {
                let sent = asker.send(range, &asker.expect(&sufferer.row.expect))?;
                under_way.push((sufferer, asker, sent));
            }
        }
    }
    if all.iter().all(|sufferer| sufferer.row.fault.holds()) {
        let mut at: HashMap<_, u64> = HashMap::new();
        for (_, asker, _) in &under_way {
            *at.entry(asker.listener).or_default() += 1;
        }
        for (listener, expected) in at {
            let active = format!("http.{listener}.downstream_rq_active");
            range.envoy.wait_for_counter(&active, expected)?;
        }
    }
    for sufferer in all {
        sufferer.row.fault.release();
    }
    for (sufferer, asker, sent) in under_way {
        let expect = asker.expect(&sufferer.row.expect);
        problems.note(sufferer, asker.receive(counters, sent, &expect, "at once"));
    }
    for sufferer in all {
        let one = |_: &Asker| sufferer.row.fault.holds().then_some(1..=1);
        let checked = sufferer.check_lookups(one);
        problems.note(sufferer, checked.context("at once"));
    }
    Ok(())
}

fn one_after_the_other(
    range: &Range,
    counters: &Counters,
    all: &[Sufferer<'_>],
    rounds: usize,
    problems: &mut Problems,
) {
    for _ in 0..rounds {
        let mut under_way = Vec::new();
        for sufferer in all {
            for asker in &sufferer.askers {
                let expect = asker.expect(&sufferer.row.expect);
                under_way.push((sufferer, asker, asker.send(range, &expect), expect));
            }
        }
        for (sufferer, asker, sent, expect) in under_way {
            let received =
                sent.and_then(|sent| asker.receive(counters, sent, &expect, "one after the other"));
            problems.note(sufferer, received);
        }
    }
    for sufferer in all {
        let row = sufferer.row;
        // Nothing is cached, but lookups are limited while they fail. A key in grace has at most one
        // per second.
        let each_time = |asker: &Asker| {
            let each_time = row.fault.holds() && !asker.in_grace && row.expect == Expect::Internal;
            each_time.then_some(1..=1 + rounds)
        };
        let checked = sufferer.check_lookups(each_time);
        problems.note(sufferer, checked.context("one after the other"));
    }
}
