//! Removes old changes from the feed at intervals. Any number of servers may do so at once.

use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use super::sql;
use crate::database::Database;
use crate::duration::Seconds;
use crate::timestamp::Timestamp;

/// Prunes immediately and again after each `pause`, until the future is dropped. Failures are
/// logged, and the next run tries again.
pub(crate) async fn prune(database: Database, keep: Seconds, pause: Duration) {
    let mut ticks = interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let before = OffsetDateTime::now_utc() - Duration::from(keep);
        let Some(before) = Timestamp::new(before) else {
            warn!("the system's clock is past the year 9999 or before the year 0");
            continue;
        };
        match sql::prune(&database, before).await {
            Ok(0) => {}
            Ok(count) => info!(count, "removed old changes from the feed"),
            Err(cause) => warn!(%cause, "old changes could not be removed from the feed"),
        }
    }
}

/// Returns how long to wait between runs: a twentieth of `keep`, but at least 1 second and at most
/// 10 minutes. So the feed never keeps changes for much longer than it should.
pub(crate) fn pause(keep: Seconds) -> Duration {
    (Duration::from(keep) / 20).clamp(Duration::from_secs(1), Duration::from_secs(10 * 60))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::change::News;
    use crate::feed::cursor::Cursor;
    use crate::record::Record;
    use crate::test_database::{TestDatabase, on_both};
    use crate::test_store::{Store, hash, record};
    use tokio::time::timeout;

    on_both! {
        old_changes_go_again_and_again,
        a_failure_is_no_end,
    }

    const OFTEN: Duration = Duration::from_millis(5);

    /// Adds a key that was created at that time. Returns the cursor before its creation.
    async fn insert(store: &Store, key_id: &str, created_at: Timestamp) -> Cursor {
        let before = newest(store).await;
        let record = Record {
            created_at,
            ..record(key_id)
        };
        store
            .keys
            .insert(&record, &hash(key_id))
            .await
            .expect("insert");
        before
    }

    async fn newest(store: &Store) -> Cursor {
        let News::Reset(newest) = sql::read(&store.database, None, 1).await.expect("changes")
        else {
            panic!("no reset without a cursor");
        };
        newest
    }

    /// Returns whether the change after this cursor is still in the feed.
    async fn is_kept(store: &Store, before: &Cursor) -> bool {
        let news = sql::read(&store.database, Some(before), 1)
            .await
            .expect("changes");
        matches!(news, News::Changes(..))
    }

    async fn pruned(store: &Store, before: &Cursor) {
        let gone = async {
            while is_kept(store, before).await {
                tokio::task::yield_now().await;
            }
        };
        let gone = timeout(Duration::from_secs(10), gone).await;
        gone.unwrap_or_else(|_| panic!("the change after {before} is still there"));
    }

    fn long_ago() -> Timestamp {
        "2020-01-01T00:00:00Z".parse().expect("time")
    }

    async fn old_changes_go_again_and_again(database: TestDatabase) {
        let store = Store::open(&database.url).await.expect("open");
        let keep = "24h".parse().expect("duration");
        let pruning = tokio::spawn(prune(store.database.clone(), keep, OFTEN));
        for number in 1..=3 {
            let before = insert(&store, &format!("key_{number}"), long_ago()).await;
            pruned(&store, &before).await;
        }
        let now = Timestamp::new(OffsetDateTime::now_utc()).expect("time");
        let fourth = insert(&store, "key_4", now).await;
        // This old change follows one that stays, so it stays too. There is no event to wait for,
        // only the timer.
        let fifth = insert(&store, "key_5", long_ago()).await;
        tokio::time::sleep(OFTEN * 10).await;
        assert!(is_kept(&store, &fourth).await && is_kept(&store, &fifth).await);
        assert!(!pruning.is_finished());
        pruning.abort();
    }

    async fn a_failure_is_no_end(database: TestDatabase) {
        let store = Store::open(&database.url).await.expect("open");
        let before = insert(&store, "key_1", long_ago()).await;
        database.run("ALTER TABLE changes RENAME TO away").await;
        let keep = "24h".parse().expect("duration");
        let pruning = tokio::spawn(prune(store.database.clone(), keep, OFTEN));
        tokio::time::sleep(OFTEN * 10).await;
        database.run("ALTER TABLE away RENAME TO changes").await;
        pruned(&store, &before).await;
        pruning.abort();
    }

    #[test]
    fn the_pause_follows_what_is_kept() {
        let cases = [("0s", 1), ("1m", 3), ("1h", 180), ("24h", 600)];
        for (keep, seconds) in cases {
            let keep = keep.parse().expect("duration");
            assert_eq!(pause(keep), Duration::from_secs(seconds));
        }
    }
}
