//! Lookups: each gets its own, current answer, and uses the index.

use super::batch::MOST;
use super::sql::{POSTGRES, SQLITE};
use crate::database::{Database, on};
use crate::record::Record;
use crate::test_database::{TestDatabase, on_both};
use crate::test_store::{Store, hash, open, record, store_with, time};
use sqlx::AssertSqlSafe;

on_both! {
    concurrent_lookups_get_their_own_answers,
    a_lookup_sees_what_was_done_before_it,
    a_lookup_sees_one_environment,
    an_unreadable_record_fails_alone,
    lookups_use_the_index,
    a_closed_store_answers_nothing,
}

fn find(store: &Store, key_id: &str) -> tokio::task::JoinHandle<sqlx::Result<Option<Record>>> {
    let (store, hash) = (store.clone(), hash(key_id));
    tokio::spawn(async move { store.lookups.find(hash.as_bytes(), None).await })
}

async fn concurrent_lookups_get_their_own_answers(database: TestDatabase) {
    let known: Vec<_> = (0..MOST).map(|number| format!("key_{number}")).collect();
    let known: Vec<_> = known.iter().map(String::as_str).collect();
    let store = store_with(&database, &known).await;
    // A third of them have no record. Each is looked up twice in a row, and they do not fit into
    // one statement.
    let asked: Vec<_> = (0..MOST * 6)
        .map(|number| format!("key_{}", number / 2 % (MOST * 3 / 2)))
        .collect();
    let finding: Vec<_> = asked.iter().map(|key_id| find(&store, key_id)).collect();
    for (key_id, finding) in asked.iter().zip(finding) {
        let found = finding.await.expect("task").expect("find");
        let expected = known.contains(&&key_id[..]).then(|| record(key_id));
        assert_eq!(found, expected, "{key_id}");
    }
}

async fn a_lookup_sees_what_was_done_before_it(database: TestDatabase) {
    let store = store_with(&database, &["key_busy"]).await;
    let other = open(&database).await;
    // Keeps statements running that started before the lookups below.
    let busy: Vec<_> = (0..16)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                loop {
                    let found = store.lookups.find(hash("key_busy").as_bytes(), None).await;
                    assert!(found.expect("find").is_some());
                }
            })
        })
        .collect();
    let now = time("2026-02-01T00:00:00Z");
    for number in 0..20 {
        let key_id = format!("key_{number}");
        assert_eq!(find(&store, &key_id).await.expect("task").expect("0"), None);
        let inserted = other.keys.insert(&record(&key_id), &hash(&key_id)).await;
        inserted.expect("insert");
        let found = find(&store, &key_id).await.expect("task").expect("1");
        assert_eq!(found, Some(record(&key_id)));
        other.keys.revoke(&key_id, now).await.expect("revoke");
        let found = find(&store, &key_id).await.expect("task").expect("2");
        assert_eq!(found.and_then(|record| record.revoked_at), Some(now));
        assert!(other.keys.delete(&key_id, now).await.expect("delete"));
        assert_eq!(find(&store, &key_id).await.expect("task").expect("3"), None);
    }
    for busy in busy {
        busy.abort();
        assert!(busy.await.is_err_and(|error| error.is_cancelled()));
    }
}

async fn a_lookup_sees_one_environment(database: TestDatabase) {
    let odd = "a \"b\" \\u0063 %_'";
    let store = open(&database).await;
    for (key_id, environment) in [("key_none", None), ("key_odd", Some(odd))] {
        let record = Record {
            environment: environment.map(str::to_owned),
            ..record(key_id)
        };
        let inserted = store.keys.insert(&record, &hash(key_id)).await;
        inserted.expect("insert");
    }
    let inserted = store
        .keys
        .insert(&record("key_here"), &hash("key_here"))
        .await;
    inserted.expect("insert");
    let cases = [
        ("key_here", None, true),
        ("key_here", Some("production"), true),
        ("key_here", Some("Production"), false),
        ("key_here", Some("staging"), false),
        ("key_here", Some(odd), false),
        ("key_none", None, true),
        ("key_none", Some("production"), false),
        ("key_odd", None, true),
        ("key_odd", Some(odd), true),
        ("key_odd", Some("production"), false),
        ("key_gone", Some("production"), false),
    ];
    // Together, so that each statement covers several environments.
    let finding = cases.map(|(key_id, environment, _)| {
        let (store, hash) = (store.clone(), hash(key_id));
        tokio::spawn(async move { store.lookups.find(hash.as_bytes(), environment).await })
    });
    for ((key_id, environment, expected), finding) in cases.iter().zip(finding) {
        let found = finding.await.expect("task").expect("find");
        let found = found.map(|record| record.key_id);
        let expected = expected.then(|| (*key_id).to_owned());
        assert_eq!(found, expected, "{key_id} in {environment:?}");
    }
}

