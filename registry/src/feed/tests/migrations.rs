//! Databases of earlier versions.

use sqlx::{Connection, PgConnection, SqliteConnection};

use super::*;
use crate::database::{POSTGRES, SQLITE};

on_both! {
    changes_of_an_earlier_version_get_tokens,
    an_empty_feed_of_an_earlier_version_goes_on,
}

/// Creates a database as the version before tokens left it, and then runs this SQL.
async fn earlier_version(database: &TestDatabase, sql: &'static [&'static str]) {
    if database.url.starts_with("sqlite:") {
        let url = format!("{}?mode=rwc", database.url);
        let mut connection = SqliteConnection::connect(&url).await.expect("SQLite");
        SQLITE.run_to(3, &mut connection).await.expect("migrations");
        connection.close().await.expect("close");
    } else {
        let mut connection = PgConnection::connect(&database.url).await.expect("PG");
        let migrated = POSTGRES.run_to(2, &mut connection).await;
        migrated.expect("migrations");
        connection.close().await.expect("close");
    }
    for statement in sql {
        database.run(statement).await;
    }
}

async fn newest(store: &Store) -> Cursor {
    let News::Reset(newest) = read_changes(&store.database, None, 1)
        .await
        .expect("changes")
    else {
        panic!("no reset without a cursor");
    };
    newest
}

/// Returns the number, the token and the previous token of each change.
async fn chain(store: &Store) -> Vec<(i64, String, String)> {
    const CHAIN: &str = "SELECT number, token, previous_token FROM changes ORDER BY number";
    on!(&store.database, Database, pool => {
        sqlx::query_as(CHAIN).fetch_all(pool).await.expect("chain")
    })
}

async fn changes_of_an_earlier_version_get_tokens(database: TestDatabase) {
    // The first two changes were pruned. The feed ID is longer than is allowed now.
    let sql: &[&str] = if database.url.starts_with("sqlite:") {
        &[
            "INSERT INTO changes (number, key_hash, kind, changed_at) \
             VALUES (3, zeroblob(32), 'created', 1), (4, zeroblob(32), 'revoked', 2), \
             (5, zeroblob(32), 'deleted', 3)",
            "UPDATE feed SET last_number = 5, feed_id = replace(hex(zeroblob(40)), '00', 'ab')",
        ]
    } else {
        &[
            "INSERT INTO changes (number, key_hash, kind, changed_at) \
             SELECT number, sha256('')::bytea, kind, number FROM (VALUES (3, 'created'), \
             (4, 'revoked'), (5, 'deleted')) AS old (number, kind)",
            "UPDATE feed SET last_number = 5, feed_id = repeat('ab', 40)",
        ]
    };
    earlier_version(&database, sql).await;
    let store = open(&database).await;
    let newest = newest(&store).await;
    assert!((1..=64).contains(&newest.feed_id.len()), "{newest}");
    let chain = chain(&store).await;
    let numbers: Vec<_> = chain.iter().map(|(number, ..)| *number).collect();
    assert_eq!(numbers, [3, 4, 5]);
    let mut before = &chain[0].2;
    for (number, token, previous) in &chain {
        assert_eq!(previous, before, "the token before {number}");
        assert_ne!(token, previous, "{number}");
        before = token;
    }
    assert_eq!(&newest.token, before);
    // A reader can continue from each change.
    for (at, (number, token, _)) in chain.iter().enumerate() {
        let cursor = Cursor {
            number: *number,
            token: token.clone(),
            ..newest.clone()
        };
        assert_eq!(cursor.to_string().parse().ok(), Some(cursor.clone()));
        match read_changes(&store.database, Some(&cursor), 10)
            .await
            .expect("changes")
        {
            News::Nothing => assert_eq!(at, 2),
            News::Changes(end, changes) => {
                assert_eq!((&end, changes.len()), (&newest, 2 - at), "{number}");
            }
            News::Reset(_) => panic!("a reset from {cursor}"),
        }
    }
    let now = time("2026-02-01T00:00:00Z");
    let inserted = store.keys.insert(&record("key_1"), &hash("key_1")).await;
    inserted.expect("insert");
    store.keys.revoke("key_1", now).await.expect("revoke");
    let kinds = |changes: Vec<Change>| changes.iter().map(|it| it.kind).collect::<Vec<_>>();
    match read_changes(&store.database, Some(&newest), 10)
        .await
        .expect("changes")
    {
        News::Changes(_, changes) => assert_eq!(kinds(changes), [Kind::Created, Kind::Revoked]),
        other => panic!("{other:?}"),
    }
    // Each token has 128 random bits.
    assert!(chain.iter().all(|(_, token, _)| token.len() == 32));
}

async fn an_empty_feed_of_an_earlier_version_goes_on(database: TestDatabase) {
    // All changes were pruned.
    earlier_version(&database, &["UPDATE feed SET last_number = 7"]).await;
    let store = open(&database).await;
    let newest = newest(&store).await;
    assert_eq!(newest.number, 7);
    assert_eq!(newest.to_string().parse().ok(), Some(newest.clone()));
    let nothing = read_changes(&store.database, Some(&newest), 10).await;
    assert_eq!(nothing.expect("changes"), News::Nothing);
    let inserted = store.keys.insert(&record("key_1"), &hash("key_1")).await;
    inserted.expect("insert");
    let changes = read_changes(&store.database, Some(&newest), 10)
        .await
        .expect("changes");
    assert!(matches!(changes, News::Changes(..)), "{changes:?}");
}

/// A rolling update: a writer of the previous version has taken its number, and adds its change
/// while a new server waits to migrate the schema.
#[tokio::test(flavor = "multi_thread")]
async fn a_writer_of_an_earlier_version_is_waited_for() {
    const WAITING: &str = "SELECT COUNT(*) FROM pg_stat_activity \
         WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let database = TestDatabase::postgres();
    earlier_version(&database, &[]).await;
    let mut writer = PgConnection::connect(&database.url).await.expect("PG");
    let mut observer = PgConnection::connect(&database.url).await.expect("PG");
    let mut transaction = writer.begin().await.expect("begin");
    sqlx::query("UPDATE feed SET last_number = last_number + 1")
        .execute(&mut *transaction)
        .await
        .expect("a number");
    let url = database.url.clone();
    let runtime = tokio::runtime::Handle::current();
    let opening = tokio::task::spawn_blocking(move || runtime.block_on(Store::open(&url)));
    let mut waiting = 0;
    while waiting == 0 {
        assert!(!opening.is_finished(), "the migration did not wait");
        let count = sqlx::query_scalar::<_, i64>(WAITING).fetch_one(&mut observer);
        waiting = count.await.expect("activity");
    }
    sqlx::query(
        "INSERT INTO changes (number, key_hash, kind, changed_at) \
         VALUES (1, sha256(''), 'revoked', 1)",
    )
    .execute(&mut *transaction)
    .await
    .expect("a change");
    transaction.commit().await.expect("commit");
    let store = opening.await.expect("task").expect("open");
    let chain = chain(&store).await;
    assert_eq!(chain.len(), 1);
    assert_eq!(newest(&store).await.token, chain[0].1);
}
