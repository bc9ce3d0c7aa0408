//! Keys in the database: one suite for both databases.

use crate::record::Record;
use crate::test_database::{TestDatabase, on_both};
use crate::test_store::{Store, hash, open, record, store_with, time};

on_both! {
    records_come_back_as_they_were,
    pages_follow_each_other,
    a_hash_is_registered_once,
    the_first_revocation_stays,
    what_is_deleted_is_gone,
    stores_that_open_together_share_a_new_database,
}

async fn records_come_back_as_they_were(database: TestDatabase) {
    let store = open(&database).await;
    assert!(store.is_new);
    let bare = Record {
        name: None,
        environment: None,
        expires_at: None,
        endpoints: None,
        ..record("key_bare")
    };
    let closed = Record {
        endpoints: Some(Vec::new()),
        revoked_at: Some(time("2026-02-01T00:00:00Z")),
        ..record("key_closed")
    };
    // Earlier versions stored endpoints that match nothing.
    let earlier = Record {
        endpoints: Some(["/v1/*", "v1", "*", ""].map(str::to_owned).to_vec()),
        ..record("key_earlier")
    };
    let records = [bare, closed, earlier, record("key_full")];
    for record in &records {
        let inserted = store.keys.insert(record, &hash(&record.key_id)).await;
        inserted.expect("insert");
    }
    store.database.close().await;

    let store = open(&database).await;
    assert!(!store.is_new);
    for record in &records {
        let found = store
            .lookups
            .find(hash(&record.key_id).as_bytes(), None)
            .await;
        assert_eq!(found.expect("find").as_ref(), Some(record));
    }
    assert_eq!(store.keys.page(None, 10).await.expect("page"), records);
    assert_eq!(
        store.lookups.find(&[0; 32], None).await.expect("find"),
        None
    );
}

async fn pages_follow_each_other(database: TestDatabase) {
    // In byte order, whatever the locale.
    let store = store_with(&database, &["key_b", "key_a", "key_C", "key_d"]).await;
    let cases: [(_, _, &[&str]); 6] = [
        (None, 10, &["key_C", "key_a", "key_b", "key_d"]),
        (None, 2, &["key_C", "key_a"]),
        (Some("key_a"), 2, &["key_b", "key_d"]),
        (Some("key_aa"), 1, &["key_b"]),
        (Some("key_d"), 2, &[]),
        (None, 0, &[]),
    ];
    for (after, limit, key_ids) in cases {
        let page = store.keys.page(after, limit).await.expect("page");
        let got: Vec<_> = page.iter().map(|record| &record.key_id).collect();
        assert_eq!(got, key_ids, "{limit} after {after:?}");
    }
}

async fn a_hash_is_registered_once(database: TestDatabase) {
    let store = store_with(&database, &["key_one"]).await;
    let again = store
        .keys
        .insert(&record("key_two"), &hash("key_one"))
        .await;
    assert!(!again.expect("insert"), "the same hash again");
    assert_eq!(store.keys.page(None, 10).await.expect("page").len(), 1);
}

async fn the_first_revocation_stays(database: TestDatabase) {
    let store = store_with(&database, &["key_1", "key_2"]).await;
    let (first, second) = (time("2026-02-01T00:00:00Z"), time("2026-03-01T00:00:00Z"));
    assert_eq!(
        store.keys.revoke("key_0", first).await.expect("nothing"),
        None
    );
    for now in [first, second] {
        let revoked = store.keys.revoke("key_1", now).await.expect("revoke");
        let found = store
            .lookups
            .find(hash("key_1").as_bytes(), None)
            .await
            .expect("find");
        assert_eq!(revoked, found);
        assert_eq!(found.and_then(|record| record.revoked_at), Some(first));
    }
    let other = store
        .lookups
        .find(hash("key_2").as_bytes(), None)
        .await
        .expect("find");
    assert_eq!(other, Some(record("key_2")));
}

async fn what_is_deleted_is_gone(database: TestDatabase) {
    let store = store_with(&database, &["key_1", "key_2"]).await;
    let now = time("2026-02-01T00:00:00Z");
    assert!(store.keys.delete("key_1", now).await.expect("delete"));
    assert!(
        !store
            .keys
            .delete("key_1", now)
            .await
            .expect("delete nothing")
    );
    assert_eq!(
        store
            .lookups
            .find(hash("key_1").as_bytes(), None)
            .await
            .expect("find"),
        None
    );
    let left = store.keys.page(None, 10).await.expect("page");
    assert_eq!(left, [record("key_2")]);
}

async fn stores_that_open_together_share_a_new_database(database: TestDatabase) {
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let url = database.url.clone();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Runtime::new().expect("runtime");
                runtime.block_on(Store::open(&url)).map(|_| ())
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("thread").expect("open");
    }
}
