//! A database that has lost its newest changes: their numbers are assigned again, to changes that
//! proxies must not mistake for the ones they know.

use super::*;
use crate::test_database::Postgres;

trials! { Together:
    "feed: an older copy of the database" => an_older_copy,
    "feed: a promoted replica" => a_promoted_replica,
}

/// The database file is replaced by an older copy.
fn an_older_copy() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let copy = |from: &Path, to: &Path| -> Result<()> {
        for name in ["keys.db", "keys.db-wal", "keys.db-shm"] {
            let (from, to) = (from.join(name), to.join(name));
            if from.exists() {
                std::fs::copy(from, to)?;
            } else if to.exists() {
                std::fs::remove_file(to)?;
            }
        }
        Ok(())
    };
    let original = |stage: &Stage| -> Result<PathBuf> {
        let file = Path::new(stage.database.url.trim_start_matches("sqlite://"));
        Ok(file.parent().context("no folder")?.to_owned())
    };
    setup(&json!({})).run(|stage| {
        changes_are_lost(
            stage,
            |stage| copy(&original(stage)?, folder.path()),
            |stage| copy(folder.path(), &original(stage)?),
        )
    })
}

/// An asynchronous replica that missed some changes is promoted.
fn a_promoted_replica() -> Result<()> {
    let setup = Setup {
        database: TestDatabase::postgres,
        ..setup(&json!({}))
    };
    setup.run(|stage| {
        let primary = Postgres::shared();
        let replica = primary.replica();
        changes_are_lost(
            stage,
            |_| {
                replica.catch_up(primary);
                replica.control(&["stop"]);
                Ok(())
            },
            |stage| {
                primary.control(&["--mode=immediate", "stop"]);
                replica.control(&["start"]);
                replica.control(&["promote"]);
                // For the other tests.
                primary.control(&["start"]);
                let database = stage.database.moved(primary, &replica);
                stage.registry = Registry::guarded(database.url);
                Ok(())
            },
        )
    })
}

/// Every worker reads a change that the database then loses. Then a key in use is revoked, under the
/// same number.
///
/// No server runs during `keep` and `lose`.
fn changes_are_lost(
    stage: &mut Stage,
    keep: impl FnOnce(&mut Stage) -> Result<()>,
    lose: impl FnOnce(&mut Stage) -> Result<()>,
) -> Result<()> {
    let (active, doomed) = (known(stage)?, known(stage)?);
    let (kept, lost) = (made_up_key(), made_up_key());
    let resets = all_read_the_feed(stage, 2)?;
    read_by_every_worker(stage, &kept)?;
    for (key, status) in [(&active.key, 200), (&doomed.key, 200), (&lost, 401)] {
        ensure!(every_worker_answers(stage, key, status)?, "before");
    }
    stage.crash_registry()?;
    keep(stage)?;
    stage.start_registry()?;

    read_by_every_worker(stage, &lost)?;
    stage.crash_registry()?;
    lose(stage)?;
    stage.registry.run(&["revoke", &doomed.key_id])?;
    let begin = |key: &str| Traffic::start(&stage.runtime, stage.to, "/v1/x", key, 100);
    let (of_active, of_doomed) = (begin(&active.key)?, begin(&doomed.key)?);
    for traffic in [&of_active, &of_doomed] {
        wait_until(|| Ok(traffic.seen()?.len() > 20))?;
        let seen = traffic.seen()?;
        let allowed = seen.iter().all(|one| one.status == Some(200));
        ensure!(allowed, "while there is no registry: {seen:?}");
    }

    stage.start_registry()?;
    let up = Instant::now();
    wait_until(|| {
        let seen = of_doomed.seen()?;
        let last = last_answer(&seen, 200).context("never allowed")?;
        let late = last.saturating_duration_since(up);
        ensure!(
            late <= BOUND,
            "the revoked key gets 200, {late:?} after the start"
        );
        Ok(last_answer(&seen, 401).is_some() && last.elapsed() > Duration::from_millis(500))
    })?;
    let last = last_answer(&of_doomed.seen()?, 200).context("never allowed")?;
    println!(
        "revoked under a number that was known: last 200 {:?} after the start",
        last.saturating_duration_since(up)
    );
    until(up + BOUND);
    for (key, status) in [(&active.key, 200), (&doomed.key, 401), (&lost, 401)] {
        ensure!(
            every_worker_answers(stage, key, status)?,
            "not every worker answers {status}"
        );
    }
    let seen = of_active.seen()?;
    let allowed = seen.iter().all(|one| one.status == Some(200));
    ensure!(allowed, "the other key: {seen:?}");
    let resets = stage.counter("feed_polls.reset.total")?.checked_sub(resets);
    ensure!(
        resets >= Some(2),
        "{resets:?} resets, not one for each worker"
    );
    Ok(())
}

/// Creates a key, and waits until each worker has read about it.
fn read_by_every_worker(stage: &Stage, key: &str) -> Result<()> {
    // A worker that has not read about it still knows that there was no such key.
    ensure!(
        every_worker_answers(stage, key, 401)?,
        "before its creation"
    );
    let body = json!({"account_id": "acct_1", "key": key});
    Registry::ask(stage.registry_at, "POST", "", Some(&body))?;
    wait_until(|| every_worker_answers(stage, key, 200)).context("its creation is not read")
}

/// Returns true if all requests on separate connections, enough for each worker to get some, get this
/// status.
fn every_worker_answers(stage: &Stage, key: &str, status: u16) -> Result<bool> {
    for _ in 0..24 {
        if stage.get(key)?.status != status {
            return Ok(false);
        }
    }
    Ok(true)
}
