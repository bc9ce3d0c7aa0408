//! Keys as the commands and the admin API show them.

use serde::Serialize;
use utoipa::ToSchema;

use crate::keys::secret::SecretKey;
use crate::record::{Record, RecordView};

/// A new key: the only form in which a key is ever shown.
#[derive(Serialize, ToSchema)]
#[schema(as = NewKey)]
pub(crate) struct NewKeyView<'a> {
    /// The key itself, this once.
    key: &'a str,
    #[serde(flatten)]
    record: RecordView,
    /// The key that it replaces, where it was made by a rotation.
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

/// Some of the keys.
#[derive(Serialize, ToSchema)]
#[schema(as = Keys)]
pub(crate) struct PageView<'a> {
    /// Oldest first.
    pub(crate) keys: Vec<RecordView>,
    /// Where the next page begins; null behind the last key.
    #[schema(required = true)]
    pub(crate) cursor: Option<&'a str>,
}
