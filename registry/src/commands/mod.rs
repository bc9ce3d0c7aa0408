//! The subcommands that work on keys.

pub(crate) mod listen;
pub(crate) mod output;
mod user;

use std::io::{BufRead, Read, Write};

use anyhow::{Context, anyhow, bail};
use time::OffsetDateTime;
use tracing::info;

use crate::cli::{CreateArgs, ListArgs, RotateArgs, UpdateArgs};
use crate::commands::output::Output;
use crate::commands::user::User;
use crate::keys::id::is_key_id;
use crate::keys::secret::SecretKey;
use crate::keys::{Keys, Patch, Rotated, Rotation};
use crate::record::Record;
use crate::timestamp::Timestamp;

/// How many keys are read at a time.
const PAGE: u32 = 1000;

/// The most bytes that are read from standard input: the longest key and its line break.
const LONGEST_LINE: u64 = 8200;

/// Creates or imports a key, and shows it.
pub(crate) async fn create(
    keys: &Keys,
    args: CreateArgs,
    now: OffsetDateTime,
    out: &mut Output<impl Write>,
) -> anyhow::Result<()> {
    let mut new = args.new;
    if args.key_stdin {
        let mut line = String::new();
        // No key is longer than this. The rest of the input is not read.
        let mut input = std::io::stdin().lock().take(LONGEST_LINE);
        input.read_line(&mut line).context("cannot read the key")?;
        let parsed = line.trim_end().parse::<SecretKey>();
        new.key = Some(parsed.map_err(|problem| anyhow!("standard input: {problem}"))?);
    }
    let created = keys.create(new, now).await;
    let (key, record) = created.context("cannot create the key")?;
    log("create", "created", &record.key_id, None);
    // Only now, so that every key that is shown also works.
    out.created(&record, &key)?;
    Ok(())
}

/// Lists all keys, or a page of them.
pub(crate) async fn list(
    keys: &Keys,
    args: ListArgs,
    out: &mut Output<impl Write>,
) -> anyhow::Result<()> {
    // An empty ID sorts before all keys.
    if let Some(after) = args.after.as_deref().filter(|after| !after.is_empty()) {
        check_key_id(after).context("--after")?;
    }
    let mut records: Vec<Record> = Vec::new();
    let mut missing = args.limit.unwrap_or(u32::MAX);
    let mut after = args.after;
    while missing > 0 {
        let page = keys.page(after.as_deref(), missing.min(PAGE)).await;
        let page = page.context("cannot read the keys")?;
        let Some(last) = page.last() else { break };
        after = Some(last.key_id.clone());
        missing = missing.saturating_sub(u32::try_from(page.len())?);
        records.extend(page);
    }
    out.listed(&records)?;
    Ok(())
}

/// Shows one key.
pub(crate) async fn get(
    keys: &Keys,
    key_id: &str,
    out: &mut Output<impl Write>,
) -> anyhow::Result<()> {
    check_key_id(key_id)?;
    let record = keys.get(key_id).await.context("cannot read the key")?;
    out.shown(&record.with_context(|| unknown_key(key_id))?)?;
    Ok(())
}

/// Changes a key's name, expiry or endpoints.
pub(crate) async fn update(
    keys: &Keys,
    args: UpdateArgs,
    now: OffsetDateTime,
    out: &mut Output<impl Write>,
) -> anyhow::Result<()> {
    check_key_id(&args.key_id)?;
    let patch = Patch {
        name: field_change(args.name, args.no_name),
        expires_at: field_change(args.expires_at, args.no_expiry),
        endpoints: field_change(
            (!args.endpoints.is_empty()).then_some(args.endpoints),
            args.every_endpoint,
        ),
    };
    let updated = keys.update(&args.key_id, patch, timestamp(now)?).await;
    let updated = updated.context("cannot change the key")?;
    let record = updated.with_context(|| unknown_key(&args.key_id))?;
    log("update", "updated", &record.key_id, None);
    out.shown(&record)?;
    Ok(())
}

/// Replaces a key with a new one.
pub(crate) async fn rotate(
    keys: &Keys,
    args: RotateArgs,
    now: OffsetDateTime,
    out: &mut Output<impl Write>,
) -> anyhow::Result<()> {
    check_key_id(&args.key_id)?;
    let rotation = Rotation {
        grace: args.grace,
        expires_at: args.expires_at,
    };
    let rotated = keys.rotate(&args.key_id, rotation, now).await;
    match rotated.context("cannot rotate the key")? {
        Rotated::Done { key, new, old } => {
            log("rotate", "rotated", &old.key_id, Some(&new.key_id));
            out.rotated(&new, &key, &old)?;
        }
        Rotated::Revoked => bail!(
            "the key {} is revoked; make a new one with `create`",
            args.key_id
        ),
        Rotated::Unknown => bail!(unknown_key(&args.key_id)),
    }
    Ok(())
}

/// Revokes a key. Revoking it twice is not an error.
pub(crate) async fn revoke(
    keys: &Keys,
    key_id: &str,
    now: OffsetDateTime,
    out: &mut Output<impl Write>,
) -> anyhow::Result<()> {
    check_key_id(key_id)?;
    let found = keys
        .revoke(key_id, timestamp(now)?)
        .await
        .context("cannot revoke the key")?;
    if found.is_none() {
        bail!(unknown_key(key_id));
    }
    log("revoke", "revoked", key_id, None);
    out.revoked(key_id)?;
    Ok(())
}

/// Deletes a key's record.
pub(crate) async fn delete(
    keys: &Keys,
    key_id: &str,
    now: OffsetDateTime,
    out: &mut Output<impl Write>,
) -> anyhow::Result<()> {
    check_key_id(key_id)?;
    let found = keys
        .delete(key_id, timestamp(now)?)
        .await
        .context("cannot delete the key")?;
    if !found {
        bail!(unknown_key(key_id));
    }
    log("delete", "deleted", key_id, None);
    out.deleted(key_id)?;
    Ok(())
}

/// Returns the change to a value: `Some(Some(_))` sets it, `Some(None)` removes it, `None` keeps it.
fn field_change<T>(value: Option<T>, none: bool) -> Option<Option<T>> {
    value.map(Some).or(none.then_some(None))
}

/// Checks that a text is a key ID. The error does not repeat the text, because it may be the key itself.
fn check_key_id(key_id: &str) -> anyhow::Result<()> {
    if !is_key_id(key_id) {
        bail!("that is not a key ID; a key ID starts with `key_`, and `list` shows all of them");
    }
    Ok(())
}

fn unknown_key(key_id: &str) -> String {
    format!("there is no key with the ID {key_id:?}; `list` shows those that exist")
}

/// Logs what was done to a key, and by whom. The admin API logs the same fields.
fn log(action: &'static str, done: &'static str, key_id: &str, new_key_id: Option<&str>) {
    let User { actor, sudo_user } = User::current();
    info!(
        key_id,
        new_key_id, action, actor, sudo_user, "a key was {done}"
    );
}

fn timestamp(now: OffsetDateTime) -> anyhow::Result<Timestamp> {
    Timestamp::new(now).context("the system's clock is past the year 9999 or before the year 0")
}
