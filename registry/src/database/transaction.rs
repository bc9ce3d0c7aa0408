//! Transactions that write.

use sqlx::{Postgres, Sqlite};

use super::{Database, on};

/// A transaction that writes. Dropping it without a commit changes nothing.
pub(crate) enum Transaction {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(sqlx::Transaction<'static, Postgres>),
}

impl Database {
    /// Begins a transaction that writes.
    pub(crate) async fn begin(&self) -> sqlx::Result<Transaction> {
        Ok(match self {
            // Locks for writing from the start. Otherwise SQLite fails at once, without waiting, if
            // another transaction has written since this one's first read.
            Self::Sqlite(pool) => Transaction::Sqlite(pool.begin_with("BEGIN IMMEDIATE").await?),
            Self::Postgres(pool) => Transaction::Postgres(pool.begin().await?),
        })
    }
}

impl Transaction {
    pub(crate) async fn commit(self) -> sqlx::Result<()> {
        on!(self, Self, transaction => transaction.commit().await)
    }
}
