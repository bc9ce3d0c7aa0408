//! The SQL of changes.
//!
//! A change takes its number from the one row of `feed`, in the transaction that makes the change, and
//! thereby locks that row until its commit. So changes become visible in the order of their numbers, the
//! number of a transaction that fails is used again, and a reader that has seen a number never sees a
//! lower one later. Transactions lock keys first and the feed last, so they never deadlock.
//!
//! A visible number is used again only if the database lost it: an older copy was restored, or a replica
//! that had not received it was promoted. Tokens tell these changes apart. Each change has a random
//! token, and also stores the token of the change before it, which may have been pruned since.

use super::change::{Change, Kind, News};
use super::cursor::{Cursor, new_token};
use crate::database::{Database, Transaction, on};
use crate::timestamp::Timestamp;

/// The feed joined with a change. If there is no change, there is one row, and the change's columns
/// are null.
#[derive(sqlx::FromRow)]
struct Row {
    feed_id: String,
    last_number: i64,
    last_token: String,
    number: Option<i64>,
    token: Option<String>,
    previous_token: Option<String>,
    key_hash: Option<Vec<u8>>,
    kind: Option<String>,
}

/// Adds a change to the feed. All other writers wait from here until the commit.
pub(crate) async fn announce(
    transaction: &mut Transaction,
    hash: &[u8; 32],
    kind: Kind,
    now: Timestamp,
) -> sqlx::Result<()> {
    // The first statement locks the row. It keeps the token, which is that of the previous change.
    const NUMBER: &str =
        "UPDATE feed SET last_number = last_number + 1 RETURNING last_number, last_token";
    const INSERT: &str = "INSERT INTO changes \
         (number, key_hash, kind, changed_at, token, previous_token) \
         VALUES ($1, $2, $3, $4, $5, $6)";
    const TOKEN: &str = "UPDATE feed SET last_token = $1";
    let token = new_token().map_err(|cause| {
        sqlx::Error::Encode(format!("the system has no random bytes: {cause}").into())
    })?;
    on!(transaction, Transaction, transaction => {
        let (number, previous_token): (i64, String) =
            sqlx::query_as(NUMBER).fetch_one(&mut **transaction).await?;
        sqlx::query(INSERT)
            .bind(number)
            .bind(&hash[..])
            .bind(kind.as_str())
            .bind(now.unix())
            .bind(&token)
            .bind(previous_token)
            .execute(&mut **transaction)
            .await?;
        sqlx::query(TOKEN).bind(&token).execute(&mut **transaction).await?;
    });
    Ok(())
}

/// Returns up to `limit` changes after a cursor. A limit of 0 counts as 1. `None` stands for a
/// cursor of no feed.
pub(crate) async fn read(
    database: &Database,
    after: Option<&Cursor>,
    limit: u32,
) -> sqlx::Result<News> {
    // One statement, so that it sees one state of the database.
    const NEWS: &str = "SELECT feed_id, last_number, last_token, \
         number, token, previous_token, key_hash, kind FROM feed \
         LEFT JOIN (SELECT number, token, previous_token, key_hash, kind FROM changes \
         WHERE number > $1 ORDER BY number LIMIT $2) AS news ON TRUE ORDER BY number";
    let number = after.map_or(i64::MAX, |cursor| cursor.number);
    let limit = i64::from(limit.max(1));
    let rows: Vec<Row> = on!(database, Database, pool => {
        sqlx::query_as(NEWS).bind(number).bind(limit).fetch_all(pool).await?
    });
    news(after, rows)
}

/// Removes the changes made before a time, and returns how many. Readers that missed them get a reset.
pub(super) async fn prune(database: &Database, before: Timestamp) -> sqlx::Result<u64> {
    // Starts with the oldest change and stops at the first one that stays. Clocks differ, and the
    // remaining numbers must have no gaps.
    const PRUNE: &str = "DELETE FROM changes WHERE changed_at < $1 AND number < COALESCE(\
         (SELECT MIN(number) FROM changes WHERE changed_at >= $1), \
         (SELECT last_number + 1 FROM feed))";
    Ok(on!(database, Database, pool => {
        sqlx::query(PRUNE).bind(before.unix()).execute(pool).await?.rows_affected()
    }))
}

/// Returns the answer to a reader at `after`. The rows are the changes with higher numbers.
fn news(after: Option<&Cursor>, rows: Vec<Row>) -> sqlx::Result<News> {
    let Some(feed) = rows.first() else {
        return Err(sqlx::Error::RowNotFound);
    };
    let newest = Cursor {
        feed_id: feed.feed_id.clone(),
        number: feed.last_number,
        token: feed.last_token.clone(),
    };
    let Some(after) = after.filter(|after| after.feed_id == newest.feed_id) else {
        return Ok(News::Reset(newest));
    };
    if *after == newest {
        return Ok(News::Nothing);
    }
    let mut cursor = after.clone();
    let mut changes = Vec::with_capacity(rows.len());
    for row in rows {
        // If the very next change is missing, it is unknown what the reader has missed: changes
        // were pruned, or the cursor is from another history.
        let follows = row.number.is_some()
            && row.number == cursor.number.checked_add(1)
            && row.previous_token.as_ref() == Some(&cursor.token);
        if !follows {
            return Ok(News::Reset(newest));
        }
        let (Some(number), Some(token), Some(hash), Some(kind)) =
            (row.number, row.token, row.key_hash, row.kind)
        else {
            return Err(undecodable("a change without its columns"));
        };
        (cursor.number, cursor.token) = (number, token);
        changes.push(Change {
            key_hash: hash[..]
                .try_into()
                .map_err(|_| undecodable("a hash that is not 32 bytes"))?,
            kind: Kind::from_stored(&kind).ok_or_else(|| undecodable("an unknown kind"))?,
        });
    }
    Ok(News::Changes(cursor, changes))
}

fn undecodable(what: &str) -> sqlx::Error {
    sqlx::Error::Decode(what.into())
}
