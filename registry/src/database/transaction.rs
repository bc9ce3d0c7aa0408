//! Transactions that write.

use sqlx::{Postgres, Sqlite};

use super::{Database, on};

/// One that is dropped before its commit has changed nothing.
pub(crate) enum Transaction {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(sqlx::Transaction<'static, Postgres>),
}

impl Database {
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
        on!(self, Self, transaction => transaction.commit().await)
    }
}
