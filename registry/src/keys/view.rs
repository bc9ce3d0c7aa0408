//! Keys as the commands and the admin API show them.

use serde::Serialize;

use crate::keys::secret::SecretKey;
use crate::record::{Record, RecordView};

/// A new key. No other view shows the key itself.
#[derive(Serialize)]
pub(crate) struct NewKeyView<'a> {
    /// The key itself, which is shown only this once.
    key: &'a str,
    #[serde(flatten)]
    record: RecordView,
    /// The key that it replaces, if it was created by a rotation.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<RecordView>,
}

impl<'a> NewKeyView<'a> {
    pub(crate) fn of(key: &'a SecretKey, record: &'a Record, previous: Option<&'a Record>) -> Self {
        Self {
            key: key.expose(),
            record: RecordView::from(record),
            previous: previous.map(RecordView::from),
        }
    }
}

/// A page of keys.
#[derive(Serialize)]
pub(crate) struct PageView<'a> {
    /// The keys, oldest first.
    pub(crate) keys: Vec<RecordView>,
    /// The cursor for the next page; null on the last page.
    pub(crate) cursor: Option<&'a str>,
}
