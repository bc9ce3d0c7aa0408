//! Runs SQL on a test's database.

use sqlx::{Connection, Executor, PgConnection, SqliteConnection};

use crate::test_database::TestDatabase;

impl TestDatabase {
    /// Runs a statement on the database, for changes that no command makes.
    pub(crate) async fn run(&self, sql: &'static str) {
        if self.url.starts_with("sqlite:") {
            let mut connection = SqliteConnection::connect(&self.url).await.expect("SQLite");
            connection.execute(sql).await.expect(sql);
        } else {
            let mut connection = PgConnection::connect(&self.url).await.expect("PostgreSQL");
            connection.execute(sql).await.expect(sql);
        }
    }
}
