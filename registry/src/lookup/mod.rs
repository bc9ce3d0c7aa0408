//! Lookups of key hashes, as the filter makes them.
//!
//! A record of another environment than the one that is asked about takes as long to be found out as a
//! hash without a record: those who ask could tell the difference to their clients by the time of
//! their answer. Index and statement see to it where nothing has just changed, and
//! [`Lookups::read_first`] after a change.

mod batch;
pub(crate) mod handler;
mod sql;

#[cfg(test)]
mod tests;

use self::batch::Queue;
use crate::database::Database;
use crate::record::Record;

/// The records in a database, by hash.
#[derive(Clone, Debug)]
pub(crate) struct Lookups {
    database: Database,
    queue: Queue,
}

impl Lookups {
    /// Their tasks end with the last clone.
    pub(crate) fn start(database: Database) -> Self {
        let queue = Queue::start(&database);
        Self { database, queue }
    }

    /// The record of the key with this hash; with an environment, only if it is of that one.
    pub(crate) async fn find(
        &self,
        hash: &[u8; 32],
        environment: Option<&str>,
    ) -> sqlx::Result<Option<Record>> {
        if let Some(found) = self.queue.find(hash, environment).await {
            return found;
        }
        // Once more, by itself and on another connection: what fails now is its own failure.
        sql::find(&self.database, hash, environment).await
    }

    /// Looks for a key that was just added or removed. PostgreSQL leaves some of a change's work to
    /// whoever comes by its rows first; were that a lookup, its time would say that there is
    /// something, in another environment, or was. The outcome is nobody's concern.
    pub(crate) async fn read_first(&self, hash: &[u8; 32]) {
        let _ = self.queue.find(hash, None).await;
    }
}
