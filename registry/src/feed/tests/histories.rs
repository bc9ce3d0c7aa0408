//! Cursors from another history: numbers that were assigned again, and changes that do not follow
//! each other.

use super::*;

on_both! {
    each_change_has_a_token_of_its_own,
    a_cursor_with_a_wrong_token_gets_a_reset,
    a_number_beyond_all_is_foreign,
    changes_that_do_not_follow_each_other_are_a_reset,
    changes_of_an_earlier_version_are_a_reset,
    a_chosen_feed_id_works,
}

/// Returns the cursor with a token that no change has.
fn other(cursor: &Cursor) -> Cursor {
    Cursor {
        token: new_token().expect("random"),
        ..cursor.clone()
    }
}

async fn news(store: &Store, after: &Cursor) -> News {
    read_changes(&store.database, Some(after), 10)
        .await
        .expect("changes")
}

async fn run(store: &Store, sql: &'static str) {
    on!(&store.database, Database, pool => { sqlx::query(sql).execute(pool).await.expect(sql); });
}

async fn each_change_has_a_token_of_its_own(database: TestDatabase) {
    let store = open(&database).await;
    let start = start(&store).await;
    let (mut tokens, mut cursor) = (vec![start.token.clone()], start);
    for number in 1..=20 {
        let key_id = format!("key_{number}");
        let inserted = store.keys.insert(&record(&key_id), &hash(&key_id)).await;
        inserted.expect("insert");
        (cursor, _) = read(&store, &cursor, 1).await;
        assert!(!tokens.contains(&cursor.token), "change {number}");
        assert_eq!(
            cursor.to_string().parse::<Cursor>().ok(),
            Some(cursor.clone())
        );
        tokens.push(cursor.token.clone());
    }
    // A change that is rolled back, and the next one, which gets its number.
    let mut transaction = store.database.begin().await.expect("begin");
    let now = time("2026-02-01T00:00:00Z");
    let announced = announce(&mut transaction, &[0; 32], Kind::Updated, now).await;
    announced.expect("announce");
    drop(transaction);
    assert_eq!(news(&store, &cursor).await, News::Nothing);
    store.keys.revoke("key_1", now).await.expect("revoke");
    let (_, changes) = read(&store, &cursor, 10).await;
    assert_eq!(changes, [change("key_1", Kind::Revoked)]);
}

async fn a_cursor_with_a_wrong_token_gets_a_reset(database: TestDatabase) {
    let store = store_with(&database, &["key_1", "key_2", "key_3"]).await;
    let newest = cursor_at(&store, 3).await;
    for number in 0..=3 {
        let cursor = cursor_at(&store, number).await;
        let foreign = [
            other(&cursor),
            // The token of another change in the same history.
            Cursor {
                token: cursor_at(&store, (number + 1) % 4).await.token,
                ..cursor.clone()
            },
            Cursor {
                number: (number + 1) % 4,
                ..cursor.clone()
            },
            Cursor {
                feed_id: "other".to_owned(),
                ..cursor.clone()
            },
        ];
        for foreign in foreign {
            assert_eq!(
                news(&store, &foreign).await,
                News::Reset(newest.clone()),
                "{foreign}"
            );
        }
        assert!(!matches!(news(&store, &cursor).await, News::Reset(_)));
    }
    // The same after everything was pruned.
    let later = time("2999-01-01T00:00:00Z");
    assert_eq!(prune(&store.database, later).await.expect("prune"), 3);
    assert_eq!(
        news(&store, &other(&newest)).await,
        News::Reset(newest.clone())
    );
    assert_eq!(news(&store, &newest).await, News::Nothing);
}

async fn a_number_beyond_all_is_foreign(database: TestDatabase) {
    let store = store_with(&database, &["key_1"]).await;
    let newest = cursor_at(&store, 1).await;
    for number in [2, i64::MAX - 1, i64::MAX] {
        let beyond = Cursor {
            number,
            ..newest.clone()
        };
        for beyond in [other(&beyond), beyond] {
            let news = news(&store, &beyond).await;
            assert_eq!(news, News::Reset(newest.clone()), "{beyond}");
        }
    }
}

/// A missing row does not mean that its change never happened.
async fn changes_that_do_not_follow_each_other_are_a_reset(database: TestDatabase) {
    let store = store_with(&database, &["key_1", "key_2", "key_3", "key_4"]).await;
    let mut at = Vec::new();
    for number in 0..=4 {
        at.push(cursor_at(&store, number).await);
    }
    let reset = News::Reset(at[4].clone());
    run(&store, "DELETE FROM changes WHERE number = 3").await;
    assert_eq!(news(&store, &at[1]).await, reset, "over the gap");
    assert_eq!(news(&store, &at[2]).await, reset, "before the gap");
    let (end, changes) = read(&store, &at[3], 10).await;
    assert_eq!((&end, changes.len()), (&at[4], 1), "after the gap");
}

/// A server of the previous version may still write changes, without tokens.
async fn changes_of_an_earlier_version_are_a_reset(database: TestDatabase) {
    let store = store_with(&database, &["key_1"]).await;
    let before = cursor_at(&store, 1).await;
    let by_earlier_version = async || {
        run(&store, "UPDATE feed SET last_number = last_number + 1").await;
        let insert = "INSERT INTO changes (number, key_hash, kind, changed_at) \
             SELECT last_number, key_hash, 'revoked', 1 FROM feed, api_keys";
        run(&store, insert).await;
    };
    by_earlier_version().await;
    let News::Reset(after) = news(&store, &before).await else {
        panic!("no reset");
    };
    assert_eq!(after.number, 2);
    assert_eq!(news(&store, &after).await, News::Nothing);
    by_earlier_version().await;
    let News::Reset(after) = news(&store, &after).await else {
        panic!("no second reset");
    };
    let now = time("2026-02-01T00:00:00Z");
    store.keys.revoke("key_1", now).await.expect("revoke");
    let (_, changes) = read(&store, &after, 10).await;
    assert_eq!(changes, [change("key_1", Kind::Revoked)]);
    // From before both changes.
    assert!(matches!(news(&store, &before).await, News::Reset(_)));
}

/// Operators were once told to choose a new feed ID after a restore.
async fn a_chosen_feed_id_works(database: TestDatabase) {
    let store = store_with(&database, &["key_1"]).await;
    let before = start(&store).await;
    run(&store, "UPDATE feed SET feed_id = 're-stored ü'").await;
    assert!(matches!(news(&store, &before).await, News::Reset(_)));
    let start = start(&store).await;
    let text = start.to_string();
    assert_eq!(text.parse::<Cursor>().ok(), Some(start.clone()));
    let (_, changes) = read(&store, &start, 10).await;
    assert_eq!(changes, [change("key_1", Kind::Created)]);
}
