//! The contents of the change feed.

mod histories;
mod migrations;
mod writers;

use super::change::{Change, Kind, News};
use super::cursor::{Cursor, new_token};
use super::sql::{announce, prune, read as read_changes};
use crate::database::{Database, on};
use crate::test_database::{TestDatabase, on_both};
use crate::test_store::{Store, hash, open, record, store_with, time};

on_both! {
    each_change_is_in_the_feed_once,
    failed_changes_are_not_in_the_feed,
    readers_of_pruned_changes_get_a_reset,
    pruning_leaves_no_gaps,
}

/// Returns the cursor after the change with this number. The change may have been pruned if the
/// next one still exists.
async fn cursor_at(store: &Store, number: i64) -> Cursor {
    const TOKEN: &str = "SELECT COALESCE((SELECT token FROM changes WHERE number = $1), \
         (SELECT previous_token FROM changes WHERE number = $1 + 1), \
         (SELECT last_token FROM feed WHERE last_number = $1))";
    let News::Reset(newest) = read_changes(&store.database, None, 1)
        .await
        .expect("changes")
    else {
        panic!("no reset without a cursor");
    };
    let token: Option<String> = on!(&store.database, Database, pool => {
        let token = sqlx::query_scalar(TOKEN).bind(number).fetch_one(pool);
        token.await.expect("token")
    });
    Cursor {
        number,
        token: token.unwrap_or_else(|| panic!("no token of change {number}")),
        ..newest
    }
}

/// Returns the cursor before all changes.
async fn start(store: &Store) -> Cursor {
    cursor_at(store, 0).await
}

async fn read(store: &Store, after: &Cursor, limit: u32) -> (Cursor, Vec<Change>) {
    match read_changes(&store.database, Some(after), limit)
        .await
        .expect("changes")
    {
        News::Nothing => (after.clone(), Vec::new()),
        News::Changes(cursor, changes) => (cursor, changes),
        News::Reset(newest) => panic!("a reset from {after} to {newest}"),
    }
}

fn change(key: &str, kind: Kind) -> Change {
    Change {
        key_hash: *hash(key).as_bytes(),
        kind,
    }
}

async fn each_change_is_in_the_feed_once(database: TestDatabase) {
    let store = store_with(&database, &["key_1", "key_2"]).await;
    let now = time("2026-02-01T00:00:00Z");
    for _ in 0..2 {
        store.keys.revoke("key_1", now).await.expect("revoke");
    }
    store
        .keys
        .revoke("key_0", now)
        .await
        .expect("revoke nothing");
    for _ in 0..2 {
        store.keys.delete("key_1", now).await.expect("delete");
    }
    let expected = [
        change("key_1", Kind::Created),
        change("key_2", Kind::Created),
        change("key_1", Kind::Revoked),
        change("key_1", Kind::Deleted),
    ];
    let (end, changes) = read(&store, &start(&store).await, 10).await;
    assert_eq!(changes, expected);
    assert_eq!(
        read_changes(&store.database, Some(&end), 10)
            .await
            .expect("end"),
        News::Nothing
    );

    let mut cursor = start(&store).await;
    for change in expected {
        let (next, changes) = read(&store, &cursor, 1).await;
        assert_eq!(changes, [change]);
        cursor = next;
    }
    assert_eq!(cursor, end);
}

async fn failed_changes_are_not_in_the_feed(database: TestDatabase) {
    let store = store_with(&database, &["key_1"]).await;
    let again = store.keys.insert(&record("key_2"), &hash("key_1")).await;
    assert!(!again.expect("insert"), "the same hash again");
    let mut transaction = store.database.begin().await.expect("begin");
    let now = time("2026-02-01T00:00:00Z");
    let announced = announce(&mut transaction, &[0; 32], Kind::Updated, now).await;
    announced.expect("announce");
    drop(transaction);
    let inserted = store.keys.insert(&record("key_3"), &hash("key_3")).await;
    inserted.expect("insert");
    let (_, changes) = read(&store, &start(&store).await, 10).await;
    assert_eq!(
        changes,
        [
            change("key_1", Kind::Created),
            change("key_3", Kind::Created)
        ]
    );
}

async fn readers_of_pruned_changes_get_a_reset(database: TestDatabase) {
    let store = store_with(&database, &["key_1", "key_2"]).await;
    let (one, two) = (time("2026-02-01T00:00:00Z"), time("2026-02-02T00:00:00Z"));
    store.keys.revoke("key_1", one).await.expect("revoke");
    store.keys.revoke("key_2", two).await.expect("revoke");
    let mut at = Vec::new();
    for number in 0..=4 {
        at.push(cursor_at(&store, number).await);
    }
    assert_eq!(prune(&store.database, one).await.expect("prune"), 2);
    assert_eq!(prune(&store.database, one).await.expect("prune"), 0);
    for cursor in &at[..2] {
        let news = read_changes(&store.database, Some(cursor), 10)
            .await
            .expect("news");
        assert_eq!(news, News::Reset(at[4].clone()), "{cursor}");
    }
    let (end, changes) = read(&store, &at[2], 10).await;
    assert_eq!(
        changes,
        [
            change("key_1", Kind::Revoked),
            change("key_2", Kind::Revoked)
        ]
    );
    // An empty feed still knows its end, so proxies that were idle get no reset.
    assert_eq!(
        prune(&store.database, time("2027-01-01T00:00:00Z"))
            .await
            .expect("prune"),
        2
    );
    assert_eq!(
        read_changes(&store.database, Some(&end), 10)
            .await
            .expect("news"),
        News::Nothing
    );
    let news = read_changes(&store.database, Some(&at[3]), 10)
        .await
        .expect("news");
    assert_eq!(news, News::Reset(end.clone()));
    store.keys.delete("key_1", two).await.expect("delete");
    let (_, changes) = read(&store, &end, 10).await;
    assert_eq!(changes, [change("key_1", Kind::Deleted)]);
}

async fn pruning_leaves_no_gaps(database: TestDatabase) {
    let store = store_with(&database, &["key_1", "key_2"]).await;
    // A change from a clock that is slow, after newer ones.
    store
        .keys
        .revoke("key_1", time("2020-01-01T00:00:00Z"))
        .await
        .expect("revoke");
    assert_eq!(
        prune(&store.database, time("2025-01-01T00:00:00Z"))
            .await
            .expect("prune"),
        0
    );
    let (_, changes) = read(&store, &start(&store).await, 10).await;
    assert_eq!(changes.len(), 3);
}
