//! The change feed.
//!
//! A change takes its number from the one row of `feed`, in the transaction that makes the change,
//! and thereby locks that row until its commit. So changes become visible in the order of their
//! numbers, a number that was taken in vain is taken again, and a reader that has seen a number
//! never meets a lower one later. Transactions lock keys first and the feed last; in that order
//! none waits for another in a circle.

use super::transaction::Transaction;
use super::{Pool, Store, on};
use crate::feed::{Change, Cursor, Kind, News};
use crate::timestamp::Timestamp;

/// The feed's ID, its newest number, and a change.
type Row = (String, i64, Option<i64>, Option<Vec<u8>>, Option<String>);

impl Transaction {
    /// Puts a change into the feed. From here to the commit all other writers wait.
    pub(super) async fn announce(
        &mut self,
        hash: &[u8; 32],
        kind: Kind,
        now: Timestamp,
    ) -> sqlx::Result<()> {
        const NUMBER: &str = "UPDATE feed SET last_number = last_number + 1 RETURNING last_number";
        const INSERT: &str =
            "INSERT INTO changes (number, key_hash, kind, changed_at) VALUES ($1, $2, $3, $4)";
        on!(self, Transaction, transaction => {
            let number: i64 = sqlx::query_scalar(NUMBER).fetch_one(&mut **transaction).await?;
            sqlx::query(INSERT)
                .bind(number)
                .bind(&hash[..])
                .bind(kind.as_str())
                .bind(now.unix())
                .execute(&mut **transaction)
                .await?;
        });
        Ok(())
    }
}

impl Store {
    /// Up to `limit` changes, but at least one, behind a cursor. `None` is a cursor of no feed.
    pub(crate) async fn changes(&self, after: Option<&Cursor>, limit: u32) -> sqlx::Result<News> {
        // One statement, so that all of it is of one moment.
        const NEWS: &str = "SELECT feed_id, last_number, number, key_hash, kind FROM feed \
             LEFT JOIN (SELECT number, key_hash, kind FROM changes WHERE number > $1 \
             ORDER BY number LIMIT $2) AS news ON TRUE ORDER BY number";
        let number = after.map_or(i64::MAX, |cursor| cursor.number);
        let limit = i64::from(limit.max(1));
        let rows: Vec<Row> = on!(&self.pool, Pool, pool => {
            sqlx::query_as(NEWS).bind(number).bind(limit).fetch_all(pool).await?
        });
        news(after, rows)
    }

    /// Removes the changes from before a time; how many. Their readers get a reset.
    pub(crate) async fn prune(&self, before: Timestamp) -> sqlx::Result<u64> {
        // From the oldest on, and none behind one that stays: clocks differ, and the numbers that
        // are left must have no gaps.
        const PRUNE: &str = "DELETE FROM changes WHERE changed_at < $1 AND number < COALESCE(\
             (SELECT MIN(number) FROM changes WHERE changed_at >= $1), \
             (SELECT last_number + 1 FROM feed))";
        Ok(on!(&self.pool, Pool, pool => {
            sqlx::query(PRUNE).bind(before.unix()).execute(pool).await?.rows_affected()
        }))
    }
}

fn news(after: Option<&Cursor>, rows: Vec<Row>) -> sqlx::Result<News> {
    let Some((feed_id, last, first, ..)) = rows.first() else {
        return Err(sqlx::Error::RowNotFound);
    };
    let cursor = |number| Cursor {
        feed_id: feed_id.clone(),
        number,
    };
    let Some(after) = after.filter(|after| after.feed_id == *feed_id) else {
        return Ok(News::Reset(cursor(*last)));
    };
    if after.number == *last {
        return Ok(News::Nothing);
    }
    // A higher number is of a database that was set back since; a gap is where changes were pruned.
    if *first != after.number.checked_add(1) {
        return Ok(News::Reset(cursor(*last)));
    }
    let mut number = after.number;
    let mut changes = Vec::with_capacity(rows.len());
    for row in &rows {
        let (.., Some(next), Some(hash), Some(kind)) = row else {
            return Err(undecodable("a change without its columns"));
        };
        number = *next;
        changes.push(Change {
            key_hash: hash[..]
                .try_into()
                .map_err(|_| undecodable("a hash that is not 32 bytes"))?,
            kind: Kind::from_stored(kind).ok_or_else(|| undecodable("an unknown kind"))?,
        });
    }
    Ok(News::Changes(cursor(number), changes))
}

fn undecodable(what: &str) -> sqlx::Error {
    sqlx::Error::Decode(what.into())
}
