//! The database. All SQL is here and below, and nearly all of it is what SQLite and PostgreSQL both
//! take. Every statement is prepared once for each connection.

pub(crate) mod connect;
mod file;
pub(crate) mod transaction;
pub(crate) mod url;

use keystile::request::key_hash::KeyHash;
use sqlx::postgres::PgPool;
use sqlx::sqlite::SqlitePool;

pub(crate) use self::file::Exposed;
use crate::feed::Kind;
use crate::keys::Patch;
use crate::lookup::sql::Lookups;
use crate::record::Record;
use crate::timestamp::Timestamp;

/// The columns of a [`Record`], and the hash.
macro_rules! columns {
    () => {
        "key_id, key_hash, key_head, key_tail, account_id, name, environment, expires_at, \
         endpoints, created_at, revoked_at"
    };
}
pub(crate) use columns;

/// The same expression for whichever database it is.
macro_rules! on {
    ($database:expr, $kind:ident, $connection:ident => $then:expr) => {
        match $database {
            $kind::Sqlite($connection) => $then,
            $kind::Postgres($connection) => $then,
        }
    };
}
pub(crate) use on;

/// The registered keys.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    /// Whether there was no database before, or one without tables.
    pub(crate) is_new: bool,
    /// The database's files that other users may read or write.
    pub(crate) exposed: Vec<Exposed>,
    pub(crate) pool: Pool,
    lookups: Lookups,
}

#[derive(Clone, Debug)]
pub(crate) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// What became of a rotation.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rotated {
    /// Both records as they are now.
    Done { new: Box<Record>, old: Box<Record> },
    /// A revoked key is not rotated: the new one would bring it back.
    Revoked,
    /// There is no such key.
    Unknown,
}

/// Whether the database did not fail, but refused a value: PostgreSQL stores only characters that
/// the database's encoding has.
pub(crate) fn is_refused_value(error: &sqlx::Error) -> bool {
    // "Appendix A. PostgreSQL Error Codes": character_not_in_repertoire, untranslatable_character.
    const CODES: [&str; 2] = ["22021", "22P05"];
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| CODES.contains(&&*code))
}

/// A record and the hash that it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) record: Record,
    pub(crate) hash: [u8; 32],
}

impl Store {
    /// Opens the database, creates a missing file, and brings the schema up to date. Any number of
    /// processes may do so at once.
    pub(crate) async fn open(url: &str) -> anyhow::Result<Self> {
        let connect::Opened {
            pool,
            is_new,
            exposed,
        } = connect::open(url).await?;
        let lookups = Lookups::start(&pool);
        Ok(Self {
            is_new,
            exposed,
            pool,
            lookups,
        })
    }

    /// Waits for the statements in progress, then closes the database.
    pub(crate) async fn close(&self) {
        on!(&self.pool, Pool, pool => pool.close().await);
    }

    /// Asks the database for nothing.
    ///
    /// # Errors
    /// It cannot be reached.
    pub(crate) async fn ping(&self) -> sqlx::Result<()> {
        on!(&self.pool, Pool, pool => { sqlx::query("SELECT 1").execute(pool).await?; });
        Ok(())
    }

    /// Adds a key. False: there is one of this hash.
    pub(crate) async fn insert(&self, record: &Record, hash: &KeyHash) -> sqlx::Result<bool> {
        let mut transaction = self.pool.begin().await?;
        match transaction.insert(record, hash).await {
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => return Ok(false),
            inserted => inserted?,
        }
        let now = record.created_at;
        transaction
            .announce(hash.as_bytes(), Kind::Created, now)
            .await?;
        transaction.commit().await?;
        self.read_first(hash.as_bytes()).await;
        Ok(true)
    }

    /// The record of the key with this hash; where an environment is given, only if it is of that
    /// one. What is of another then takes as long to be found out as what does not exist: those
    /// who ask could tell the difference to their clients by the time of their answer.
    pub(crate) async fn find(
        &self,
        hash: &[u8; 32],
        environment: Option<&str>,
    ) -> sqlx::Result<Option<Record>> {
        const FIND: &str = concat!(
            "SELECT ",
            columns!(),
            " FROM api_keys WHERE key_hash = $1 AND ($2 IS NULL OR environment = $2)"
        );
        if let Some(found) = self.lookups.find(hash, environment).await {
            return found;
        }
        // Once more, by itself and on another connection: what fails now is its own failure.
        let found: Option<Stored> = on!(&self.pool, Pool, pool => {
            sqlx::query_as(FIND).bind(&hash[..]).bind(environment).fetch_optional(pool).await?
        });
        Ok(found.map(|stored| stored.record))
    }

