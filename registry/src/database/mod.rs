//! The database, SQLite or PostgreSQL: its connections, schema and transactions. The SQL of keys,
//! lookups and changes is next to their code, and nearly all of it works on both databases. Every
//! statement is prepared once per connection.

mod connect;
mod file;
mod transaction;
mod url;

use sqlx::postgres::PgPool;
use sqlx::sqlite::SqlitePool;

pub(crate) use self::connect::{Opened, PATIENCE, open};
#[cfg(test)]
pub(crate) use self::connect::{POSTGRES, SQLITE, is_busy};
pub(crate) use self::file::Exposed;
pub(crate) use self::transaction::Transaction;

/// Runs the same expression for either database.
macro_rules! on {
    ($database:expr, $kind:ident, $connection:ident => $then:expr) => {
        match $database {
            $kind::Sqlite($connection) => $then,
            $kind::Postgres($connection) => $then,
        }
    };
}
pub(crate) use on;

/// A database whose schema is up to date. Clones share its connections.
#[derive(Clone, Debug)]
pub(crate) enum Database {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Database {
    /// Waits for the statements in progress, then closes the database.
    pub(crate) async fn close(&self) {
        on!(self, Self, pool => pool.close().await);
    }

    /// Runs a trivial query.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub(crate) async fn ping(&self) -> sqlx::Result<()> {
        on!(self, Self, pool => { sqlx::query("SELECT 1").execute(pool).await?; });
        Ok(())
    }
}

/// Returns whether the database refused a value rather than failed. PostgreSQL only stores
/// characters that the database's encoding has.
pub(crate) fn is_refused_value(error: &sqlx::Error) -> bool {
    // "Appendix A. PostgreSQL Error Codes": character_not_in_repertoire, untranslatable_character.
    const CODES: [&str; 2] = ["22021", "22P05"];
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| CODES.contains(&&*code))
}
