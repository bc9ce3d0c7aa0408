//! The SQL about keys.

use keystile::request::key_hash::KeyHash;

use crate::database::{Database, Transaction, on};
use crate::record::{Record, Stored, columns};
use crate::timestamp::Timestamp;

/// Up to `limit` records in the order of their IDs, which is that of their creation; only those
/// after the ID `after`, if there is one.
pub(super) async fn page(
    database: &Database,
    after: Option<&str>,
    limit: u32,
) -> sqlx::Result<Vec<Record>> {
    const PAGE: &str = concat!(
        "SELECT ",
        columns!(),
        " FROM api_keys WHERE key_id > $1 ORDER BY key_id LIMIT $2"
    );
    let (after, limit) = (after.unwrap_or_default(), i64::from(limit));
    let page: Vec<Stored> = on!(database, Database, pool => {
        sqlx::query_as(PAGE).bind(after).bind(limit).fetch_all(pool).await?
    });
    Ok(page.into_iter().map(|stored| stored.record).collect())
}

/// The record of this ID.
pub(super) async fn get(database: &Database, key_id: &str) -> sqlx::Result<Option<Record>> {
    const GET: &str = concat!("SELECT ", columns!(), " FROM api_keys WHERE key_id = $1");
    let found: Option<Stored> = on!(database, Database, pool => {
        sqlx::query_as(GET).bind(key_id).fetch_optional(pool).await?
    });
    Ok(found.map(|stored| stored.record))
}

/// A key, which nobody else changes until the end of this transaction.
pub(super) async fn lock(
    transaction: &mut Transaction,
    key_id: &str,
) -> sqlx::Result<Option<Stored>> {
    const FIND: &str = concat!("SELECT ", columns!(), " FROM api_keys WHERE key_id = $1");
    const LOCK: &str = concat!(
        "SELECT ",
        columns!(),
        " FROM api_keys WHERE key_id = $1 FOR UPDATE"
    );
    match transaction {
        // There is but one writer.
        Transaction::Sqlite(transaction) => {
            let find = sqlx::query_as(FIND).bind(key_id);
            find.fetch_optional(&mut **transaction).await
        }
        Transaction::Postgres(transaction) => {
            let lock = sqlx::query_as(LOCK).bind(key_id);
            lock.fetch_optional(&mut **transaction).await
        }
    }
}

pub(super) async fn insert(
    transaction: &mut Transaction,
    record: &Record,
    hash: &KeyHash,
) -> sqlx::Result<()> {
    const INSERT: &str = concat!(
        "INSERT INTO api_keys (",
        columns!(),
        ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
    );
    let endpoints = endpoints(record)?;
    on!(transaction, Transaction, transaction => {
        sqlx::query(INSERT)
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
            .execute(&mut **transaction)
            .await?;
    });
    Ok(())
}

/// Stores what can change of a record.
pub(super) async fn update(transaction: &mut Transaction, record: &Record) -> sqlx::Result<()> {
    const UPDATE: &str = "UPDATE api_keys SET name = $2, expires_at = $3, endpoints = $4, \
         revoked_at = $5 WHERE key_id = $1";
    let endpoints = endpoints(record)?;
    on!(transaction, Transaction, transaction => {
        sqlx::query(UPDATE)
            .bind(&record.key_id)
            .bind(&record.name)
            .bind(record.expires_at.map(Timestamp::unix))
            .bind(endpoints)
            .bind(record.revoked_at.map(Timestamp::unix))
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

fn endpoints(record: &Record) -> sqlx::Result<Option<String>> {
    record
        .endpoints
        .as_ref()
        .map(serde_json::to_string)
        .transpose()
        .map_err(|error| sqlx::Error::Encode(error.into()))
}
