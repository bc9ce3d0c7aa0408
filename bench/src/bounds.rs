//! The upper bounds for what Keystile costs.

use std::fmt;

use crate::figures::Figures;
use crate::footprint::Footprint;
use crate::variants::Variant;

/// A figure, and what it should not exceed.
pub(crate) struct Bound {
    what: &'static str,
    figure: f64,
    limit: f64,
    /// The goal, stricter than the limit, if there is one.
    goal: Option<f64>,
    unit: &'static str,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            figure,
            limit,
            goal,
            unit,
        } = self;
        let verdict = if figure <= limit { "held" } else { "missed" };
        let digits = if unit.is_empty() { 2 } else { 1 };
        write!(
            f,
            "**{verdict}**: {what} is {figure:.digits$}{unit}; the limit is {limit}{unit}"
        )?;
        let Some(goal) = goal else {
            return Ok(());
        };
        let number = match *unit {
            "" => format!("{goal:.2}"),
            unit => format!("{goal}{unit}"),
        };
        if figure <= goal {
            write!(f, ", and the goal of {number} is met")
        } else {
            write!(f, ", and the goal is {number}")
        }
    }
}

/// Returns all bounds.
pub(crate) fn all(figures: &Figures, footprint: &Footprint) -> Vec<Bound> {
    let bound = |what, figure, limit, goal| Bound {
        what,
        figure,
        limit,
        goal,
        unit: "",
    };
    let size = |what, bytes: f64, limit, goal, unit: &'static str, of: f64| Bound {
        what,
        figure: bytes / of,
        limit,
        goal,
        unit,
    };
    let memory = |what, bytes, limit, goal| size(what, bytes, limit, goal, " MB", 1e6);
    vec![
        bound(
            "the cost of a cached verdict relative to its host calls alone",
            figures.cached_to_floor,
            1.15,
            Some(1.1),
        ),
        bound(
            "CPU time of a lookup relative to `ext_authz` over HTTP",
            figures.lookup_to_authz,
            1.15,
            None,
        ),
        bound(
            "CPU time of a cached refusal relative to no filter",
            figures.get(Variant::Refused).ratio,
            0.65,
            None,
        ),
        size(
            "the module",
            footprint.module as f64,
            250.0,
            None,
            " KB",
            1000.0,
        ),
        memory(
            "the private memory that the module adds with one worker",
            footprint.first,
            20.0,
            Some(15.0),
        ),
        memory(
            "the private memory that each further worker's VM adds",
            footprint.worker,
            30.0,
            None,
        ),
        memory(
            "the private memory of the cached verdicts",
            footprint.verdicts,
            15.0,
            None,
        ),
        bound(
            "CPU time with many keys relative to one key",
            figures.rotation_to_one,
            1.15,
            None,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_says_whether_it_is_held() {
        let memory = Bound {
            what: "it",
            figure: 14.96,
            limit: 20.0,
            goal: Some(15.0),
            unit: " MB",
        };
        assert_eq!(
            memory.to_string(),
            "**held**: it is 15.0 MB; the limit is 20 MB, and the goal of 15 MB is met"
        );
        let of = |figure| Bound {
            what: "it",
            figure,
            limit: 0.15,
            goal: Some(0.12),
            unit: "",
        };
        for (figure, expected) in [
            (
                0.2,
                "**missed**: it is 0.20; the limit is 0.15, and the goal is 0.12",
            ),
            (
                0.13,
                "**held**: it is 0.13; the limit is 0.15, and the goal is 0.12",
            ),
            (
                0.12,
                "**held**: it is 0.12; the limit is 0.15, and the goal of 0.12 is met",
            ),
            // NaN, which results if nothing was added, misses the bound.
            (
                f64::NAN,
                "**missed**: it is NaN; the limit is 0.15, and the goal is 0.12",
            ),
        ] {
            assert_eq!(of(figure).to_string(), expected);
        }
    }
}
