//! The figures as a Markdown table, and whether they are as they should be.

use std::fmt;
use std::time::Duration;

use crate::load::Burst;

/// What was measured.
pub(crate) struct Report {
    /// How it was measured, in a line.
    pub(crate) about: String,
    pub(crate) variants: Vec<Variant>,
}

/// A database, and the rounds on it.
pub(crate) struct Variant {
    name: &'static str,
    /// The least that lookups may be of the constant.
    bound: f64,
    constant: Vec<Burst>,
    lookups: Vec<Burst>,
    /// Of each round, from the lowest on.
    ratios: Vec<f64>,
}

impl Report {
    pub(crate) fn is_met(&self) -> bool {
        self.variants.iter().all(Variant::is_met)
    }
}

impl Variant {
    /// Of at least one round.
    pub(crate) fn new(
        name: &'static str,
        bound: f64,
        constant: Vec<Burst>,
        lookups: Vec<Burst>,
    ) -> Self {
        let rounds = lookups.iter().zip(&constant);
        let ratios = sorted(rounds.map(|(lookups, constant)| lookups.rate / constant.rate));
        Self {
            name,
            bound,
            constant,
            lookups,
            ratios,
        }
    }

    fn is_met(&self) -> bool {
        middle(&self.ratios) >= self.bound
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.about)?;
        writeln!(
            f,
            "| variant | answers/s | ratio to constant (lowest to highest) | bound | p50 | p99 | busy |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|")?;
        for variant in &self.variants {
            let Variant { name, bound, .. } = variant;
            row(
                f,
                &format!("constant, beside {name}"),
                &variant.constant,
                "| |",
            )?;
            let met = if variant.is_met() { "met" } else { "not met" };
            let (lowest, highest) = (variant.ratios.first(), variant.ratios.last());
            let ratio = format!(
                "**{:.2}** ({:.2} to {:.2}) | {bound}, {met} |",
                middle(&variant.ratios),
                lowest.unwrap_or(&f64::NAN),
                highest.unwrap_or(&f64::NAN),
            );
            row(f, &format!("lookup, {name}"), &variant.lookups, &ratio)?;
        }
        Ok(())
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, bursts: &[Burst], ratio: &str) -> fmt::Result {
    let milliseconds = |of: fn(&Burst) -> Duration| {
        let times = bursts.iter().map(|burst| of(burst).as_secs_f64() * 1e3);
        format!("{:.2} ms", middle(&sorted(times)))
    };
    writeln!(
        f,
        "| {name} | {:.0} | {ratio} {} | {} | {:.0} % |",
        middle(&sorted(bursts.iter().map(|burst| burst.rate))),
        milliseconds(|burst| burst.p50),
        milliseconds(|burst| burst.p99),
        middle(&sorted(bursts.iter().map(|burst| burst.busy * 1e2))),
    )
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The median of sorted values.
fn middle(values: &[f64]) -> f64 {
    let half = values.len() / 2;
    match values {
        [] => f64::NAN,
        _ if values.len() % 2 == 1 => values[half],
        _ => f64::midpoint(values[half - 1], values[half]),
    }
}
