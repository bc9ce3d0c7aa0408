//! What a reader of the feed gets.

use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::cursor::Cursor;

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// A key that was not there before.
    Created,
    /// Another expiry, other endpoints, or another name.
    Updated,
    /// Refused for good.
    Revoked,
    /// As though it had never been.
    Deleted,
}

impl Kind {
    /// As it is stored, and as it is sent.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Revoked => "revoked",
            Self::Deleted => "deleted",
        }
    }

    /// The kind that is stored so.
    pub(crate) fn from_stored(text: &str) -> Option<Self> {
        [Self::Created, Self::Updated, Self::Revoked, Self::Deleted]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Change {
    #[serde(serialize_with = "hex")]
    #[schema(value_type = String, pattern = "^[0-9a-f]{64}$")]
    pub(crate) key_hash: [u8; 32],
    pub(crate) kind: Kind,
}

/// What comes after a cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// No change.
    Nothing,
    /// Changes in their order, and the cursor after the last of them.
    Changes(Cursor, Vec<Change>),
    /// The reader must forget what it knows: there is no telling what it has missed. The cursor is
    /// the newest.
    Reset(Cursor),
}

fn hex<S: Serializer>(hash: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&const_hex::encode(hash))
}
