//! The change feed: every worker soon knows what changes in the registry, and outages of the registry
//! and the database leave no gap.

pub(crate) mod restored;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use keystile_e2e::keys::{hash, made_up_key};
use keystile_e2e::process::{until, wait_until};
use keystile_e2e::registry::Registry;
use keystile_e2e::scripted_auth::{Script, answer};
use keystile_e2e::traffic::{Seen, Traffic};
use serde_json::{Value, json};

use crate::stage::{Asks, Setup, Stage};
use crate::test_database::TestDatabase;

trials! { Together:
    "feed: revoked" => revoked,
    "feed: deleted" => deleted,
    "feed: created" => created,
    "feed: polls get through a flood" => polls_get_through_a_flood,
    "feed: the registry restarts" => the_registry_restarts,
    "feed: a long backlog" => a_long_backlog,
    "feed: another database" => another_database,
    "feed: one that cannot be read" => a_feed_that_cannot_be_read,
    "feed: a change during a lookup" => a_change_during_a_lookup,
}

// Other tests use the same PostgreSQL server.
trials! { Alone:
    "feed: PostgreSQL restarts" => postgres_restarts,
}

/// The counter of the time with a stale feed, in ms, of all threads.
const STALE: &str = "feed.stale.milliseconds.total";

/// How soon a change must be known everywhere.
const BOUND: Duration = Duration::from_secs(2);

/// Returns lifetimes so long that no verdict ends during a test.
fn lasting() -> Value {
    json!({"allow_ttl": "10m", "not_found_ttl": "10m", "revoked_ttl": "10m"})
}

fn setup(feed: &Value) -> Setup {
    Setup {
        workers: 2,
        asks: Asks::Registry,
        more: json!({"feed": feed}),
        ..Setup::new(lasting())
    }
}

/// Waits until each worker reads the feed, and so does the main thread, which has an instance of the
/// filter too. Returns the number of resets so far.
fn all_read_the_feed(stage: &Stage, workers: u64) -> Result<u64> {
    let begun = workers + 1;
    stage.wait_for("feed_polls.reset.total", begun)?;
    Ok(begun)
}

/// A key that is to be changed.
struct Subject {
    key: String,
    key_id: String,
}