async fn an_unreadable_record_fails_alone(database: TestDatabase) {
    let store = store_with(&database, &["key_good", "key_bad"]).await;
    on!(&store.database, Database, pool => {
        sqlx::query("UPDATE api_keys SET endpoints = '{' WHERE key_id = 'key_bad'")
            .execute(pool)
            .await
            .expect("update");
    });
    let finding = ["key_good", "key_bad", "key_none"].map(|key_id| find(&store, key_id));
    let [good, bad, none] = finding;
    let good = good.await.expect("task").expect("good");
    assert_eq!(good, Some(record("key_good")));
    assert!(bad.await.expect("task").is_err());
    assert_eq!(none.await.expect("task").expect("none"), None);
}

async fn lookups_use_the_index(database: TestDatabase) {
    let store = open(&database).await;
    let plan: Vec<String> = match &store.database {
        Database::Sqlite(pool) => {
            let plan = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {SQLITE}"));
            let steps: Vec<(i64, i64, i64, String)> = sqlx::query_as(plan)
                .bind("[]")
                .fetch_all(pool)
                .await
                .expect("plan");
            steps.into_iter().map(|(.., step)| step).collect()
        }
        Database::Postgres(pool) => {
            // PostgreSQL rightly scans a table of a few rows, so this one needs many.
            for statement in [
                "INSERT INTO api_keys (key_id, key_hash, key_head, key_tail, account_id, \
                 created_at) SELECT 'key_' || number, sha256(number::text::bytea), '', '', '', 0 \
                 FROM generate_series(1, 20000) AS number",
                "ANALYZE api_keys",
            ] {
                sqlx::query(statement).execute(pool).await.expect(statement);
            }
            sqlx::query_scalar(AssertSqlSafe(format!("EXPLAIN {POSTGRES}")))
                .bind(vec![vec![0; 32]; MOST])
                .bind(vec![None::<&str>; MOST])
                .fetch_all(pool)
                .await
                .expect("plan")
        }
    };
    let plan = plan.join("\n");
    let index = match &store.database {
        Database::Sqlite(_) => "SEARCH api_keys USING INDEX lookups (key_hash=?)",
        Database::Postgres(_) => "Index Scan using api_keys_key_hash_key on api_keys",
    };
    assert!(plan.contains(index), "{plan}");
}

async fn a_closed_store_answers_nothing(database: TestDatabase) {
    let store = store_with(&database, &["key_1"]).await;
    // From now on, a task keeps a connection, which must not delay the close.
    assert!(find(&store, "key_1").await.expect("task").is_ok());
    store.database.close().await;
    assert!(find(&store, "key_1").await.expect("task").is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn lookups_survive_their_connections() {
    let store = store_with(&TestDatabase::postgres(), &["key_1"]).await;
    let Database::Postgres(pool) = &store.database else {
        panic!("another database");
    };
    for _ in 0..3 {
        assert!(find(&store, "key_1").await.expect("task").is_ok());
        sqlx::query(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .execute(pool)
        .await
        .expect("terminate");
        let finding: Vec<_> = (0..100).map(|_| find(&store, "key_1")).collect();
        for finding in finding {
            let found = finding.await.expect("task").expect("find");
            assert_eq!(found, Some(record("key_1")));
        }
    }
}
