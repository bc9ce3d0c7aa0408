//! The database. All SQL is here, and what reads and writes keys is SQL that SQLite and PostgreSQL
//! both take.

use std::time::{Duration, Instant};

use anyhow::Context;
use keystile::credential::KeyHash;
use sqlx::error::BoxDynError;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteRow};
use sqlx::{FromRow, Row};
use tokio::time::sleep;

use crate::database_url::connect_options;
use crate::key::Preview;
use crate::record::Record;
use crate::timestamp::Timestamp;

static MIGRATIONS: Migrator = sqlx::migrate!();

/// The registered keys.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    /// Whether there was no database before.
    pub(crate) is_new: bool,
    pool: SqlitePool,
}

impl Store {
    /// How long to wait for another process's write, and for a connection.
    const PATIENCE: Duration = Duration::from_secs(5);

    /// Opens the database, creates it when it is missing, and brings its schema up to date.
    pub(crate) async fn open(url: &str) -> anyhow::Result<Self> {
        let options = connect_options(url)?.busy_timeout(Self::PATIENCE);
        let file = options.get_filename().display().to_string();
        let is_new = !options.get_filename().exists();
        let pool = connect(options).await.with_context(|| {
            format!("cannot open the database {file}; its directory must exist and be writable")
        })?;
        let store = Self { pool, is_new };
        store
            .migrate()
            .await
            .with_context(|| format!("cannot bring the schema of {file} up to date"))?;
        Ok(store)
    }

