//! Removing a key and its record.

use super::Keys;
use super::sql::{self, Stored};
use crate::feed::{self, Kind};
use crate::timestamp::Timestamp;

impl Keys {
    /// Removes a key's record. Returns false if there is no such key.
    pub(crate) async fn delete(&self, key_id: &str, now: Timestamp) -> sqlx::Result<bool> {
        let mut transaction = self.database.begin().await?;
        let Some(Stored { hash, .. }) = sql::lock(&mut transaction, key_id).await? else {
            return Ok(false);
        };
        sql::delete(&mut transaction, key_id).await?;
        feed::announce(&mut transaction, &hash, Kind::Deleted, now).await?;
        transaction.commit().await?;
        self.lookups.warm_up(&hash).await;
        Ok(true)
    }
}
