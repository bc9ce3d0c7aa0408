//! Parses `--database-url`.

use std::str::FromStr;

use anyhow::{anyhow, bail};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};

const FORMS: &str = "use sqlite://FILE or postgres://USER:PASSWORD@HOST/DATABASE";
const NOT_A_FILE: &str = "--database-url: it must name a file, like sqlite://keystile.db";

/// How to open a database. Deliberately without `Debug`: PostgreSQL's options may contain a password.
pub(crate) enum ConnectOptions {
    Sqlite(SqliteConnectOptions),
    Postgres(PgConnectOptions),
}

impl FromStr for ConnectOptions {
    type Err = anyhow::Error;

    /// Errors do not repeat the URL, because it may contain a password.
    fn from_str(url: &str) -> anyhow::Result<Self> {
        // Neither a file name nor a value sent to PostgreSQL can contain a NUL.
        if url.contains('\0') || url.contains("%00") {
            bail!("--database-url: must not contain a NUL; {FORMS}");
        }
        if let Some(file) = url.strip_prefix("sqlite://") {
            return sqlite(url, file).map(Self::Sqlite);
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            // The cause is dropped, because it may quote a part of the URL.
            return PgConnectOptions::from_str(url)
                .map(|options| Self::Postgres(options.application_name("keystile-registry")))
                .map_err(|_| anyhow!("--database-url: invalid URL; {FORMS}"));
        }
        bail!("--database-url: the scheme is not supported; {FORMS}");
    }
}

fn sqlite(url: &str, file: &str) -> anyhow::Result<SqliteConnectOptions> {
    // An in-memory database would be gone before the next command could read it.
    let (name, parameters) = file.split_once('?').unwrap_or((file, ""));
    if name.is_empty() || parameters.contains('%') || parameters.contains("mode=memory") {
        bail!(NOT_A_FILE);
    }
    if parameters.contains("mode=ro") || parameters.contains("immutable") {
        bail!("--database-url: the database is written to, so leave out `mode=ro` and `immutable`");
    }
    let options = SqliteConnectOptions::from_str(url)
        .map_err(|error| anyhow!("--database-url: invalid URL: {error}; {FORMS}"))?
        // `database::file` creates the file. SQLite would make it readable for other users.
        .create_if_missing(false)
        // So that commands can write while a server reads.
        .journal_mode(SqliteJournalMode::Wal);
    // sqlx gives in-memory databases a name that starts with `file:`, and SQLite recognizes more of
    // them by that prefix.
    let file = options.get_filename().to_string_lossy();
    if file.starts_with("file:") || file.contains(":memory:") {
        bail!(NOT_A_FILE);
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files() {
        let cases = [
            ("sqlite://keystile.db", "keystile.db"),
            ("sqlite:///var/lib/keystile.db", "/var/lib/keystile.db"),
            ("sqlite://a%20b%3F.db", "a b?.db"),
            ("sqlite://keystile.db?mode=rwc", "keystile.db"),
        ];
        for (url, file) in cases {
            let Ok(ConnectOptions::Sqlite(options)) = url.parse() else {
                panic!("{url}");
            };
            assert_eq!(options.get_filename().to_str(), Some(file));
        }
    }

    #[test]
    fn servers() {
        let cases = [
            ("postgres://u:hunter2@db/x", "db", 5432),
            ("postgresql://u@db:6432/x", "db", 6432),
        ];
        for (url, host, port) in cases {
            let Ok(ConnectOptions::Postgres(options)) = url.parse() else {
                panic!("{url}");
            };
            assert_eq!((options.get_host(), options.get_port()), (host, port));
            assert_eq!(options.get_database(), Some("x"));
        }
    }

    #[test]
    fn urls_that_are_refused() {
        let cases = [
            ("mysql://u:hunter2@db/x", "use sqlite://FILE"),
            ("postgres://u:hunter2@db:port/x", "postgres://USER"),
            (
                "postgres://u:hunter2@db/x?sslmode=hunter2",
                "postgres://USER",
            ),
            ("keystile.db", "use sqlite://FILE"),
            ("", "use sqlite://FILE"),
            ("sqlite://", "must name a file"),
            ("sqlite://:memory:", "must name a file"),
            ("sqlite://x.db?mode=memory", "must name a file"),
            (
                "sqlite://x.db?cache=shared&mode=%6demory",
                "must name a file",
            ),
            ("sqlite://file::memory:", "must name a file"),
            ("sqlite://%3Amemory%3A", "must name a file"),
            ("sqlite://x.db?oops=1", "invalid URL"),
            ("sqlite://%ff.db", "invalid URL"),
            ("sqlite://a%00b.db", "NUL"),
            ("sqlite://a\0b.db", "NUL"),
            ("postgres://u%00:hunter2@db/x", "NUL"),
            ("postgres://u:hunter2@db/x%00", "NUL"),
            ("sqlite://x.db?mode=ro", "written to"),
            ("sqlite://x.db?immutable=true", "written to"),
        ];
        for (url, part) in cases {
            let Err(error) = url.parse::<ConnectOptions>() else {
                panic!("{url} was accepted");
            };
            let message = format!("{error:#}");
            assert!(message.contains(part), "{url}: {message}");
            assert!(!message.contains("hunter2"), "{url}: {message}");
        }
    }
}
