//! What the feed returns to its readers.

use serde::{Serialize, Serializer};

use super::cursor::Cursor;

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// The key is new.
    Created,
    /// The key's expiry, endpoints or name changed.
    Updated,
    /// The key is refused for good.
    Revoked,
    /// The key's record was deleted.
    Deleted,
}

impl Kind {
    /// Returns the name under which it is stored and sent.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Revoked => "revoked",
            Self::Deleted => "deleted",
        }
    }

    /// Returns the kind with this stored name.
    pub(crate) fn from_stored(text: &str) -> Option<Self> {
        [Self::Created, Self::Updated, Self::Revoked, Self::Deleted]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

/// One change to one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Change {
    #[serde(serialize_with = "hex")]
    pub(crate) key_hash: [u8; 32],
    pub(crate) kind: Kind,
}

/// What has happened since a reader's cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// No change.
    Nothing,
    /// The changes in order, and the cursor after the last one.
    Changes(Cursor, Vec<Change>),
    /// The reader must forget what it knows, because it is unknown what it has missed. The cursor
    /// is the newest one.
    Reset(Cursor),
}

fn hex<S: Serializer>(hash: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&const_hex::encode(hash))
}
