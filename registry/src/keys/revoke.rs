//! Revoking a key.

use super::Keys;
use super::sql::{self, Stored};
use crate::feed::{self, Kind};
use crate::record::Record;
use crate::timestamp::Timestamp;

impl Keys {
    /// Revokes a key. If it is already revoked, the time of the first revocation stays. Returns
    /// `None` if there is no such key.
    pub(crate) async fn revoke(
        &self,
        key_id: &str,
        now: Timestamp,
    ) -> sqlx::Result<Option<Record>> {
        let mut transaction = self.database.begin().await?;
        let Some(Stored { mut record, hash }) = sql::lock(&mut transaction, key_id).await? else {
            return Ok(None);
        };
        if record.revoked_at.is_none() {
            record.revoked_at = Some(now);
            sql::update(&mut transaction, &record).await?;
            feed::announce(&mut transaction, &hash, Kind::Revoked, now).await?;
            transaction.commit().await?;
        }
        Ok(Some(record))
    }
}