    /// Waits for the statements in progress, then closes the database.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    /// Adds a key.
    pub(crate) async fn insert(&self, record: &Record, hash: &KeyHash) -> sqlx::Result<()> {
        let endpoints = record
            .endpoints
            .as_ref()
            .map(serde_json::to_string)
            .transpose()
            .map_err(|error| sqlx::Error::Encode(error.into()))?;
        sqlx::query(
            "INSERT INTO api_keys (key_id, key_hash, key_head, key_tail, account_id, name, \
             environment, expires_at, endpoints, created_at, revoked_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind(&record.key_id)
        .bind(&hash.as_bytes()[..])
        .bind(&record.preview.head)
        .bind(&record.preview.tail)
        .bind(&record.account_id)
        .bind(&record.name)
        .bind(&record.environment)
        .bind(record.expires_at.map(Timestamp::unix))
        .bind(endpoints)
        .bind(record.created_at.unix())
        .bind(record.revoked_at.map(Timestamp::unix))
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The record of the key with this hash.
    pub(crate) async fn find(&self, hash: &[u8; 32]) -> sqlx::Result<Option<Record>> {
        sqlx::query_as(
            "SELECT key_id, key_head, key_tail, account_id, name, environment, expires_at, \
             endpoints, created_at, revoked_at FROM api_keys WHERE key_hash = $1",
        )
        .bind(&hash[..])
        .fetch_optional(&self.pool)
        .await
    }

    /// All records, oldest first.
    pub(crate) async fn list(&self) -> sqlx::Result<Vec<Record>> {
        sqlx::query_as(
            "SELECT key_id, key_head, key_tail, account_id, name, environment, expires_at, \
             endpoints, created_at, revoked_at FROM api_keys ORDER BY created_at, key_id",
        )
        .fetch_all(&self.pool)
        .await
    }

    /// Revokes a key; the time of the first revocation stays. False: there is no such key.
    pub(crate) async fn revoke(&self, key_id: &str, now: Timestamp) -> sqlx::Result<bool> {
        let done = sqlx::query(
            "UPDATE api_keys SET revoked_at = COALESCE(revoked_at, $2) WHERE key_id = $1",
        )
        .bind(key_id)
        .bind(now.unix())
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Removes a key's record. False: there is no such key.
    pub(crate) async fn delete(&self, key_id: &str) -> sqlx::Result<bool> {
        let done = sqlx::query("DELETE FROM api_keys WHERE key_id = $1")
            .bind(key_id)
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// sqlx takes no lock of its own on SQLite, and two processes that start together on a new
    /// file would both create the tables: hence one writing transaction around it all.
    async fn migrate(&self) -> anyhow::Result<()> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        MIGRATIONS.run(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(())
    }
}

impl FromRow<'_, SqliteRow> for Record {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        let time = |column: &str| -> sqlx::Result<Option<Timestamp>> {
            row.try_get::<Option<i64>, _>(column)?
                .map(|seconds| Timestamp::from_unix(seconds).ok_or("not a time"))
                .transpose()
                .map_err(|error| undecodable(column, error.into()))
        };
        let endpoints = row
            .try_get::<Option<&str>, _>("endpoints")?
            .map(serde_json::from_str)
            .transpose()
            .map_err(|error| undecodable("endpoints", error.into()))?;
        Ok(Self {
            key_id: row.try_get("key_id")?,
            preview: Preview {
                head: row.try_get("key_head")?,
                tail: row.try_get("key_tail")?,
            },
            account_id: row.try_get("account_id")?,
            name: row.try_get("name")?,
            environment: row.try_get("environment")?,
            expires_at: time("expires_at")?,
            endpoints,
            created_at: time("created_at")?
                .ok_or_else(|| undecodable("created_at", "null".into()))?,
            revoked_at: time("revoked_at")?,
        })
    }
}

/// SQLite does not wait for its busy timeout while another process makes a new file one with a
/// write-ahead log; it fails at once. Hence a wait of our own.
async fn connect(options: SqliteConnectOptions) -> sqlx::Result<SqlitePool> {
    let deadline = Instant::now() + Store::PATIENCE;
    let pool = SqlitePoolOptions::new()
        .max_connections(8)
        .acquire_timeout(Store::PATIENCE);
    loop {
        match pool.clone().connect_with(options.clone()).await {
            Err(error) if is_busy(&error) && Instant::now() < deadline => {
                sleep(Duration::from_millis(10)).await;
            }
            result => return result,
        }
    }
}

/// Whether it is `SQLITE_BUSY`, or one of its extended codes, which have it in their low byte.
fn is_busy(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(|error| error.code())
        .and_then(|code| code.parse::<u32>().ok())
        .is_some_and(|code| code & 0xff == 5)
}

fn undecodable(column: &str, source: BoxDynError) -> sqlx::Error {
    sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keystile::credential::KeyHasher;
    use tempfile::TempDir;

    fn url(dir: &TempDir) -> String {
        format!("sqlite://{}/keys.db", dir.path().display())
    }

    fn time(text: &str) -> Timestamp {
        text.parse().expect(text)
    }

    fn record(key_id: &str) -> Record {
        Record {
            key_id: key_id.to_owned(),
            preview: Preview {
                head: "aw_ABCDE".to_owned(),
                tail: "WXYZ".to_owned(),
            },
            account_id: "acct_1".to_owned(),
            name: Some("Größe ✓".to_owned()),
            environment: Some("production".to_owned()),
            expires_at: Some(time("2027-01-01T00:00:00Z")),
            endpoints: Some(vec!["/v1/astro".to_owned(), "/v1/\"".to_owned()]),
            created_at: time("2026-01-01T00:00:00Z"),
            revoked_at: None,
        }
    }

    #[tokio::test]
    async fn records_come_back_as_they_were() {
        let dir = TempDir::new().expect("directory");
        let store = Store::open(&url(&dir)).await.expect("open");
        let hash = |key: &str| KeyHasher::default().hash(key.as_bytes());
        let bare = Record {
            name: None,
            environment: None,
            expires_at: None,
            endpoints: None,
            created_at: time("2025-01-01T00:00:00Z"),
            ..record("bare")
        };
        let closed = Record {
            endpoints: Some(Vec::new()),
            created_at: time("2026-01-02T00:00:00Z"),
            ..record("closed")
        };
        let records = [record("full"), bare, closed];
        for record in &records {
            store
                .insert(record, &hash(&record.key_id))
                .await
                .expect("insert");
        }
        store.close().await;

        let store = Store::open(&url(&dir)).await.expect("open again");
        for record in &records {
            let found = store.find(hash(&record.key_id).as_bytes()).await;
            assert_eq!(found.expect("find").as_ref(), Some(record));
        }
        let listed = store.list().await.expect("list");
        let ids: Vec<_> = listed.iter().map(|record| &record.key_id).collect();
        assert_eq!(ids, ["bare", "full", "closed"]);
        assert_eq!(store.find(&[0; 32]).await.expect("find"), None);
    }

    #[tokio::test]
    async fn a_hash_is_registered_once() {
        let dir = TempDir::new().expect("directory");
        let store = Store::open(&url(&dir)).await.expect("open");
        let hash = KeyHasher::default().hash(b"key");
        store.insert(&record("one"), &hash).await.expect("first");
        store
            .insert(&record("two"), &hash)
            .await
            .expect_err("the same hash again");
    }

    #[tokio::test]
    async fn the_first_revocation_stays() {
        let dir = TempDir::new().expect("directory");
        let store = Store::open(&url(&dir)).await.expect("open");
        let hash = KeyHasher::default().hash(b"key");
        let (first, second) = (time("2026-02-01T00:00:00Z"), time("2026-03-01T00:00:00Z"));
        assert!(!store.revoke("key", first).await.expect("revoke nothing"));
        store.insert(&record("key"), &hash).await.expect("insert");
        for now in [first, second] {
            assert!(store.revoke("key", now).await.expect("revoke"));
            let found = store.find(hash.as_bytes()).await.expect("find");
            assert_eq!(found.and_then(|record| record.revoked_at), Some(first));
        }
        assert!(store.delete("key").await.expect("delete"));
        assert!(!store.delete("key").await.expect("delete nothing"));
    }
}
