//! Replacing a key. The old key keeps working for a while, so that the new one can be deployed and
//! seen to work before the old one is revoked or expires.

use serde::Deserialize;
use time::OffsetDateTime;

use super::id::new_key_id;
use super::secret::SecretKey;
use super::sql::{self, Stored};
use super::{Failure, Keys};
use crate::defaults::GRACE;
use crate::duration::Seconds;
use crate::feed::{self, Kind};
use crate::http::body;
use crate::http::error::ApiError;
use crate::record::{Preview, Record};
use crate::timestamp::Timestamp;

/// How to replace a key.
#[derive(Debug)]
pub(crate) struct Rotation {
    /// How long the old key keeps working, unless it expires earlier.
    pub(crate) grace: Seconds,
    /// When the new key expires. If `None`, it lasts as long as the old key was meant to last when
    /// it was created.
    pub(crate) expires_at: Option<Timestamp>,
}

/// The body of a request that rotates a key. It may be left out.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotateKey {
    /// How long the old key keeps working, such as `90s` or `24h`.
    grace: Option<String>,
    /// When the new key expires (RFC 3339). If absent, it lasts as long as the old key was meant to
    /// last when it was created.
    expires_at: Option<String>,
}

impl RotateKey {
    pub(crate) fn check(self) -> Result<Rotation, ApiError> {
        Ok(Rotation {
            grace: body::field("grace", self.grace.as_deref().unwrap_or(GRACE))?,
            expires_at: body::optional("expires_at", self.expires_at.as_deref())?,
        })
    }
}

/// The outcome of a rotation.
#[derive(Debug)]
pub(crate) enum Rotated {
    /// The new key, and both records as they are now.
    Done {
        key: SecretKey,
        new: Box<Record>,
        old: Box<Record>,
    },
    /// The key is revoked. It is not rotated, because the new key would restore its access.
    Revoked,
    /// There is no such key.
    Unknown,
}

impl Keys {
    /// Replaces a key with a new one. The old key expires after the grace period, or earlier if it
    /// was to expire anyway.
    pub(crate) async fn rotate(
        &self,
        key_id: &str,
        rotation: Rotation,
        now: OffsetDateTime,
    ) -> Result<Rotated, Failure> {
        let key = SecretKey::generate(self.tagger.as_ref())?;
        let now_seconds = Timestamp::new(now).ok_or(Failure::Clock)?;
        let ends = now_seconds.plus(i64::from(rotation.grace.get()));
        let ends = ends.ok_or(Failure::Clock)?;
        let new_id = new_key_id(now)?;
        let new_hash = self.hasher.hash(key.expose().as_bytes());

        let mut transaction = self.database.begin().await?;
        let Some(Stored { record, hash }) = sql::lock(&mut transaction, key_id).await? else {
            return Ok(Rotated::Unknown);
        };
        if record.revoked_at.is_some() {
            return Ok(Rotated::Revoked);
        }
        let Preview { head, tail } = key.preview();
        let new = Record {
            key_id: new_id,
            key_head: head,
            key_tail: tail,
            expires_at: rotation.expires_at.or_else(|| {
                let end = record.expires_at?;
                let lifetime = end.unix().saturating_sub(record.created_at.unix()).max(0);
                Some(now_seconds.plus(lifetime).unwrap_or(end))
            }),
            created_at: now_seconds,
            revoked_at: None,
            ..record.clone()
        };
        let mut old = record;
        let end = old.expires_at.map_or(ends, |end| end.min(ends));
        let is_changed = old.expires_at.replace(end) != Some(end);
        sql::insert(&mut transaction, &new, &new_hash).await?;
        if is_changed {
            sql::update(&mut transaction, &old).await?;
        }
        let created = new_hash.as_bytes();
        feed::announce(&mut transaction, created, Kind::Created, now_seconds).await?;
        if is_changed {
            feed::announce(&mut transaction, &hash, Kind::Updated, now_seconds).await?;
        }
        transaction.commit().await?;
        self.lookups.warm_up(new_hash.as_bytes()).await;
        Ok(Rotated::Done {
            key,
            new: Box::new(new),
            old: Box::new(old),
        })
    }
}
