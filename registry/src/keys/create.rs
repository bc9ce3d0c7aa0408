//! New keys.

use keystile::request::key_hash::KeyHash;
use time::OffsetDateTime;

use super::id::new_key_id;
use super::secret::SecretKey;
use super::values::{Endpoint, HeaderText, Name};
use super::{Failure, Keys, paths, sql};
use crate::feed::{self, Kind};
use crate::record::{Preview, Record};
use crate::timestamp::Timestamp;

/// What a new key is for.
#[derive(Debug)]
pub(crate) struct NewKey {
    /// One that was made elsewhere; else one is made.
    pub(crate) key: Option<SecretKey>,
    pub(crate) account_id: HeaderText,
    pub(crate) name: Option<Name>,
    pub(crate) environment: Option<HeaderText>,
    pub(crate) expires_at: Option<Timestamp>,
    /// `None` is every path.
    pub(crate) endpoints: Option<Vec<Endpoint>>,
}

impl Keys {
    /// Makes a key, or takes the one that is given, and stores its hash. The key is nowhere else
    /// than in what this returns.
    pub(crate) async fn create(
        &self,
        new: NewKey,
        now: OffsetDateTime,
    ) -> Result<(SecretKey, Record), Failure> {
        let key = match new.key {
            Some(key) => key,
            None => SecretKey::generate()?,
        };
        let Preview { head, tail } = key.preview();
        let record = Record {
            key_id: new_key_id(now)?,
            key_head: head,
            key_tail: tail,
            account_id: new.account_id.into(),
            name: new.name.map(String::from),
            environment: new.environment.map(String::from),
            expires_at: new.expires_at,
            endpoints: new.endpoints.map(paths),
            created_at: Timestamp::new(now).ok_or(Failure::Clock)?,
            revoked_at: None,
        };
        let hash = self.hasher.hash(key.expose().as_bytes());
        if !self.insert(&record, &hash).await? {
            return Err(Failure::Exists);
        }
        Ok((key, record))
    }

    /// Adds a key. False: there is one of this hash.
    pub(crate) async fn insert(&self, record: &Record, hash: &KeyHash) -> sqlx::Result<bool> {
        let mut transaction = self.database.begin().await?;
        match sql::insert(&mut transaction, record, hash).await {
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => return Ok(false),
            inserted => inserted?,
        }
        let now = record.created_at;
        feed::announce(&mut transaction, hash.as_bytes(), Kind::Created, now).await?;
        transaction.commit().await?;
        self.lookups.read_first(hash.as_bytes()).await;
        Ok(true)
    }
}
