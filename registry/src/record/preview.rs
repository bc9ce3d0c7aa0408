//! How much of a key is ever shown again.

use std::fmt;

/// The ends of a key: enough to tell keys apart, with some 200 random bits of a generated key left
/// unknown, and three quarters of the characters of an imported one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Preview {
    /// The first characters, prefix included; at most 8.
    pub(crate) head: String,
    /// The last characters; at most 4, and half as many as the first ones.
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
