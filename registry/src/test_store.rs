//! A database with keys, for tests.

use keystile::request::key_hash::{KeyHash, KeyHasher};

use crate::database::{self, Database};
use crate::keys::Keys;
use crate::lookup::Lookups;
use crate::record::Record;
use crate::test_database::TestDatabase;
use crate::timestamp::Timestamp;

/// A database and everything that works with it.
#[derive(Clone)]
pub(crate) struct Store {
    pub(crate) is_new: bool,
    pub(crate) database: Database,
    pub(crate) keys: Keys,
    pub(crate) lookups: Lookups,
}

impl Store {
    pub(crate) async fn open(url: &str) -> anyhow::Result<Self> {
        let opened = database::open(url).await?;
        let lookups = Lookups::start(opened.database.clone());
        Ok(Self {
            is_new: opened.is_new,
            keys: Keys::new(
                opened.database.clone(),
                lookups.clone(),
                KeyHasher::default(),
                None,
            ),
            database: opened.database,
            lookups,
        })
    }
}

pub(crate) fn time(text: &str) -> Timestamp {
    text.parse().expect(text)
}

pub(crate) fn hash(key: &str) -> KeyHash {
    KeyHasher::default().hash(key.as_bytes())
}

pub(crate) fn record(key_id: &str) -> Record {
    Record {
        key_id: key_id.to_owned(),
        name: Some("Größe ✓".to_owned()),
        endpoints: Some(vec!["/v1/astro".to_owned(), "/v1/\"".to_owned()]),
        ..Record::example()
    }
}

pub(crate) async fn open(database: &TestDatabase) -> Store {
    Store::open(&database.url).await.expect("open")
}

/// Returns a store with a record for each ID. The hash of a record is that of its ID.
pub(crate) async fn store_with(database: &TestDatabase, key_ids: &[&str]) -> Store {
    let store = open(database).await;
    for key_id in key_ids {
        let inserted = store.keys.insert(&record(key_id), &hash(key_id)).await;
        inserted.expect("insert");
    }
    store
}
