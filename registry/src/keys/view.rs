//! A record as the commands and the admin API show it.

use serde::Serialize;
use utoipa::ToSchema;

use crate::keys::secret::SecretKey;
use crate::record::{Record, Status};
use crate::timestamp::Timestamp;

/// All of a record.
#[derive(Serialize, ToSchema)]
#[schema(as = Key)]
pub(crate) struct RecordView<'a> {
    key_id: &'a str,
    /// The first 8 and the last 4 characters of the key; of one that was made elsewhere, at most a
    /// quarter of its characters.
    preview: String,
    account_id: &'a str,
    #[schema(required = true)]
    name: Option<&'a str>,
    #[schema(required = true)]
    environment: Option<&'a str>,
    status: Status,
    /// Null is never.
    #[schema(required = true)]
    expires_at: Option<Timestamp>,
    /// Path prefixes; null is every path, and `[]` is none.
    #[schema(required = true)]
    endpoints: Option<&'a [String]>,
    created_at: Timestamp,
    /// Null while the key is active.
    #[schema(required = true)]
    revoked_at: Option<Timestamp>,
}

impl<'a> RecordView<'a> {
    pub(crate) fn of(record: &'a Record) -> Self {
        Self {
            key_id: &record.key_id,
            preview: record.preview.to_string(),
            account_id: &record.account_id,
            name: record.name.as_deref(),
            environment: record.environment.as_deref(),
            status: record.status(),
            expires_at: record.expires_at,
            endpoints: record.endpoints.as_deref(),
            created_at: record.created_at,
            revoked_at: record.revoked_at,
        }
    }
}

/// A new key: the only form in which a key is ever shown.
#[derive(Serialize, ToSchema)]
#[schema(as = NewKey)]
pub(crate) struct NewKeyView<'a> {
    /// The key itself, this once.
    key: &'a str,
    #[serde(flatten)]
    record: RecordView<'a>,
    /// The key that it replaces, where it was made by a rotation.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<RecordView<'a>>,
}

impl<'a> NewKeyView<'a> {
    pub(crate) fn of(key: &'a SecretKey, record: &'a Record, previous: Option<&'a Record>) -> Self {
        Self {
            key: key.expose(),
            record: RecordView::of(record),
            previous: previous.map(RecordView::of),
        }
    }
}

/// Some of the keys.
#[derive(Serialize, ToSchema)]
#[schema(as = Keys)]
pub(crate) struct PageView<'a> {
    /// Oldest first.
    pub(crate) keys: Vec<RecordView<'a>>,
    /// Where the next page begins; null behind the last key.
    #[schema(required = true)]
    pub(crate) cursor: Option<&'a str>,
}
