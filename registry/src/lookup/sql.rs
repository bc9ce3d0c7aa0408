//! The SQL of lookups.

use sqlx::{Postgres, Sqlite};

use super::batch::Lookup;
use crate::database::{Database, on};
use crate::record::{Record, Row, columns};

// In SQLite, CROSS JOIN fixes the order of the join.
pub(super) const SQLITE: &str = concat!(
    "SELECT json_group_array(json_array(asked.key",
    columns!(),
    ")) FROM json_each($1) AS asked CROSS JOIN api_keys INDEXED BY lookups \
     ON key_hash = unhex(substr(asked.value, 1, 64)) \
     AND substr(asked.value, 65) IN ('', environment)"
);

pub(super) const POSTGRES: &str = concat!(
    "SELECT json_agg(json_build_array(number - 1",
    columns!(),
    "))::text FROM unnest($1::bytea[], $2::text[]) WITH ORDINALITY AS asked (hash, here, number) \
     JOIN api_keys ON key_hash = hash AND (here IS NULL OR environment = here)"
);

/// Returns the record of one hash; with an environment, only if it belongs to that one.
pub(super) async fn find(
    database: &Database,
    hash: &[u8; 32],
    environment: Option<&str>,
) -> sqlx::Result<Option<Record>> {
    const FIND: &str = concat!(
        "SELECT key_hash",
        columns!(),
        " FROM api_keys WHERE key_hash = $1 AND ($2 IS NULL OR environment = $2)"
    );
    let found: Option<Row<Vec<u8>>> = on!(database, Database, pool => {
        sqlx::query_as(FIND).bind(&hash[..]).bind(environment).fetch_optional(pool).await?
    });
    found.map(Row::record).transpose()
}

/// A record, preceded by the position of its hash among the lookups.
pub(super) type Found = Row<usize>;

/// A database that can look up many hashes at once.
pub(super) trait Many: sqlx::Database {
    /// Returns a JSON array of [`Found`]. Transferring one long value costs a fraction of many
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

/// Returns a text as it appears between the quotes of a JSON string.
fn in_json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}
