//! Lookups of key hashes, as the filter makes them.
//!
//! A lookup for another environment than the record's takes as long as one for an unknown key.
//! Otherwise clients could tell the two apart by how long the proxy takes to answer. Usually the
//! index and the statements ensure this; after a change, [`Lookups::warm_up`] does.

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
    /// Starts the tasks that look up hashes. They end when the last clone is dropped.
    pub(crate) fn start(database: Database) -> Self {
        let queue = Queue::start(&database);
        Self { database, queue }
    }

    /// Returns the record of the key with this hash; with an environment, only if it belongs to
    /// that one.
    pub(crate) async fn find(
        &self,
        hash: &[u8; 32],
        environment: Option<&str>,
    ) -> sqlx::Result<Option<Record>> {
        if let Some(found) = self.queue.find(hash, environment).await {
            return found;
        }
        // Try again alone and on another connection, so that only a lookup's own failure counts.
        sql::find(&self.database, hash, environment).await
    }

    /// Looks up a key that was just added or removed. PostgreSQL leaves some of the work of a change
    /// to the first reader of its rows. If that were a client's lookup, its duration would reveal
    /// that a key exists in another environment, or did. The result does not matter.
    pub(crate) async fn warm_up(&self, hash: &[u8; 32]) {
        let _ = self.queue.find(hash, None).await;
    }
}
