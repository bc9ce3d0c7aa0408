//! Operations on keys, shared by the command line and the admin API.

pub(crate) mod admin;
mod create;
mod delete;
mod failure;
pub(crate) mod id;
mod revoke;
mod rotate;
pub(crate) mod secret;
mod sql;
mod update;
pub(crate) mod values;
pub(crate) mod view;

#[cfg(test)]
mod tests;

use keystile::request::key_hash::KeyHasher;
use keystile::request::key_tag::KeyTagger;

pub(crate) use self::create::NewKey;
use self::failure::Failure;
pub(crate) use self::rotate::{Rotated, Rotation};
pub(crate) use self::update::Patch;
use crate::database::Database;
use crate::lookup::Lookups;
use crate::record::Record;

/// The registered keys.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    database: Database,
    lookups: Lookups,
    /// Hashes new keys.
    hasher: KeyHasher,
    /// Completes generated keys with tags.
    tagger: Option<KeyTagger>,
}

impl Keys {
    /// Returns the keys in a database. `lookups` is the first to read a key that was added or removed.
    pub(crate) fn new(
        database: Database,
        lookups: Lookups,
        hasher: KeyHasher,
        tagger: Option<KeyTagger>,
    ) -> Self {
        Self {
            database,
            lookups,
            hasher,
            tagger,
        }
    }

    /// Returns up to `limit` records, oldest first; with `after`, only those after that ID.
    pub(crate) async fn page(&self, after: Option<&str>, limit: u32) -> sqlx::Result<Vec<Record>> {
        sql::page(&self.database, after, limit).await
    }

    /// Returns the record with this ID.
    pub(crate) async fn get(&self, key_id: &str) -> sqlx::Result<Option<Record>> {
        sql::get(&self.database, key_id).await
    }
}