    /// Up to `limit` records in the order of their IDs, which is that of their creation; only those
    /// behind the ID `after`, where there is one.
    pub(crate) async fn page(&self, after: Option<&str>, limit: u32) -> sqlx::Result<Vec<Record>> {
        const PAGE: &str = concat!(
            "SELECT ",
            columns!(),
            " FROM api_keys WHERE key_id > $1 ORDER BY key_id LIMIT $2"
        );
        let (after, limit) = (after.unwrap_or_default(), i64::from(limit));
        let page: Vec<Stored> = on!(&self.pool, Pool, pool => {
            sqlx::query_as(PAGE).bind(after).bind(limit).fetch_all(pool).await?
        });
        Ok(page.into_iter().map(|stored| stored.record).collect())
    }

    /// The record of this ID.
    pub(crate) async fn get(&self, key_id: &str) -> sqlx::Result<Option<Record>> {
        const GET: &str = concat!("SELECT ", columns!(), " FROM api_keys WHERE key_id = $1");
        let found: Option<Stored> = on!(&self.pool, Pool, pool => {
            sqlx::query_as(GET).bind(key_id).fetch_optional(pool).await?
        });
        Ok(found.map(|stored| stored.record))
    }

    /// Changes a key; where it is so already, that is no change. `None`: there is no such key.
    pub(crate) async fn update(
        &self,
        key_id: &str,
        patch: Patch,
        now: Timestamp,
    ) -> sqlx::Result<Option<Record>> {
        let mut transaction = self.pool.begin().await?;
        let Some(Stored { record, hash }) = transaction.lock(key_id).await? else {
            return Ok(None);
        };
        let mut changed = record.clone();
        patch.apply(&mut changed);
        if changed != record {
            transaction.update(&changed).await?;
            transaction.announce(&hash, Kind::Updated, now).await?;
            transaction.commit().await?;
        }
        Ok(Some(changed))
    }

    /// Adds the replacement of a key, which itself ends at `ends` unless it ends before.
    pub(crate) async fn rotate(
        &self,
        key_id: &str,
        ends: Timestamp,
        new_hash: &KeyHash,
        now: Timestamp,
        replacement: impl FnOnce(&Record) -> Record,
    ) -> sqlx::Result<Rotated> {
        let mut transaction = self.pool.begin().await?;
        let Some(Stored { mut record, hash }) = transaction.lock(key_id).await? else {
            return Ok(Rotated::Unknown);
        };
        if record.revoked_at.is_some() {
            return Ok(Rotated::Revoked);
        }
        let new = replacement(&record);
        let end = record.expires_at.map_or(ends, |end| end.min(ends));
        let is_changed = record.expires_at.replace(end) != Some(end);
        transaction.insert(&new, new_hash).await?;
        if is_changed {
            transaction.update(&record).await?;
        }
        transaction
            .announce(new_hash.as_bytes(), Kind::Created, now)
            .await?;
        if is_changed {
            transaction.announce(&hash, Kind::Updated, now).await?;
        }
        transaction.commit().await?;
        self.read_first(new_hash.as_bytes()).await;
        Ok(Rotated::Done {
            new: Box::new(new),
            old: Box::new(record),
        })
    }

    /// Revokes a key; the time of the first revocation stays. `None`: there is no such key.
    pub(crate) async fn revoke(
        &self,
        key_id: &str,
        now: Timestamp,
    ) -> sqlx::Result<Option<Record>> {
        let mut transaction = self.pool.begin().await?;
        let Some(Stored { mut record, hash }) = transaction.lock(key_id).await? else {
            return Ok(None);
        };
        if record.revoked_at.is_none() {
            record.revoked_at = Some(now);
            transaction.update(&record).await?;
            transaction.announce(&hash, Kind::Revoked, now).await?;
            transaction.commit().await?;
        }
        Ok(Some(record))
    }

    /// Removes a key's record. False: there is no such key.
    pub(crate) async fn delete(&self, key_id: &str, now: Timestamp) -> sqlx::Result<bool> {
        let mut transaction = self.pool.begin().await?;
        let Some(Stored { hash, .. }) = transaction.lock(key_id).await? else {
            return Ok(false);
        };
        transaction.delete(key_id).await?;
        transaction.announce(&hash, Kind::Deleted, now).await?;
        transaction.commit().await?;
        self.read_first(&hash).await;
        Ok(true)
    }

    /// Looks for a key that was just added or removed. PostgreSQL leaves some of a change's work to
    /// whoever comes by its rows first; were that a lookup, its time would say that there is
    /// something, in another environment, or was. What comes of it is nobody's concern.
    async fn read_first(&self, hash: &[u8; 32]) {
        let _ = self.lookups.find(hash, None).await;
    }
}
