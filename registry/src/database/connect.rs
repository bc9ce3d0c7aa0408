//! Opens a database and brings its schema up to date.

use std::time::{Duration, Instant};

use anyhow::Context;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};
use tokio::time::sleep;

use super::Database;
use super::file::{self, Exposed};
use super::url::ConnectOptions;

pub(crate) static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
pub(crate) static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");

/// How long to wait for another process's write, and for a connection.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// How many bytes of a SQLite file are mapped into memory, so that reading a page needs no system
/// call: about 4 million keys. The memory is the system's own page cache. The price: if the disk
/// cannot be read, the process ends, rather than one request failing.
const MAPPED: &str = "1073741824";

/// After how long PostgreSQL ends a transaction whose process has gone silent. Its locks would
/// block all other changes.
const SILENCE: &str = "10s";

const CONNECTIONS: u32 = 8;

/// A database that was just opened.
pub(crate) struct Opened {
    pub(crate) database: Database,
    /// Whether the database did not exist before, or had no tables.
    pub(crate) is_new: bool,
    /// The database's files that other users may read or write.
    pub(crate) exposed: Vec<Exposed>,
}

/// Opens the database at a URL, creates its file if it is missing, and brings the schema up to
/// date. Any number of processes may do this at once.
pub(crate) async fn open(url: &str) -> anyhow::Result<Opened> {
    match url.parse()? {
        ConnectOptions::Sqlite(options) => open_sqlite(options).await,
        ConnectOptions::Postgres(options) => open_postgres(options).await,
    }
}

async fn open_sqlite(options: SqliteConnectOptions) -> anyhow::Result<Opened> {
    let options = options.busy_timeout(PATIENCE).pragma("mmap_size", MAPPED);
    let path = options.get_filename().to_owned();
    let file = path.display();
    let problem =
        || format!("cannot open the database {file}; its directory must exist and be writable");
    let is_new = file::create(&path).with_context(problem)?;
    let pool = connect_sqlite(options).await.with_context(problem)?;
    migrate_sqlite(&pool)
        .await
        .with_context(|| format!("cannot bring the schema of {file} up to date"))?;
    Ok(Opened {
        database: Database::Sqlite(pool),
        is_new,
        exposed: file::exposed(&path),
    })
}

async fn open_postgres(options: PgConnectOptions) -> anyhow::Result<Opened> {
    // Errors quote only this much of the URL, because it may contain a password.
    let server = format!(
        "PostgreSQL at {}:{}",
        options.get_host(),
        options.get_port()
    );
    let options = options.options([("idle_in_transaction_session_timeout", SILENCE)]);
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(PATIENCE)
        .connect_with(options)
        .await
        .with_context(|| {
            format!(
                "cannot open the database on {server}; check that it is running and that the user \
                 and the database exist"
            )
        })?;
    let schema = || format!("cannot bring the schema of the database of {server} up to date");
    let is_new = sqlx::query_scalar("SELECT to_regclass('api_keys') IS NULL")
        .fetch_one(&pool)
        .await
        .with_context(schema)?;
    // sqlx takes a lock, so other processes wait.
    POSTGRES.run(&pool).await.with_context(schema)?;
    Ok(Opened {
        database: Database::Postgres(pool),
        is_new,
        exposed: Vec::new(),
    })
}

/// Connects to SQLite, and retries while it is busy. SQLite ignores its busy timeout and fails at
/// once while another process switches a new file to write-ahead logging.
async fn connect_sqlite(options: SqliteConnectOptions) -> sqlx::Result<SqlitePool> {
    let deadline = Instant::now() + PATIENCE;
    let pool = SqlitePoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(PATIENCE);
    loop {
        match pool.clone().connect_with(options.clone()).await {
            Err(error) if is_busy(&error) && Instant::now() < deadline => {
                sleep(Duration::from_millis(10)).await;
            }
            result => return result,
        }
    }
}

/// Returns whether the error is `SQLITE_BUSY` or one of its extended codes, which have it in their
/// low byte.
pub(crate) fn is_busy(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(|error| error.code())
        .and_then(|code| code.parse::<u32>().ok())
        .is_some_and(|code| code & 0xff == 5)
}

/// Runs the migrations in one writing transaction. sqlx takes no lock on SQLite, so two processes
/// that start on a new file together would both create the tables.
async fn migrate_sqlite(pool: &SqlitePool) -> anyhow::Result<()> {
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    SQLITE.run(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(())
}
