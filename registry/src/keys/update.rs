//! Changes to a key.

use serde::Deserialize;

use super::sql::{self, Stored};
use super::values::{Endpoint, Name};
use super::{Failure, Keys, values};
use crate::feed::{self, Kind};
use crate::http::body;
use crate::http::error::ApiError;
use crate::record::Record;
use crate::timestamp::Timestamp;

/// Changes to a key. `None` leaves a value unchanged, and `Some(None)` removes it.
#[derive(Debug, Default)]
pub(crate) struct Patch {
    pub(crate) name: Option<Option<Name>>,
    pub(crate) expires_at: Option<Option<Timestamp>>,
    pub(crate) endpoints: Option<Option<Vec<Endpoint>>>,
}

/// The body of an update. Absent fields stay unchanged; `null` removes a value.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateKey {
    /// 1 to 256 characters.
    #[serde(default, deserialize_with = "body::present")]
    name: Option<Option<String>>,
    /// When the key expires (RFC 3339); null means never.
    #[serde(default, deserialize_with = "body::present")]
    expires_at: Option<Option<String>>,
    /// Path prefixes that the key may call; null means every path, and `[]` none.
    #[serde(default, deserialize_with = "body::present")]
    endpoints: Option<Option<Vec<String>>>,
}

impl UpdateKey {
    pub(crate) fn check(self) -> Result<Patch, ApiError> {
        let name = self
            .name
            .map(|name| body::optional("name", name.as_deref()));
        let expires_at = self.expires_at;
        let expires_at = expires_at.map(|time| body::optional("expires_at", time.as_deref()));
        let paths = self.endpoints;
        let paths = paths.map(|paths| paths.as_deref().map(values::endpoints).transpose());
        Ok(Patch {
            name: name.transpose()?,
            expires_at: expires_at.transpose()?,
            endpoints: paths.transpose()?,
        })
    }
}

impl Patch {
    /// Applies the changes to a record.
    fn apply(self, record: &mut Record) {
        if let Some(name) = self.name {
            record.name = name.map(String::from);
        }
        if let Some(expires_at) = self.expires_at {
            record.expires_at = expires_at;
        }
        if let Some(endpoints) = self.endpoints {
            record.endpoints = endpoints.map(values::paths);
        }
    }
}

impl Keys {
    /// Changes a key, and announces the change if any value differs. Returns `None` if there is no
    /// such key.
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
