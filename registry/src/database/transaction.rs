//! Changes to keys. A transaction that is dropped before its commit has changed nothing.

use keystile::request::key_hash::KeyHash;
use sqlx::{Postgres, Sqlite};

use super::{Pool, Stored, columns, on};
use crate::record::Record;
use crate::timestamp::Timestamp;

pub(crate) enum Transaction {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(sqlx::Transaction<'static, Postgres>),
}

impl Pool {
    /// Begins a transaction that writes.
    pub(crate) async fn begin(&self) -> sqlx::Result<Transaction> {
        Ok(match self {
            // At once the one that may write: SQLite refuses, and does not wait, where one that
            // has read finds that another has written since.
            Self::Sqlite(pool) => Transaction::Sqlite(pool.begin_with("BEGIN IMMEDIATE").await?),
            Self::Postgres(pool) => Transaction::Postgres(pool.begin().await?),
        })
    }
}

impl Transaction {
    pub(crate) async fn commit(self) -> sqlx::Result<()> {
        on!(self, Transaction, transaction => transaction.commit().await)
    }

    /// A key, which nobody else changes until the end of this transaction.
    pub(crate) async fn lock(&mut self, key_id: &str) -> sqlx::Result<Option<Stored>> {
        const FIND: &str = concat!("SELECT ", columns!(), " FROM api_keys WHERE key_id = $1");
        const LOCK: &str = concat!(
            "SELECT ",
            columns!(),
            " FROM api_keys WHERE key_id = $1 FOR UPDATE"
        );
        match self {
            // There is but one writer.
            Self::Sqlite(transaction) => {
                let find = sqlx::query_as(FIND).bind(key_id);
                find.fetch_optional(&mut **transaction).await
            }
            Self::Postgres(transaction) => {
                let lock = sqlx::query_as(LOCK).bind(key_id);
                lock.fetch_optional(&mut **transaction).await
            }
        }
    }

    pub(crate) async fn insert(&mut self, record: &Record, hash: &KeyHash) -> sqlx::Result<()> {
        const INSERT: &str = concat!(
            "INSERT INTO api_keys (",
            columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
        );
        let endpoints = endpoints(record)?;
        on!(self, Transaction, transaction => {
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

    /// Stores what of a record can change.
    pub(crate) async fn update(&mut self, record: &Record) -> sqlx::Result<()> {
        const UPDATE: &str = "UPDATE api_keys SET name = $2, expires_at = $3, endpoints = $4, \
             revoked_at = $5 WHERE key_id = $1";
        let endpoints = endpoints(record)?;
        on!(self, Transaction, transaction => {
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

    pub(crate) async fn delete(&mut self, key_id: &str) -> sqlx::Result<()> {
        const DELETE: &str = "DELETE FROM api_keys WHERE key_id = $1";
        on!(self, Transaction, transaction => {
            sqlx::query(DELETE).bind(key_id).execute(&mut **transaction).await?;
        });
        Ok(())
    }
}

fn endpoints(record: &Record) -> sqlx::Result<Option<String>> {
    record
        .endpoints
        .as_ref()
        .map(serde_json::to_string)
        .transpose()
        .map_err(|error| sqlx::Error::Encode(error.into()))
}
