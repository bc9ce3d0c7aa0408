//! The outcome of a request.

#![forbid(unsafe_code)]

use crate::decision::denial::Denial;

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Forwarded with an identity (row 9).
    Allowed,
    /// Forwarded without authentication (row 1).
    Exempt,
    /// Answered here with the key's own record (row 9, at the introspection path).
    Introspected,
    /// Answered here (all other rows).
    Refused(Denial),
}

impl Outcome {
    /// The number of outcomes.
    pub const COUNT: usize = OTHERS.len().saturating_add(Denial::ALL.len());

    /// Returns all outcomes, in the order of [`Self::place`].
    pub fn all() -> impl Iterator<Item = Self> {
        let refused = Denial::ALL.into_iter().map(Self::Refused);
        OTHERS.into_iter().chain(refused)
    }

    /// Returns the place among all outcomes.
    pub const fn place(self) -> usize {
        match self {
            Self::Allowed => 0,
            Self::Exempt => 1,
            Self::Introspected => 2,
            Self::Refused(denial) => OTHERS.len().saturating_add(denial as usize),
        }
    }

    /// Returns the name in statistics and access logs: `allowed`, `exempt`, `introspected`, or the
    /// denial's code.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Exempt => "exempt",
            Self::Introspected => "introspected",
            Self::Refused(denial) => denial.code(),
        }
    }
}

/// All outcomes except the denials.
const OTHERS: [Outcome; 3] = [Outcome::Allowed, Outcome::Exempt, Outcome::Introspected];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_has_its_place() {
        assert_eq!(Outcome::all().count(), Outcome::COUNT);
        for (place, outcome) in Outcome::all().enumerate() {
            assert_eq!(outcome.place(), place, "{outcome:?}");
        }
    }
}
