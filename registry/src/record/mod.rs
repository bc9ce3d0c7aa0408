//! The stored data of a key: [`Record`], and the only list of its columns.
//!
//! A new column needs an entry in that list, a value in `Record::example`, a migration for each
//! database, and a property in `openapi.json`. `keys/create.rs` and `keys/update.rs` set it. Lookups
//! return it if it is a field of [`LookupView`].

mod column;
mod preview;

use std::fmt;

use serde::{Deserialize, Serialize};
use sqlx::query_builder::Separated;
use sqlx::{Database, Encode, FromRow, Type};

pub(crate) use self::column::Column;
use self::column::{Text, record};
pub(crate) use self::preview::Preview;
use crate::timestamp::Timestamp;

record! {
    key_id: String => ["key id" key_id: String],
    key_head: String => [],
    key_tail: String => [
        /// The first 8 and the last 4 characters of the key; for an imported key, at most a quarter
        /// of its characters.
        "key" preview: String = Record::preview
    ],
    account_id: String => ["account" account_id: String],
    name: Option<String> => ["name" name: Option<String>],
    environment: Option<String> => [
        "environment" environment: Option<String>,
        "status" status: Status = Record::status
    ],
    expires_at: Option<Timestamp> => [
        /// Null means never.
        "expires at" expires_at: Option<Timestamp>
    ],
    // `None` means every path.
    endpoints: Option<Vec<String>> => [
        /// Path prefixes; null means every path, and `[]` none.
        "endpoints" endpoints: Option<Vec<String>>
    ],
    created_at: Timestamp => ["created at" created_at: Timestamp],
    revoked_at: Option<Timestamp> => [
        /// Null while the key is active.
        "revoked at" revoked_at: Option<Timestamp>
    ],
}

impl Record {
    /// Returns an example for tests.
    #[cfg(test)]
    pub(crate) fn example() -> Self {
        Self {
            key_id: "key_01JY6Q4R2T8V9W0X1Y2Z3A4B5C".to_owned(),
            key_head: "aw_ABCDE".to_owned(),
            key_tail: "WXYZ".to_owned(),
            account_id: "acct_1".to_owned(),
            name: Some("ci".to_owned()),
            environment: Some("production".to_owned()),
            // 2027-01-01, and 2026-01-01 below.
            expires_at: Timestamp::from_unix(1_798_761_600),
            endpoints: Some(vec!["/v1/astro".to_owned()]),
            created_at: Timestamp::from_unix(1_767_225_600).expect("time"),
            revoked_at: None,
        }
    }

    /// Returns the first and last characters of the key.
    pub(crate) fn preview(&self) -> String {
        let preview = Preview {
            head: self.key_head.clone(),
            tail: self.key_tail.clone(),
        };
        preview.to_string()
    }

    /// Returns whether the key is active or revoked. Deliberately ignores `expires_at`: only the
    /// filter checks it, against the clock of the host that serves the request.
    pub(crate) fn status(&self) -> Status {
        if self.revoked_at.is_some() {
            Status::Revoked
        } else {
            Status::Active
        }
    }
}

/// A record as the filter reads it: these fields and no others.
#[derive(Serialize)]
pub(crate) struct LookupView {
    key_id: String,
    status: Status,
    account_id: String,
    environment: Option<String>,
    /// A key past this time is still `active` here, because the filter decides expiry. Null means never.
    expires_at: Option<Timestamp>,
    /// Path prefixes; null means every path, and `[]` none.
    endpoints: Option<Vec<String>>,
}

impl From<Record> for LookupView {
    fn from(record: Record) -> Self {
        Self {
            status: record.status(),
            key_id: record.key_id,
            account_id: record.account_id,
            environment: record.environment,
            expires_at: record.expires_at,
            endpoints: record.endpoints,
        }
    }
}

/// The status of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// The key has not been revoked.
    Active,
    /// The key is refused for good.
    Revoked,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Revoked => "revoked",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_filter_gets_these_fields_and_no_others() {
        let expected = json!({
            "key_id": "key_01JY6Q4R2T8V9W0X1Y2Z3A4B5C",
            "status": "active",
            "account_id": "acct_1",
            "environment": "production",
            "expires_at": "2027-01-01T00:00:00Z",
            "endpoints": ["/v1/astro"],
        });
        assert_eq!(json!(LookupView::from(Record::example())), expected);
    }
}
