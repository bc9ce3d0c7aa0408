//! The part of a key that is shown after its creation.

use std::fmt;

/// The first and last characters of a key: enough to tell keys apart. About 200 random bits of a
/// generated key stay unknown, and three quarters of the characters of an imported one.
///
/// The last characters of a tagged key are half of its tag. Without the tag secret, they say nothing
/// about its random part, nor about the tag of any other key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Preview {
    /// The first characters, prefix included; at most 8.
    pub(crate) head: String,
    /// The last characters; at most 4, and at most half as many as the first ones.
    pub(crate) tail: String,
}

impl Preview {
    pub(crate) const HEAD: usize = 8;
    pub(crate) const TAIL: usize = 4;
}

impl fmt::Display for Preview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…{}", self.head, self.tail)
    }
}
