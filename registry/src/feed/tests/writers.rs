//! No reader of the feed misses a change, whatever its writers do.

use std::time::Duration;

use tokio::task::JoinHandle;

use super::*;
use crate::database::{Transaction, is_busy};

on_both! {
    a_reader_sees_each_change_once_and_in_order,
    what_is_announced_first_is_seen_first,
    writers_may_dawdle_and_give_up,
}

/// Retries while other writers hold SQLite's lock for longer than a change waits for it, which
/// happens on slow disks.
async fn patiently<T, F>(write: impl Fn() -> F) -> T
where
    F: Future<Output = sqlx::Result<T>>,
{
    loop {
        match write().await {
            Err(error) if is_busy(&error) => {}
            written => return written.expect("write"),
        }
    }
}

/// Polls until the writers are finished, and returns all changes after `start`. Each poll reads at
/// most `limit` of them.
async fn poll<T>(
    store: &Store,
    start: &Cursor,
    limit: u32,
    writers: &[JoinHandle<T>],
) -> Vec<Change> {
    let (mut cursor, mut seen) = (start.clone(), Vec::new());
    loop {
        let done = writers.iter().all(JoinHandle::is_finished);
        let (next, changes) = read(store, &cursor, limit).await;
        if done && changes.is_empty() {
            return seen;
        }
        cursor = next;
        seen.extend(changes);
        tokio::task::yield_now().await;
    }
}

/// Two stores, like two replicas, with many writers on each, while a reader polls.
async fn a_reader_sees_each_change_once_and_in_order(database: TestDatabase) {
    const WRITERS: usize = 8;
    const KEYS: usize = 10;
    let stores = [open(&database).await, open(&database).await];
    let start = start(&stores[0]).await;
    let write = |writer: usize| {
        let store = stores[writer % 2].clone();
        tokio::spawn(async move {
            let now = time("2026-02-01T00:00:00Z");
            for key in 0..KEYS {
                let key_id = format!("key_{writer}_{key}");
                let (record, hash) = (record(&key_id), hash(&key_id));
                patiently(|| store.keys.insert(&record, &hash)).await;
                patiently(|| store.keys.revoke(&key_id, now)).await;
                patiently(|| store.keys.delete(&key_id, now)).await;
            }
        })
    };
    let writers: Vec<_> = (0..WRITERS).map(write).collect();
    let seen = poll(&stores[1], &start, 7, &writers).await;
    for writer in writers {
        writer.await.expect("writer");
    }
    for writer in 0..WRITERS {
        for key in 0..KEYS {
            let key = format!("key_{writer}_{key}");
            let of_key = seen
                .iter()
                .filter(|change| change.key_hash == *hash(&key).as_bytes());
            let kinds: Vec<_> = of_key.map(|change| change.kind).collect();
            assert_eq!(
                kinds,
                [Kind::Created, Kind::Revoked, Kind::Deleted],
                "{key}"
            );
        }
    }
    assert_eq!(seen.len(), WRITERS * KEYS * 3);
    let (_, all) = read(&stores[0], &start, 1000).await;
    assert_eq!(seen, all);
}

/// Returns whether a writer waits for another. SQLite does not tell, so there it is always true.
async fn is_anybody_waiting(store: &Store) -> bool {
    const WAITING: &str = "SELECT COUNT(*) FROM pg_stat_activity \
         WHERE datname = current_database() AND wait_event_type = 'Lock'";
    match &store.database {
        Database::Sqlite(_) => true,
        Database::Postgres(pool) => {
            let waiting = sqlx::query_scalar::<_, i64>(WAITING).fetch_one(pool).await;
            waiting.expect("activity") > 0
        }
    }
}

async fn announce_update(transaction: &mut Transaction, key: &str) {
    let (hash, now) = (hash(key), time("2026-02-01T00:00:00Z"));
    let announced = announce(transaction, hash.as_bytes(), Kind::Updated, now);
    announced.await.expect("announce");
}

/// One writer takes its number. Another starts later and would commit first.
async fn what_is_announced_first_is_seen_first(database: TestDatabase) {
    let store = open(&database).await;
    let start = start(&store).await;
    let mut first = store.database.begin().await.expect("begin");
    announce_update(&mut first, "first").await;
    let second = tokio::spawn({
        let store = store.clone();
        async move {
            let mut second = store.database.begin().await.expect("begin");
            announce_update(&mut second, "second").await;
            second.commit().await.expect("commit");
        }
    });
    while !second.is_finished() && !is_anybody_waiting(&store).await {
        tokio::task::yield_now().await;
    }
    let (cursor, mut seen) = read(&store, &start, 10).await;
    first.commit().await.expect("commit");
    second.await.expect("the second writer");
    seen.extend(read(&store, &cursor, 10).await.1);
    let expected = ["first", "second"].map(|key| change(key, Kind::Updated));
    assert_eq!(seen, expected);
}

/// Writers pause between their steps, make several changes at once, and sometimes roll back, while
/// a reader polls.
async fn writers_may_dawdle_and_give_up(database: TestDatabase) {
    const WRITERS: u64 = 8;
    const ROUNDS: u64 = 12;
    let stores = [open(&database).await, open(&database).await];
    let start = start(&stores[0]).await;
    let write = |writer: u64| {
        let store = stores[usize::from(writer % 2 == 1)].clone();
        tokio::spawn(async move {
            let mut committed = Vec::new();
            // Any numbers will do, as long as they vary and are the same in each run.
            let mut random = writer.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(1);
            let mut roll = |sides: u64| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                random % sides
            };
            for round in 0..ROUNDS {
                let keys = (0..=roll(3)).map(|at| format!("{writer}-{round}-{at}"));
                let keys: Vec<_> = keys.collect();
                tokio::time::sleep(Duration::from_micros(roll(3000))).await;
                let mut transaction = patiently(|| store.database.begin()).await;
                for key in &keys {
                    announce_update(&mut transaction, key).await;
                    tokio::time::sleep(Duration::from_micros(roll(2000))).await;
                }
                if roll(3) > 0 {
                    transaction.commit().await.expect("commit");
                    committed.extend(keys);
                }
            }
            committed
        })
    };
    let writers: Vec<_> = (0..WRITERS).map(write).collect();
    let seen = poll(&stores[1], &start, 5, &writers).await;
    let mut expected = Vec::new();
    for writer in writers {
        let keys = writer.await.expect("writer");
        // The changes of each writer are in order.
        let changes: Vec<_> = keys.iter().map(|key| change(key, Kind::Updated)).collect();
        let of_writer = seen.iter().filter(|change| changes.contains(change));
        assert!(of_writer.eq(&changes), "{keys:?}");
        expected.extend(changes);
    }
    assert_eq!(seen.len(), expected.len());
    assert!(seen.len() > 50, "{}", seen.len());
    let (_, all) = read(&stores[0], &start, 1000).await;
    assert_eq!(seen, all);
}
