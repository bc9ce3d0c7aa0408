//! From a row to a record.

use sqlx::error::BoxDynError;
use sqlx::{ColumnIndex, Decode, FromRow, Row, Type};

use super::{Record, Stored};
use crate::record::Preview;
use crate::timestamp::Timestamp;

impl<'r, R> FromRow<'r, R> for Stored
where
    R: Row,
    &'static str: ColumnIndex<R>,
    String: Decode<'r, R::Database> + Type<R::Database>,
    Vec<u8>: Decode<'r, R::Database> + Type<R::Database>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
{
    fn from_row(row: &'r R) -> sqlx::Result<Self> {
        let time = |column: &'static str| -> sqlx::Result<Option<Timestamp>> {
            row.try_get::<Option<i64>, _>(column)?
                .map(|seconds| Timestamp::from_unix(seconds).ok_or("not a time"))
                .transpose()
                .map_err(|error| undecodable(column, error.into()))
        };
        let endpoints = row
            .try_get::<Option<String>, _>("endpoints")?
            .map(|json| serde_json::from_str(&json))
            .transpose()
            .map_err(|error| undecodable("endpoints", error.into()))?;
        let record = Record {
            key_id: row.try_get("key_id")?,
            preview: Preview {
                head: row.try_get("key_head")?,
                tail: row.try_get("key_tail")?,
            },
            account_id: row.try_get("account_id")?,
            name: row.try_get("name")?,
            environment: row.try_get("environment")?,
            expires_at: time("expires_at")?,
            endpoints,
            created_at: time("created_at")?
                .ok_or_else(|| undecodable("created_at", "null".into()))?,
            revoked_at: time("revoked_at")?,
        };
        let hash: Vec<u8> = row.try_get("key_hash")?;
        let hash = hash
            .try_into()
            .map_err(|_| undecodable("key_hash", "not 32 bytes".into()))?;
        Ok(Self { record, hash })
    }
}

fn undecodable(column: &str, source: BoxDynError) -> sqlx::Error {
    sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source,
    }
}
