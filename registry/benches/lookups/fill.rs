//! Fills the databases, and writes the hashes to look up.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use keystile::request::key_hash::KeyHasher;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, SqliteConnection};
use ulid::Ulid;

/// One key in this many is revoked.
pub(crate) const REVOKED_EVERY: u32 = 20;

/// One looked-up hash in this many has no record.
const UNKNOWN_EVERY: u32 = 20;

/// The number of records that one statement adds.
const AT_ONCE: u32 = 10_000;

/// 2026-01-01T00:00:00Z.
const START: u64 = 1_767_225_600;

/// Writes the hashes of the keys, and after them some that no key has. Returns how many those are.
pub(crate) fn write_hashes(path: &Path, keys: u32) -> anyhow::Result<u32> {
    let unknown = keys / (UNKNOWN_EVERY - 1);
    let mut file = BufWriter::new(File::create(path)?);
    for number in 0..keys + unknown {
        writeln!(file, "{}", hash(number))?;
    }
    file.flush()?;
    Ok(unknown)
}

/// Adds the records of `keys` keys to a database that has its tables. Returns the database's name
/// and version.
pub(crate) async fn fill(url: &str, keys: u32) -> anyhow::Result<String> {
    if url.starts_with("sqlite:") {
        fill_sqlite(url, keys).await
    } else {
        fill_postgres(url, keys).await
    }
}

async fn fill_sqlite(url: &str, keys: u32) -> anyhow::Result<String> {
    const INSERT: &str = "INSERT INTO api_keys (key_id, key_hash, key_head, key_tail, account_id, \
         name, environment, expires_at, endpoints, created_at, revoked_at) \
         SELECT value->>'key_id', unhex(value->>'key_hash'), value->>'key_head', \
         value->>'key_tail', value->>'account_id', value->>'name', value->>'environment', \
         value->>'expires_at', value->>'endpoints', value->>'created_at', value->>'revoked_at' \
         FROM json_each($1)";
    let mut connection = SqliteConnection::connect(url).await?;
    // The hashes come in random order, so their whole index has to fit into the cache.
    sqlx::query("PRAGMA cache_size = -1000000")
        .execute(&mut connection)
        .await?;
    let mut transaction = connection.begin().await?;
    for records in batches(keys) {
        sqlx::query(INSERT)
            .bind(records)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    let version = sqlx::query_scalar("SELECT 'SQLite ' || sqlite_version()")
        .fetch_one(&mut connection)
        .await?;
    connection.close().await?;
    Ok(version)
}

async fn fill_postgres(url: &str, keys: u32) -> anyhow::Result<String> {
    const INSERT: &str = "INSERT INTO api_keys (key_id, key_hash, key_head, key_tail, account_id, \
         name, environment, expires_at, endpoints, created_at, revoked_at) \
         SELECT key_id, decode(key_hash, 'hex'), key_head, key_tail, account_id, name, \
         environment, expires_at, endpoints, created_at, revoked_at \
         FROM json_to_recordset($1::json) AS record (key_id text, key_hash text, key_head text, \
         key_tail text, account_id text, name text, environment text, expires_at bigint, \
         endpoints text, created_at bigint, revoked_at bigint)";
    let mut connection = PgConnection::connect(url).await?;
    for records in batches(keys) {
        sqlx::query(INSERT)
            .bind(records)
            .execute(&mut connection)
            .await?;
    }
    // So that PostgreSQL does not start this itself during a burst.
    for statement in ["VACUUM ANALYZE api_keys", "CHECKPOINT"] {
        sqlx::query(statement).execute(&mut connection).await?;
    }
    const VERSION: &str =
        "SELECT 'PostgreSQL ' || split_part(current_setting('server_version'), ' ', 1)";
    let version = sqlx::query_scalar(VERSION)
        .fetch_one(&mut connection)
        .await?;
    connection.close().await?;
    Ok(version)
}

/// Returns the records in batches, each a JSON array.
fn batches(keys: u32) -> impl Iterator<Item = String> {
    let starts = (0..keys).step_by(AT_ONCE as usize);
    starts.map(move |start| {
        let end = keys.min(start + AT_ONCE);
        let records: Vec<_> = (start..end).map(record).collect();
        Value::Array(records).to_string()
    })
}

/// Returns a record much like those that the registry creates.
fn record(number: u32) -> Value {
    let created = START + u64::from(number);
    let random = u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    let id = Ulid::from_parts(created * 1000, random);
    let hash = hash(number);
    json!({
        "key_id": format!("key_{id}"),
        "key_hash": hash,
        "key_head": format!("aw_{}", &hash[..5]),
        "key_tail": hash[60..],
        "account_id": format!("acct_{:08}", number / 3),
        "name": number.is_multiple_of(2).then(|| format!("service {number}")),
        "environment": "production",
        "expires_at": number.is_multiple_of(3).then_some(created + 31_536_000),
        // A JSON array in a string.
        "endpoints": number.is_multiple_of(4).then_some(r#"["/v1/astro","/v1/numerology/"]"#),
        "created_at": created,
        "revoked_at": (number % REVOKED_EVERY == 1).then_some(created + 86_400),
    })
}

fn hash(number: u32) -> String {
    let key = format!("aw_bench{number:0>35}");
    const_hex::encode(KeyHasher::default().hash(key.as_bytes()).as_bytes())
}