/// A change to keys in use, and what their requests get before and after it.
struct Change {
    name: &'static str,
    before: u16,
    after: (u16, &'static str),
    prepare: fn(&mut Stage) -> Result<Subject>,
    make: fn(&Stage, &Subject) -> Result<()>,
}

fn known(stage: &mut Stage) -> Result<Subject> {
    let created = stage.create()?;
    Ok(Subject {
        key: created.key,
        key_id: created.key_id,
    })
}

/// While a flood of lookups fills the limit of their cluster, polls continue on another: a revoked key
/// is no longer served.
fn polls_get_through_a_flood() -> Result<()> {
    const PLACES: usize = 20;
    let setup = Setup {
        asks: Asks::Auth,
        most_lookups: Some(20),
        more: json!({"feed": {"cluster": "auth_feed"}}),
        ..Setup::new(lasting())
    };
    setup.run(|stage| {
        all_read_the_feed(stage, 1)?;
        let revoked = stage.create()?;
        let other = stage.create()?;
        // Wait until the worker and the main thread have read about these keys.
        let polls = || stage.counter("feed_polls.current.total");
        let before = polls()?;
        wait_until(|| Ok(polls()? >= before + 4))?;
        for key in [&revoked.key, &other.key] {
            ensure!(stage.get(key)?.status == 200, "before the flood");
        }
        let mut held = Vec::new();
        for _ in 0..PLACES {
            let (key, verdict) = stage.held_key(answer("404 Not Found", ""))?;
            held.push((stage.send(&key, 1)?, verdict));
            stage.wait_for_lookups(&key, 1)?;
        }
        let beyond = stage.get(&made_up_key())?;
        ensure!(beyond.status == 503, "there is room for more: {beyond:?}");
        stage.admin("POST", &format!("/{}/revoke", revoked.key_id))?;
        let since = Instant::now();
        wait_until(|| Ok(stage.get(&revoked.key)?.status != 200))?;
        let took = since.elapsed();
        println!("while all lookups wait: revoked, last 200 after {took:?}");
        ensure!(took < BOUND, "served for {took:?} after it was revoked");
        ensure!(stage.get(&revoked.key)?.status == 503, "without a lookup");
        ensure!(stage.get(&other.key)?.status == 200, "of another key");
        ensure!(stage.counter("feed_polls.failed.total")? == 0, "polls fail");
        for (sent, verdict) in held {
            verdict.add_permits(1);
            for sent in sent {
                ensure!(sent.response()?.status == 401, "of the flood");
            }
        }
        let text = stage.get(&revoked.key)?.text();
        ensure!(text.contains("api_key_revoked"), "after the flood: {text}");
        Ok(())
    })
}

/// How long it takes from `revoke` to the last 200.
fn revoked() -> Result<()> {
    a_hundred_trials(&Change {
        name: "revoked",
        before: 200,
        after: (401, "api_key_revoked"),
        prepare: known,
        make: |stage, subject| {
            let path = format!("/{}/revoke", subject.key_id);
            stage.admin("POST", &path).map(drop)
        },
    })
}

/// How long it takes from `delete` to the last 200.
fn deleted() -> Result<()> {
    a_hundred_trials(&Change {
        name: "deleted",
        before: 200,
        after: (401, "api_key_not_found"),
        prepare: known,
        make: |stage, subject| {
            let path = format!("/{}", subject.key_id);
            stage.admin("DELETE", &path).map(drop)
        },
    })
}

/// How long it takes from the creation of a refused key to the last 401.
fn created() -> Result<()> {
    a_hundred_trials(&Change {
        name: "created",
        before: 401,
        after: (200, "x-keystile-key-id"),
        prepare: |_| {
            Ok(Subject {
                key: made_up_key(),
                key_id: String::new(),
            })
        },
        make: |stage, subject| {
            let body = json!({"account_id": "acct_1", "key": subject.key});
            Registry::ask(stage.registry_at, "POST", "", Some(&body)).map(drop)
        },
    })
}

/// Twenty changes at a time, under 500 requests a second in all, at random moments between polls.
fn a_hundred_trials(change: &Change) -> Result<()> {
    const TRIALS: usize = 100;
    const AT_ONCE: usize = 20;
    setup(&json!({})).run(|stage| {
        let mut took = Vec::new();
        for round in 0..TRIALS / AT_ONCE {
            let round = format!("round {round}");
            took.extend(trials(stage, change, AT_ONCE).context(round)?);
        }
        took.sort();
        let (median, longest) = (took[TRIALS / 2], took[TRIALS - 1]);
        println!(
            "{}: last {} after {median:?} (median), {:?} (p95), {longest:?} (longest) \
             of {TRIALS} trials",
            change.name,
            change.before,
            took[TRIALS * 95 / 100],
        );
        ensure!(longest <= BOUND, "{longest:?} until the last");
        Ok(())
    })
}

/// Returns how long each change took to be seen everywhere.
fn trials(stage: &mut Stage, change: &Change, at_once: usize) -> Result<Vec<Duration>> {
    /// Requests per second with each key.
    const RATE: u32 = 25;
    /// If there was no old answer for this long, there will be none.
    const QUIET: Duration = Duration::from_millis(400);
    let mut all = Vec::new();
    for _ in 0..at_once {
        let subject = (change.prepare)(stage)?;
        let to = stage.to;
        let traffic = Traffic::start(&stage.runtime, to, "/v1/x", &subject.key, RATE)?;
        all.push((subject, traffic));
    }
    for (_, traffic) in &all {
        wait_until(|| Ok(traffic.seen()?.len() >= 10))?;
    }
    let mut begun = Vec::new();
    for (subject, _) in &all {
        let ms = ulid::Ulid::generate().random() % 100;
        until(Instant::now() + Duration::from_millis(u64::try_from(ms)?));
        begun.push(Instant::now());
        (change.make)(stage, subject)?;
    }
    let mut took = Vec::new();
    for ((subject, traffic), begun) in all.iter().zip(begun) {
        let mut last = begun;
        wait_until(|| {
            let seen = traffic.seen()?;
            last = last_answer(&seen, change.before)
                .unwrap_or(begun)
                .max(begun);
            Ok(last.elapsed() > QUIET && last_answer(&seen, change.after.0).is_some())
        })?;
        for one in traffic.seen()? {
            ensure!(
                one.status == Some(change.before) || one.status == Some(change.after.0),
                "{one:?}"
            );
        }
        let response = stage.get(&subject.key)?;
        ensure!(
            response.status == change.after.0 && response.text().contains(change.after.1),
            "{response:?}"
        );
        took.push(last - begun);
    }
    Ok(took)
}

fn last_answer(seen: &[Seen], status: u16) -> Option<Instant> {
    let of_status = seen.iter().filter(|one| one.status == Some(status));
    of_status.map(|one| one.answered).max()
}

/// The part that goes down and comes back.
#[derive(Clone, Copy, Debug)]
enum Outage {
    Registry,
    Postgres,
}

/// The registry is killed under load, and started again.
fn the_registry_restarts() -> Result<()> {
    outage(Outage::Registry, TestDatabase::sqlite)
}

/// The same on PostgreSQL, and then with an outage of PostgreSQL itself.
fn postgres_restarts() -> Result<()> {
    for what in [Outage::Registry, Outage::Postgres] {
        outage(what, TestDatabase::postgres).with_context(|| format!("{what:?}"))?;
    }
    Ok(())
}

fn outage(what: Outage, database: fn() -> TestDatabase) -> Result<()> {
    let setup = Setup {
        database,
        timeout: "1s",
        // The feed becomes stale, so known keys have to be looked up again.
        ..setup(&json!({"stale_after": "2s", "allow_ttl_when_stale": "1s"}))
    };
    setup.run(|stage| one_outage(stage, what))
}

fn one_outage(stage: &mut Stage, what: Outage) -> Result<()> {
    const LASTS: Duration = Duration::from_secs(5);
    let (active, doomed, revoked) = (known(stage)?, known(stage)?, known(stage)?);
    let unknown = known(stage)?;
    stage.registry.run(&["revoke", &revoked.key_id])?;
    stage.registry.run(&["delete", &unknown.key_id])?;
    let begin = |subject: &Subject, rate| {
        let runtime = &stage.runtime;
        Traffic::start(runtime, stage.to, "/v1/x", &subject.key, rate)
    };
    let of_active = begin(&active, 200)?;
    let of_doomed = begin(&doomed, 100)?;
    let of_revoked = begin(&revoked, 50)?;
    let of_unknown = begin(&unknown, 50)?;
    let resets = all_read_the_feed(stage, 2)?;
    let all = [&of_active, &of_doomed, &of_revoked, &of_unknown];
    for traffic in all {
        // The first page of the feed discards the verdicts.
        let before = traffic.seen()?.len();
        wait_until(|| Ok(traffic.seen()?.len() > before + 20))?;
    }

    let before = stage.counter(STALE)?;
    let down = Instant::now();
    match what {
        Outage::Registry => stage.crash_registry()?,
        Outage::Postgres => TestDatabase::crash_postgres(),
    }
    wait_until(|| Ok(stage.counter(STALE)? > before)).context("the feed never got stale")?;
    ensure!(down.elapsed() < LASTS, "stale after {:?}", down.elapsed());
    until(down + LASTS);
    if let Outage::Registry = what {
        stage.registry.run(&["revoke", &doomed.key_id])?;
    }
    match what {
        Outage::Registry => stage.start_registry()?,
        Outage::Postgres => TestDatabase::start_postgres(),
    }
    let up = Instant::now();
    if let Outage::Postgres = what {
        stage.registry.run(&["revoke", &doomed.key_id])?;
    }
    wait_until(|| Ok(last_answer(&of_doomed.seen()?, 401).is_some()))
        .context("the key that was revoked meanwhile")?;
    until(Instant::now() + Duration::from_millis(500));
    let late = last_answer(&of_doomed.seen()?, 200).context("never allowed")?;
    let late = late.saturating_duration_since(up);
    ensure!(late <= BOUND, "{late:?} until the last 200");
    stage
        .envoy
        .wait_until_constant(&format!("wasmcustom.keystile.{STALE}"))?;

    let new = stage.create()?;
    let mut status = 0;
    wait_until(|| {
        status = stage.get(&new.key)?.status;
        Ok(status == 200)
    })
    .with_context(|| format!("a new key gets {status}"))?;
    ensure!(
        stage.counter("feed_polls.reset.total")? == resets,
        "the feed was reset"
    );
    // What each key got throughout.
    let cases: [(&str, &Traffic, &[u16]); 4] = [
        ("active", &of_active, &[200]),
        ("revoked meanwhile", &of_doomed, &[200, 401]),
        ("revoked", &of_revoked, &[401]),
        ("unknown", &of_unknown, &[401]),
    ];
    let mut answered = Vec::new();
    let mut slowest = Duration::ZERO;
    for (name, traffic, allowed) in cases {
        let seen = traffic.seen()?;
        answered.push(seen.len());
        for one in seen {
            let status = one.status.context("no answer").context(name)?;
            ensure!(allowed.contains(&status), "{name}: {status}");
            slowest = slowest.max(one.answered - one.sent);
        }
    }
    println!(
        "{what:?} down for {LASTS:?} under load: {answered:?} requests with an active key, one \
         that was revoked meanwhile (last 200 {late:?} after the start), a revoked and an unknown \
         one; none got a wrong answer, and none waited longer than {slowest:?}"
    );
    Ok(())
}

/// Thousands of changes that could not be read during an outage are read at once, in long pages and in
/// many short ones.
fn a_long_backlog() -> Result<()> {
    for limit in [1000, 100] {
        let path = format!("/v1/changes?after={{cursor}}&limit={limit}");
        let setup = setup(&json!({"path": path}));
        setup
            .run(one_backlog)
            .with_context(|| format!("pages of {limit}"))?;
    }
    Ok(())
}

fn one_backlog(stage: &mut Stage) -> Result<()> {
    const CHANGES: usize = 2500;
    let doomed = known(stage)?;
    let traffic = Traffic::start(&stage.runtime, stage.to, "/v1/x", &doomed.key, 100)?;
    wait_until(|| Ok(traffic.seen()?.len() > 50))?;
    let resets = all_read_the_feed(stage, 2)?;
    stage.crash_registry()?;
    // Another server on the same database, which Envoy does not know.
    let any = ([127, 0, 0, 1], 0).into();
    let log = tempfile::NamedTempFile::new()?;
    let (other, at) = stage.registry.serve(any, log.path())?;
    let account = json!({"account_id": "acct_1"});
    for _ in 0..CHANGES {
        Registry::ask(at, "POST", "", Some(&account))?;
    }
    Registry::ask(at, "POST", &format!("/{}/revoke", doomed.key_id), None)?;
    drop(other);
    stage.start_registry()?;
    let up = Instant::now();
    wait_until(|| {
        let seen = traffic.seen()?;
        let last = last_answer(&seen, 200).context("never allowed")?;
        Ok(last_answer(&seen, 401).is_some() && last.elapsed() > Duration::from_millis(400))
    })?;
    let last = last_answer(&traffic.seen()?, 200).context("never allowed")?;
    let late = last.saturating_duration_since(up);
    println!("{CHANGES} changes to catch up with: last 200 after {late:?}");
    ensure!(late <= BOUND, "{late:?} until the last 200");
    ensure!(
        stage.counter("feed_polls.reset.total")? == resets,
        "the feed was reset"
    );
    Ok(())
}

/// A registry with another database has another feed: nothing known before counts any more.
fn another_database() -> Result<()> {
    setup(&json!({})).run(|stage| {
        let active = known(stage)?;
        let resets = all_read_the_feed(stage, 2)?;
        ensure!(stage.get(&active.key)?.status == 200, "before");
        stage.crash_registry()?;
        let file = stage
            .database
            .url
            .trim_start_matches("sqlite://")
            .to_owned();
        for file in ["", "-wal", "-shm"].map(|end| format!("{file}{end}")) {
            // SQLite may already have removed it.
            let _ = std::fs::remove_file(file);
        }
        stage.start_registry()?;
        let up = Instant::now();
        let mut response = stage.get(&active.key)?;
        while response.status != 401 {
            ensure!(up.elapsed() < BOUND, "{response:?}");
            response = stage.get(&active.key)?;
        }
        ensure!(
            response.text().contains("api_key_not_found"),
            "{response:?}"
        );
        wait_until(|| Ok(stage.counter("feed_polls.reset.total")? == 2 * resets))
            .with_context(|| format!("{resets} resets at the start"))
    })
}

/// If the feed cannot be read, allowed verdicts last for `allow_ttl_when_stale`, and the log and the
/// statistics say so.
fn a_feed_that_cannot_be_read() -> Result<()> {
    let feed = json!({
        "path": "/v1/no-such-feed?after={cursor}",
        "interval": "200ms",
        "allow_ttl_when_stale": "1s",
    });
    setup(&feed).run(|stage| {
        let subject = known(stage)?;
        ensure!(stage.get(&subject.key)?.status == 200, "before");
        let asked = Instant::now();
        stage.registry.run(&["revoke", &subject.key_id])?;
        while stage.get(&subject.key)?.status != 401 {
            ensure!(asked.elapsed() < BOUND, "allowed for too long");
        }
        // Two workers and the main thread count together.
        let (before, begun) = (stage.counter(STALE)?, Instant::now());
        wait_until(|| Ok(begun.elapsed() > Duration::from_secs(2)))?;
        let (counted, passed) = (stage.counter(STALE)? - before, begun.elapsed());
        let threads = counted as f64 / passed.as_millis() as f64;
        ensure!((2.0..4.0).contains(&threads), "{threads} threads are stale");
        wait_until(|| Ok(stage.counter("feed_polls.failed.total")? >= 10))?;
        let log = stage.envoy.written();
        let warnings = log
            .matches("change feed of cluster auth: answer 400")
            .count();
        ensure!(warnings == 3, "{warnings} warnings: {log}");
        Ok(())
    })
}

/// If a key changes during its lookup, the old answer is neither cached nor used.
fn a_change_during_a_lookup() -> Result<()> {
    let page = |cursor: &str, changes: Value, reset: bool| {
        let page = json!({"cursor": cursor, "changes": changes, "reset": reset});
        Script::Answer(answer("200 OK", &page.to_string()))
    };
    let record = |status: &str| {
        let record = json!({"key_id": "key_1", "status": status});
        answer("200 OK", &record.to_string())
    };
    for reset in [false, true] {
        let setup = Setup {
            asks: Asks::Auth,
            workers: 1,
            ..setup(&json!({}))
        };
        setup.run(|stage| {
            let none = page("c1", json!([]), false);
            stage.auth.script("/v1/changes?", none.clone());
            all_read_the_feed(stage, 1)?;
            let (key, answered) = stage.held_key(record("active"))?;
            let hash = hash(&key)?;
            let mut waiting = stage.send(&key, 2)?;
            stage.wait_for_lookups(&key, 1)?;
            let kind = if reset { "reset" } else { "changes" };
            let counter = format!("feed_polls.{kind}.total");
            let before = stage.counter(&counter)?;
            let changes = json!([{"key_hash": hash, "kind": "revoked"}]);
            stage
                .auth
                .script("/v1/changes?", page("c2", changes, reset));
            wait_until(|| Ok(stage.counter(&counter)? > before + 1)).context(counter)?;
            stage.auth.script("/v1/changes?", none);
            // Once further polls are complete, the earlier ones of both instances are too.
            let polls = stage.counter("feed_polls.current.total")?;
            wait_until(|| Ok(stage.counter("feed_polls.current.total")? > polls + 2))?;
            stage.auth.script(&hash, Script::Answer(record("revoked")));
            let released = Instant::now();
            answered.add_permits(1);
            for sent in waiting.drain(..) {
                let response = sent.response()?;
                if response.status != 401 || !response.text().contains("api_key_revoked") {
                    bail!("reset: {reset}: {response:?}");
                }
            }
            // At once, not at the next regular tick.
            let took = released.elapsed();
            ensure!(
                took < Duration::from_millis(250),
                "asked again after {took:?}"
            );
            let (status, entry) = stage.logged("/v1/x", &key)?;
            ensure!(
                status == 401 && entry.contains("source=cache"),
                "{status} {entry}"
            );
            ensure!(
                stage.lookups(&key)? == 2,
                "{} lookups",
                stage.lookups(&key)?
            );
            Ok(())
        })?;
    }
    Ok(())
}
