//! What is stored of a key.

mod preview;
mod row;

use std::fmt;

use serde::Serialize;
use utoipa::ToSchema;

pub(crate) use self::preview::Preview;
use crate::timestamp::Timestamp;

/// All that is known of a key, but for its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) key_id: String,
    pub(crate) preview: Preview,
    pub(crate) account_id: String,
    pub(crate) name: Option<String>,
    pub(crate) environment: Option<String>,
    pub(crate) expires_at: Option<Timestamp>,
    /// Path prefixes; `None` is every path.
    pub(crate) endpoints: Option<Vec<String>>,
    pub(crate) created_at: Timestamp,
    pub(crate) revoked_at: Option<Timestamp>,
}

impl Record {
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

/// A record and the hash that it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) record: Record,
    pub(crate) hash: [u8; 32],
}

/// The columns of a [`Record`], and the hash.
macro_rules! columns {
    () => {
        "key_id, key_hash, key_head, key_tail, account_id, name, environment, expires_at, \
         endpoints, created_at, revoked_at"
    };
}
pub(crate) use columns;

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
