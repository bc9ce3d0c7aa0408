//! A record as the commands and the admin API show it.

use serde::Serialize;

use crate::key::SecretKey;
use crate::record::{Record, Status};
use crate::timestamp::Timestamp;

/// All of a record.
#[derive(Serialize)]
pub(crate) struct RecordView<'a> {
    key_id: &'a str,
    preview: String,
    account_id: &'a str,
    name: Option<&'a str>,
    environment: Option<&'a str>,
    status: Status,
    expires_at: Option<Timestamp>,
    endpoints: Option<&'a [String]>,
    created_at: Timestamp,
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
#[derive(Serialize)]
pub(crate) struct NewKeyView<'a> {
    key: &'a str,
    #[serde(flatten)]
    record: RecordView<'a>,
    /// The key that it replaces.
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
