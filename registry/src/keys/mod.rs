//! What can be done with keys, for the command line and the admin API alike.

pub(crate) mod admin;
pub(crate) mod body;
mod create;
mod delete;
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

pub(crate) use self::create::NewKey;
pub(crate) use self::rotate::{Rotated, Rotation};
pub(crate) use self::update::Patch;
use self::values::Endpoint;
use crate::database::{Database, is_refused_value};
use crate::lookup::Lookups;
use crate::record::Record;

/// The registered keys.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    database: Database,
    lookups: Lookups,
    /// Hashes new keys.
    hasher: KeyHasher,
}

impl Keys {
    /// The keys in a database, whose changes these lookups are the first to read.
    pub(crate) fn new(database: Database, lookups: Lookups, hasher: KeyHasher) -> Self {
        Self {
            database,
            lookups,
            hasher,
        }
    }

    /// Up to `limit` records, oldest first; only those after the ID `after`, if there is one.
    pub(crate) async fn page(&self, after: Option<&str>, limit: u32) -> sqlx::Result<Vec<Record>> {
        sql::page(&self.database, after, limit).await
    }

    /// The record of this ID.
    pub(crate) async fn get(&self, key_id: &str) -> sqlx::Result<Option<Record>> {
        sql::get(&self.database, key_id).await
    }
}

/// Why a key was not made.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No random bytes from the system.
    Random(getrandom::Error),
    /// A time outside the years that can be written.
    Clock,
    /// A key that was made elsewhere is registered already.
    Exists,
    /// The name has a character that the database's encoding lacks.
    Name,
    Store(sqlx::Error),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Random(cause) => write!(f, "no random bytes from the system: {cause}"),
            Self::Clock => f.write_str("the time is past the year 9999 or before the year 0"),
            Self::Exists => f.write_str("this key is registered already"),
            // Of all texts of a record, only a name may be other than ASCII.
            Self::Name => f.write_str(
                "name: the database's encoding, which is not UTF-8, lacks one of its characters; \
                 ASCII always works",
            ),
            Self::Store(cause) => write!(f, "the database failed: {cause}"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<getrandom::Error> for Failure {
    fn from(cause: getrandom::Error) -> Self {
        Self::Random(cause)
    }
}

impl From<sqlx::Error> for Failure {
    fn from(cause: sqlx::Error) -> Self {
        if is_refused_value(&cause) {
            Self::Name
        } else {
            Self::Store(cause)
        }
    }
}

fn paths(endpoints: Vec<Endpoint>) -> Vec<String> {
    endpoints.into_iter().map(String::from).collect()
}
