//! Changes to a key.

use super::sql::{self, Stored};
use super::values::{Endpoint, Name};
use super::{Failure, Keys, paths};
use crate::feed::{self, Kind};
use crate::record::Record;
use crate::timestamp::Timestamp;

/// What to change of a key; `None` leaves things as they are.
#[derive(Debug, Default)]
pub(crate) struct Patch {
    pub(crate) name: Option<Option<Name>>,
    pub(crate) expires_at: Option<Option<Timestamp>>,
    pub(crate) endpoints: Option<Option<Vec<Endpoint>>>,
}

impl Patch {
    /// The record as it is to be.
    fn apply(self, record: &mut Record) {
        if let Some(name) = self.name {
            record.name = name.map(String::from);
        }
        if let Some(expires_at) = self.expires_at {
            record.expires_at = expires_at;
        }
        if let Some(endpoints) = self.endpoints {
            record.endpoints = endpoints.map(paths);
        }
    }
}

impl Keys {
    /// Changes a key; where it is so already, that is no change. `None`: there is no such key.
    pub(crate) async fn update(
        &self,
        key_id: &str,
        patch: Patch,
        now: Timestamp,
    ) -> Result<Option<Record>, Failure> {
        let mut transaction = self.database.begin().await?;
        let Some(Stored { record, hash }) = sql::lock(&mut transaction, key_id).await? else {
            return Ok(None);
        };
        let mut changed = record.clone();
        patch.apply(&mut changed);
        if changed != record {
            sql::update(&mut transaction, &changed).await?;
            feed::announce(&mut transaction, &hash, Kind::Updated, now).await?;
            transaction.commit().await?;
        }
        Ok(Some(changed))
    }
}
