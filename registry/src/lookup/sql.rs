//! The SQL of lookups.

use serde::Deserialize;
use sqlx::{Postgres, Sqlite};

use super::batch::Lookup;
use crate::database::{Database, on};
use crate::record::Preview;
use crate::record::{Record, Stored, columns};
use crate::timestamp::Timestamp;

/// The fields of [`Found`], except the first.
macro_rules! fields {
    () => {
        "key_id, key_head, key_tail, account_id, name, environment, expires_at, endpoints, \
         created_at, revoked_at"
    };
}

// CROSS JOIN is SQLite's word for a join in this order and no other.
pub(super) const SQLITE: &str = concat!(
    "SELECT json_group_array(json_array(asked.key, ",
    fields!(),
    ")) FROM json_each($1) AS asked CROSS JOIN api_keys INDEXED BY lookups \
     ON key_hash = unhex(substr(asked.value, 1, 64)) \
     AND substr(asked.value, 65) IN ('', environment)"
);

pub(super) const POSTGRES: &str = concat!(
    "SELECT json_agg(json_build_array(number - 1, ",
    fields!(),
    "))::text FROM unnest($1::bytea[], $2::text[]) WITH ORDINALITY AS asked (hash, here, number) \
     JOIN api_keys ON key_hash = hash AND (here IS NULL OR environment = here)"
);

/// The record of one hash; with an environment, only if it is of that one.
pub(super) async fn find(
    database: &Database,
    hash: &[u8; 32],
    environment: Option<&str>,
) -> sqlx::Result<Option<Record>> {
    const FIND: &str = concat!(
        "SELECT ",
        columns!(),
        " FROM api_keys WHERE key_hash = $1 AND ($2 IS NULL OR environment = $2)"
    );
    let found: Option<Stored> = on!(database, Database, pool => {
        sqlx::query_as(FIND).bind(&hash[..]).bind(environment).fetch_optional(pool).await?
    });
    Ok(found.map(|stored| stored.record))
}

/// A record, and the position of its hash among those asked for.
#[derive(Deserialize)]
pub(super) struct Found {
    pub(super) number: usize,
    key_id: String,
    key_head: String,
    key_tail: String,
    account_id: String,
    name: Option<String>,
    environment: Option<String>,
    expires_at: Option<i64>,
    endpoints: Option<String>,
    created_at: i64,
    revoked_at: Option<i64>,
}

/// A database that can be asked for many hashes.
pub(super) trait Many: sqlx::Database {
    /// An array of [`Found`], in JSON: on its way here, one long value costs a fraction of many
    /// short ones.
    async fn find(
        connection: &mut Self::Connection,
        lookups: &[Lookup],
    ) -> sqlx::Result<Option<String>>;
}

impl Many for Sqlite {
    async fn find(
        connection: &mut Self::Connection,
        lookups: &[Lookup],
    ) -> sqlx::Result<Option<String>> {
        let mut hashes = String::with_capacity(lookups.len() * 67 + 1);
        for lookup in lookups {
            hashes.push_str(if hashes.is_empty() { "[\"" } else { ",\"" });
            hashes.push_str(const_hex::Buffer::<32>::new().format(&lookup.hash));
            if let Some(environment) = &lookup.environment {
                hashes.push_str(&in_json(environment));
            }
            hashes.push('"');
        }
        hashes.push(']');
        let find = sqlx::query_scalar(SQLITE).bind(hashes);
        find.fetch_one(connection).await
    }
}

impl Many for Postgres {
    async fn find(
        connection: &mut Self::Connection,
        lookups: &[Lookup],
    ) -> sqlx::Result<Option<String>> {
        let hashes: Vec<&[u8]> = lookups.iter().map(|lookup| &lookup.hash[..]).collect();
        let environments: Vec<_> = lookups.iter().map(|l| l.environment.as_deref()).collect();
        let find = sqlx::query_scalar(POSTGRES).bind(hashes).bind(environments);
        find.fetch_one(connection).await
    }
}

/// A text as it is between the quotes of a JSON text.
fn in_json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

impl Found {
    /// `None` where the database holds what no record has.
    pub(super) fn record(self) -> Option<Record> {
        let time = |seconds: Option<i64>| match seconds {
            None => Some(None),
            Some(seconds) => Timestamp::from_unix(seconds).map(Some),
        };
        let endpoints = match self.endpoints {
            None => None,
            Some(json) => Some(serde_json::from_str(&json).ok()?),
        };
        Some(Record {
            key_id: self.key_id,
            preview: Preview {
                head: self.key_head,
                tail: self.key_tail,
            },
            account_id: self.account_id,
            name: self.name,
            environment: self.environment,
            expires_at: time(self.expires_at)?,
            endpoints,
            created_at: Timestamp::from_unix(self.created_at)?,
            revoked_at: time(self.revoked_at)?,
        })
    }
}
