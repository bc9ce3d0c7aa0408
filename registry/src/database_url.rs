//! `--database-url`.

use std::str::FromStr;

use anyhow::{Context, bail};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};

const NOT_A_FILE: &str = "--database-url: it must name a file, like sqlite://keystile.db";

/// How to open the database of a URL. The errors do not repeat the URL: others than SQLite's hold
/// passwords.
pub(crate) fn connect_options(url: &str) -> anyhow::Result<SqliteConnectOptions> {
    let Some(file) = url.strip_prefix("sqlite://") else {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            bail!("--database-url: PostgreSQL is not supported yet, use sqlite://FILE");
        }
        bail!("--database-url: the scheme is not supported, use sqlite://FILE");
    };
    // A database in memory would be gone before the next command could read it.
    let (name, parameters) = file.split_once('?').unwrap_or((file, ""));
    if name.is_empty() || parameters.contains('%') || parameters.contains("mode=memory") {
        bail!(NOT_A_FILE);
    }
    let options = SqliteConnectOptions::from_str(url)
        .context("--database-url: not readable, use sqlite://FILE")?
        .create_if_missing(true)
        // So that commands can write while a server reads.
        .journal_mode(SqliteJournalMode::Wal);
    // sqlx gives a database in memory a name with `file:`, and SQLite knows others by it.
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
            let options = connect_options(url).expect(url);
            assert_eq!(options.get_filename().to_str(), Some(file));
        }
    }

    #[test]
    fn urls_that_are_refused() {
        let cases = [
            ("postgres://u:hunter2@db/x", "not supported yet"),
            ("postgresql://u:hunter2@db/x", "not supported yet"),
            ("mysql://u:hunter2@db/x", "use sqlite://FILE"),
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
            ("sqlite://x.db?oops=1", "not readable"),
            ("sqlite://%ff.db", "not readable"),
        ];
        for (url, part) in cases {
            let message = format!("{:#}", connect_options(url).expect_err(url));
            assert!(message.contains(part), "{url}: {message}");
            assert!(!message.contains("hunter2"), "{url}: {message}");
        }
    }
}
