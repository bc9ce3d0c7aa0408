//! What becomes of a request.

#![forbid(unsafe_code)]

use crate::decision::denial::Denial;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Forwarded with an identity (row 9).
    Allowed,
    /// Forwarded without authentication (row 1).
    Exempt,
    /// Answered here with the key's own record (row 9, at the path of the introspection).
    Introspected,
    /// Answered here (all other rows).
    Refused(Denial),
}

impl Outcome {
    /// The name in statistics and access logs: `allowed`, `exempt`, `introspected`, or the
    /// reply's error code.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Exempt => "exempt",
            Self::Introspected => "introspected",
            Self::Refused(denial) => denial.error(),
        }
    }
}
