//! What the subcommands do with the store.

use std::io::Write;

use anyhow::{Context, bail};
use keystile::credential::KeyHasher;
use time::OffsetDateTime;

use crate::cli::CreateArgs;
use crate::key::{SecretKey, new_key_id};
use crate::output::Output;
use crate::record::Record;
use crate::store::Store;
use crate::timestamp::Timestamp;

/// How many keys are read at a time.
const PAGE: u32 = 1000;

/// Makes a key, registers it, and shows it.
pub(crate) async fn create(
    store: &Store,
    hasher: &KeyHasher,
    args: CreateArgs,
    now: OffsetDateTime,
    out: &mut Output<impl Write>,
) -> anyhow::Result<()> {
    let key = SecretKey::generate().context("no random bytes from the system")?;
    let record = Record {
        key_id: new_key_id(now).context("no random bytes from the system")?,
        preview: key.preview(),
        account_id: args.account.into(),
        name: args.name.map(String::from),
        environment: args.environment.map(String::from),
        expires_at: args.expires_at,
        endpoints: (!args.endpoints.is_empty())
            .then(|| args.endpoints.into_iter().map(String::from).collect()),
        created_at: timestamp(now)?,
        revoked_at: None,
    };
    let hash = hasher.hash(key.expose().as_bytes());
    store
        .insert(&record, &hash)
        .await
        .context("cannot store the key")?;
    // Only now: a key that is shown is a key that works.
    out.created(&record, &key)?;
    Ok(())
}

/// Shows all keys.
pub(crate) async fn list(store: &Store, out: &mut Output<impl Write>) -> anyhow::Result<()> {
    let mut records = Vec::new();
    loop {
        let after = records.last().map(|record: &Record| record.key_id.as_str());
        let page = store
            .page(after, PAGE)
            .await
            .context("cannot read the keys")?;
        if page.is_empty() {
            break;
        }
        records.extend(page);
    }
    out.listed(&records)?;
    Ok(())
}

/// Revokes a key; it is no error that it was revoked before.
pub(crate) async fn revoke(
    store: &Store,
    key_id: &str,
    now: OffsetDateTime,
    out: &mut Output<impl Write>,
) -> anyhow::Result<()> {
    let found = store
        .revoke(key_id, timestamp(now)?)
        .await
        .context("cannot revoke the key")?;
    if found.is_none() {
        bail!(unknown(key_id));
    }
    out.revoked(key_id)?;
    Ok(())
}

/// Removes a key's record.
pub(crate) async fn delete(
    store: &Store,
    key_id: &str,
    now: OffsetDateTime,
    out: &mut Output<impl Write>,
) -> anyhow::Result<()> {
    let found = store
        .delete(key_id, timestamp(now)?)
        .await
        .context("cannot delete the key")?;
    if !found {
        bail!(unknown(key_id));
    }
    out.deleted(key_id)?;
    Ok(())
}

/// What is not an ID is not repeated: it may be the key itself, in the wrong place.
fn unknown(key_id: &str) -> String {
    if key_id.starts_with("key_") {
        format!("there is no key with the ID {key_id:?}; `list` shows those that exist")
    } else {
        "that is not a key's ID, which starts with `key_`; `list` shows those that exist".to_owned()
    }
}

fn timestamp(now: OffsetDateTime) -> anyhow::Result<Timestamp> {
    Timestamp::new(now).context("the system's clock is past the year 9999 or before the year 0")
}
