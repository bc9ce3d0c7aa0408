//! What is stored of a key: [`Record`], and in this file the only list of its columns.
//!
//! A new column needs an entry below, and a migration for each database. A lookup answers with it
//! once it is among the fields of the answer in `lookup/handler.rs`, and `keys/create.rs` and
//! `keys/update.rs` say who sets it.

mod column;
mod preview;

use std::fmt;

use serde::{Deserialize, Serialize};
use sqlx::query_builder::Separated;
use sqlx::{Database, Encode, FromRow, Type};
use utoipa::ToSchema;

pub(crate) use self::column::Column;
use self::column::{Text, record};
pub(crate) use self::preview::Preview;
use crate::timestamp::Timestamp;

record! {
    key_id: String => ["key id" key_id: String],
    key_head: String => [],
    key_tail: String => [
        /// The first 8 and the last 4 characters of the key; of one that was made elsewhere, at most a
        /// quarter of its characters.
        "key" preview: String = Record::preview
    ],
    account_id: String => ["account" account_id: String],
    name: Option<String> => [
        #[schema(required = true)]
        "name" name: Option<String>
    ],
    environment: Option<String> => [
        #[schema(required = true)]
        "environment" environment: Option<String>,
        "status" status: Status = Record::status
    ],
    expires_at: Option<Timestamp> => [
        /// Null is never.
        #[schema(required = true)]
        "expires at" expires_at: Option<Timestamp>
    ],
    // `None` is every path.
    endpoints: Option<Vec<String>> => [
        /// Path prefixes; null is every path, and `[]` is none.
        #[schema(required = true)]
        "endpoints" endpoints: Option<Vec<String>>
    ],
    created_at: Timestamp => ["created at" created_at: Timestamp],
    revoked_at: Option<Timestamp> => [
        /// Null while the key is active.
        #[schema(required = true)]
        "revoked at" revoked_at: Option<Timestamp>
    ],
}

impl Record {
    /// An example for the OpenAPI document and for tests.
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
            created_at: Timestamp::from_unix(1_767_225_600).unwrap_or(Timestamp::EPOCH),
            revoked_at: None,
        }
    }

    /// The ends of the key.
    pub(crate) fn preview(&self) -> String {
        let preview = Preview {
            head: self.key_head.clone(),
            tail: self.key_tail.clone(),
        };
        preview.to_string()
    }

    /// Revoked or not. Deliberately blind to `expires_at`: only the filter weighs that, against
    /// the clock of the host that serves the request.
    pub(crate) fn status(&self) -> Status {
        if self.revoked_at.is_some() {
            Status::Revoked
        } else {
            Status::Active
        }
    }
}

/// The two states of a key that has a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// As created.
    Active,
    /// Refused for good.
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
