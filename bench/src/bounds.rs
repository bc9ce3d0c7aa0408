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
    aim: Option<f64>,
    unit: &'static str,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            figure,
            limit,
            aim,
            unit,
        } = self;
        let verdict = if figure <= limit { "held" } else { "missed" };
        let digits = if unit.is_empty() { 2 } else { 1 };
        let aimed = aim.map(|aim| match *unit {
            "" => format!("{aim:.2}"),
            unit => format!("{aim}{unit}"),
        });
        write!(
            f,
            "**{verdict}**: {what} is {figure:.digits$}{unit}, at most {limit}{unit}"
        )?;
        match (aim, aimed) {
            (Some(aim), Some(aimed)) if figure <= aim => {
                write!(f, ", and the {aimed} that is aimed at")
            }
            (_, Some(aimed)) => write!(f, "; {aimed} is aimed at"),
            (_, None) => Ok(()),
        }
    }
}

/// Returns all bounds.
pub(crate) fn all(figures: &Figures, footprint: &Footprint) -> Vec<Bound> {
    let bound = |what, figure, limit, aim| Bound {
        what,
        figure,
        limit,
        aim,
        unit: "",
    };
    let size = |what, bytes: f64, limit, aim, unit: &'static str, of: f64| Bound {
        what,
        figure: bytes / of,
        limit,
        aim,
        unit,
    };
    let memory = |what, bytes, limit, aim| size(what, bytes, limit, aim, " MB", 1e6);
    vec![
        bound(
            "what a cached verdict adds, to what its host calls alone add,",
            figures.cached_to_floor,
            1.15,
            Some(1.1),
        ),
        bound(
            "CPU time by lookup, to that of `ext_authz` over HTTP,",
            figures.lookup_to_authz,
            1.15,
            None,
        ),
        bound(
            "CPU time of a refusal from the cache, to that without a filter,",
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
            "what a further worker's VM adds",
            footprint.worker,
            30.0,
            None,
        ),
        memory(
            "what the cached verdicts add",
            footprint.verdicts,
            15.0,
            None,
        ),
        bound(
            "CPU time with many keys in turn, to that with one,",
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
            aim: Some(15.0),
            unit: " MB",
        };
        assert_eq!(
            memory.to_string(),
            "**held**: it is 15.0 MB, at most 20 MB, and the 15 MB that is aimed at"
        );
        let of = |figure| Bound {
            what: "it",
            figure,
            limit: 0.15,
            aim: Some(0.12),
            unit: "",
        };
        for (figure, expected) in [
            (
                0.2,
                "**missed**: it is 0.20, at most 0.15; 0.12 is aimed at",
            ),
            (0.13, "**held**: it is 0.13, at most 0.15; 0.12 is aimed at"),
            (
                0.12,
                "**held**: it is 0.12, at most 0.15, and the 0.12 that is aimed at",
            ),
            // NaN, which results if nothing was added, misses the bound.
            (
                f64::NAN,
                "**missed**: it is NaN, at most 0.15; 0.12 is aimed at",
            ),
        ] {
            assert_eq!(of(figure).to_string(), expected);
        }
    }
}
