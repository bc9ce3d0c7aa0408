//! What can be done with keys, for the command line and the admin API alike.

pub(crate) mod admin;
pub(crate) mod body;
pub(crate) mod secret;
pub(crate) mod view;

#[cfg(test)]
pub(crate) mod tests;

use keystile::request::key_hash::KeyHasher;
use time::OffsetDateTime;

use crate::database::{Rotated, Store, is_refused_value};
use crate::duration::Span;
use crate::keys::secret::{SecretKey, new_key_id};
use crate::record::{Endpoint, HeaderText, Name, Record};
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

/// What to change of a key; `None` leaves things as they are.
#[derive(Debug, Default)]
pub(crate) struct Patch {
    pub(crate) name: Option<Option<Name>>,
    pub(crate) expires_at: Option<Option<Timestamp>>,
    pub(crate) endpoints: Option<Option<Vec<Endpoint>>>,
}

/// How to replace a key.
#[derive(Debug)]
pub(crate) struct Rotation {
    /// How long the old key goes on working, unless it ends before.
    pub(crate) grace: Span,
    /// When the new key ends; `None`: it lasts as long as the old one was to last.
    pub(crate) expires_at: Option<Timestamp>,
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

/// Makes a key, or takes the one that is given, and stores its hash. The key is nowhere else than
/// in what this gives back.
pub(crate) async fn create(
    store: &Store,
    hasher: &KeyHasher,
    new: NewKey,
    now: OffsetDateTime,
) -> Result<(SecretKey, Record), Failure> {
    let key = match new.key {
        Some(key) => key,
        None => SecretKey::generate()?,
    };
    let record = Record {
        key_id: new_key_id(now)?,
        preview: key.preview(),
        account_id: new.account_id.into(),
        name: new.name.map(String::from),
        environment: new.environment.map(String::from),
        expires_at: new.expires_at,
        endpoints: new.endpoints.map(paths),
        created_at: Timestamp::new(now).ok_or(Failure::Clock)?,
        revoked_at: None,
    };
    let hash = hasher.hash(key.expose().as_bytes());
    if !store.insert(&record, &hash).await? {
        return Err(Failure::Exists);
    }
    Ok((key, record))
}

/// Makes a key that replaces another, which goes on working for a while: time to deploy the new one
/// and to see it work, before the old one is revoked or ends by itself.
pub(crate) async fn rotate(
    store: &Store,
    hasher: &KeyHasher,
    key_id: &str,
    rotation: Rotation,
    now: OffsetDateTime,
) -> Result<(SecretKey, Rotated), Failure> {
    let key = SecretKey::generate()?;
    let created_at = Timestamp::new(now).ok_or(Failure::Clock)?;
    let ends = created_at.plus(i64::from(rotation.grace.seconds()));
    let ends = ends.ok_or(Failure::Clock)?;
    let new_id = new_key_id(now)?;
    let hash = hasher.hash(key.expose().as_bytes());
    let replacement = |old: &Record| Record {
        key_id: new_id,
        preview: key.preview(),
        expires_at: rotation.expires_at.or_else(|| {
            let end = old.expires_at?;
            let lifetime = end.unix().saturating_sub(old.created_at.unix()).max(0);
            Some(created_at.plus(lifetime).unwrap_or(end))
        }),
        created_at,
        revoked_at: None,
        ..old.clone()
    };
    let rotated = store
        .rotate(key_id, ends, &hash, created_at, replacement)
        .await?;
    Ok((key, rotated))
}

impl Patch {
    /// The record as it is to be.
    pub(crate) fn apply(self, record: &mut Record) {
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

fn paths(endpoints: Vec<Endpoint>) -> Vec<String> {
    endpoints.into_iter().map(String::from).collect()
}
