//! The SQL of keys.

use keystile::request::key_hash::KeyHash;
use sqlx::QueryBuilder;
use sqlx::error::BoxDynError;

use crate::database::{Database, Transaction, on};
use crate::record::{Column, Record, Row, columns};

/// A record and its key hash.
pub(super) struct Stored {
    pub(super) record: Record,
    pub(super) hash: [u8; 32],
}

/// Returns up to `limit` records in the order of their IDs, which is the order of their creation;
/// with `after`, only those after that ID.
pub(super) async fn page(
    database: &Database,
    after: Option<&str>,
    limit: u32,
) -> sqlx::Result<Vec<Record>> {
    const PAGE: &str = concat!(
        "SELECT key_hash",
        columns!(),
        " FROM api_keys WHERE key_id > $1 ORDER BY key_id LIMIT $2"
    );
    let (after, limit) = (after.unwrap_or_default(), i64::from(limit));
    let page: Vec<Row<Vec<u8>>> = on!(database, Database, pool => {
        sqlx::query_as(PAGE).bind(after).bind(limit).fetch_all(pool).await?
    });
    page.into_iter().map(Row::record).collect()
}

/// Returns the record with this ID.
pub(super) async fn get(database: &Database, key_id: &str) -> sqlx::Result<Option<Record>> {
    let found: Option<Row<Vec<u8>>> = on!(database, Database, pool => {
        sqlx::query_as(GET).bind(key_id).fetch_optional(pool).await?
    });
    found.map(Row::record).transpose()
}

const GET: &str = concat!(
    "SELECT key_hash",
    columns!(),
    " FROM api_keys WHERE key_id = $1"
);

/// Returns a key, and locks it against other changes until the end of this transaction.
pub(super) async fn lock(
    transaction: &mut Transaction,
    key_id: &str,
) -> sqlx::Result<Option<Stored>> {
    const LOCK: &str = concat!(
        "SELECT key_hash",
        columns!(),
        " FROM api_keys WHERE key_id = $1 FOR UPDATE"
    );
    let found: Option<Row<Vec<u8>>> = match transaction {
        // SQLite has only one writer at a time.
        Transaction::Sqlite(transaction) => {
            let find = sqlx::query_as(GET).bind(key_id);
            find.fetch_optional(&mut **transaction).await?
        }
        Transaction::Postgres(transaction) => {
            let lock = sqlx::query_as(LOCK).bind(key_id);
            lock.fetch_optional(&mut **transaction).await?
        }
    };
    let Some(row) = found else { return Ok(None) };
    let hash = row.key[..].try_into().map_err(|_| undecodable_hash())?;
    let record = row.record()?;
    Ok(Some(Stored { record, hash }))
}

pub(super) async fn insert(
    transaction: &mut Transaction,
    record: &Record,
    hash: &KeyHash,
) -> sqlx::Result<()> {
    const INSERT: &str = concat!("INSERT INTO api_keys (key_hash", columns!(), ") VALUES (");
    on!(transaction, Transaction, transaction => {
        let mut insert = QueryBuilder::new(INSERT);
        let mut values = insert.separated(", ");
        values.push_bind(hash.as_bytes().to_vec());
        record.insert_into(&mut values)?;
        insert.push(")");
        insert.build().execute(&mut **transaction).await?;
    });
    Ok(())
}

/// Stores the columns of a record that can change.
pub(super) async fn update(transaction: &mut Transaction, record: &Record) -> sqlx::Result<()> {
    const UPDATE: &str = "UPDATE api_keys SET name = $2, expires_at = $3, endpoints = $4, \
         revoked_at = $5 WHERE key_id = $1";
    on!(transaction, Transaction, transaction => {
        sqlx::query(UPDATE)
            .bind(&record.key_id)
            .bind(stored(&record.name)?)
            .bind(stored(&record.expires_at)?)
            .bind(stored(&record.endpoints)?)
            .bind(stored(&record.revoked_at)?)
            .execute(&mut **transaction)
            .await?;
    });
    Ok(())
}

pub(super) async fn delete(transaction: &mut Transaction, key_id: &str) -> sqlx::Result<()> {
    const DELETE: &str = "DELETE FROM api_keys WHERE key_id = $1";
    on!(transaction, Transaction, transaction => {
        sqlx::query(DELETE).bind(key_id).execute(&mut **transaction).await?;
    });
    Ok(())
}

fn stored<T: Column>(value: &T) -> sqlx::Result<T::Stored> {
    value.stored().map_err(sqlx::Error::Encode)
}

fn undecodable_hash() -> sqlx::Error {
    let source: BoxDynError = "not 32 bytes".into();
    sqlx::Error::ColumnDecode {
        index: "key_hash".to_owned(),
        source,
    }
}
