//! Creating and importing keys.

use clap::Args;
use keystile::request::key_hash::KeyHash;
use keystile::request::key_tag::KeyTagger;
use serde::Deserialize;
use time::OffsetDateTime;
use tracing::warn;

use super::id::new_key_id;
use super::secret::SecretKey;
use super::values::{Endpoint, HeaderText, Name};
use super::{Failure, Keys, sql, values};
use crate::feed::{self, Kind};
use crate::http::body;
use crate::http::error::ApiError;
use crate::record::{Preview, Record};
use crate::timestamp::Timestamp;

/// The properties of a new key, which are also command-line options.
#[derive(Args, Debug)]
pub(crate) struct NewKey {
    /// The key to import. If `None`, a key is generated.
    #[arg(skip)]
    pub(crate) key: Option<SecretKey>,

    /// The account that the key belongs to.
    #[arg(long = "account", value_name = "ID")]
    pub(crate) account_id: HeaderText,

    /// A name for the key, for people to read.
    #[arg(long)]
    pub(crate) name: Option<Name>,

    /// The environment that the key is for. Without it, the key belongs to none.
    #[arg(long)]
    pub(crate) environment: Option<HeaderText>,

    /// When the key expires (RFC 3339). Without it, never.
    #[arg(long, value_name = "TIME")]
    pub(crate) expires_at: Option<Timestamp>,

    /// A path that the key may call, including everything below it. May be repeated. Without it,
    /// the key may call every path.
    #[arg(long = "endpoint", value_name = "PATH")]
    pub(crate) endpoints: Option<Vec<Endpoint>>,
}

/// The body of a request that creates or imports a key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateKey {
    /// A key to import: 32 to 8192 visible ASCII characters, without a comma. If absent, a key is
    /// generated.
    key: Option<String>,
    /// 1 to 256 visible ASCII characters.
    account_id: String,
    /// 1 to 256 characters.
    name: Option<String>,
    /// 1 to 256 visible ASCII characters.
    environment: Option<String>,
    /// When the key expires (RFC 3339). If absent, never.
    expires_at: Option<String>,
    /// Path prefixes that the key may call. If absent, every path; `[]` means none.
    endpoints: Option<Vec<String>>,
}

impl CreateKey {
    pub(crate) fn check(self) -> Result<NewKey, ApiError> {
        Ok(NewKey {
            key: body::optional("key", self.key.as_deref())?,
            account_id: body::field("account_id", &self.account_id)?,
            name: body::optional("name", self.name.as_deref())?,
            environment: body::optional("environment", self.environment.as_deref())?,
            expires_at: body::optional("expires_at", self.expires_at.as_deref())?,
            endpoints: self
                .endpoints
                .as_deref()
                .map(values::endpoints)
                .transpose()?,
        })
    }
}

impl Keys {
    /// Generates a key, or takes the given one, and stores its hash. Only the return value contains
    /// the key itself.
    pub(crate) async fn create(
        &self,
        new: NewKey,
        now: OffsetDateTime,
    ) -> Result<(SecretKey, Record), Failure> {
        let key = match new.key {
            Some(key) => key,
            None => SecretKey::generate(self.tagger.as_ref())?,
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
            endpoints: new.endpoints.map(values::paths),
            created_at: Timestamp::new(now).ok_or(Failure::Clock)?,
            revoked_at: None,
        };
        let hash = self.hasher.hash(key.expose().as_bytes());
        if !self.insert(&record, &hash).await? {
            return Err(Failure::Exists);
        }
        let lacks_tag = |tagger: &KeyTagger| !tagger.accepts(key.expose().as_bytes());
        // Not refused, because the filter may have another format for imported keys.
        if self.tagger.as_ref().is_some_and(lacks_tag) {
            warn!(
                key_id = record.key_id,
                "an imported key has no valid tag; the filter needs a format without `tag` for it"
            );
        }
        Ok((key, record))
    }

    /// Adds a key. Returns false if there is already one with this hash.
    pub(crate) async fn insert(&self, record: &Record, hash: &KeyHash) -> sqlx::Result<bool> {
        let mut transaction = self.database.begin().await?;
        match sql::insert(&mut transaction, record, hash).await {
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => return Ok(false),
            inserted => inserted?,
        }
        let now = record.created_at;
        feed::announce(&mut transaction, hash.as_bytes(), Kind::Created, now).await?;
        transaction.commit().await?;
        self.lookups.warm_up(hash.as_bytes()).await;
        Ok(true)
    }
}
