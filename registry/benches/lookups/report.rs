//! The figures as a Markdown table, and whether they meet their bounds.

use std::fmt;
use std::time::Duration;

use crate::load::Burst;

/// What was measured.
pub(crate) struct Report {
    /// How it was measured, in one line.
    pub(crate) about: String,
    pub(crate) variants: Vec<Variant>,
}

/// A database and its rounds.
pub(crate) struct Variant {
    name: &'static str,
    /// The lowest acceptable ratio of lookups to the constant.
    bound: f64,
    constant: Vec<Burst>,
    lookups: Vec<Burst>,
    /// The ratios of lookups per second to constant responses per second, one for each round, in
    /// ascending order.
    ratios: Vec<f64>,
    /// The same per second of the server's processor time, because other processes slow some bursts
    /// down more than others.
    busy_ratios: Vec<f64>,
}

impl Report {
    pub(crate) fn is_met(&self) -> bool {
        self.variants.iter().all(Variant::is_met)
    }
}

impl Variant {
    /// Creates a variant from at least one round.
    pub(crate) fn new(
        name: &'static str,
        bound: f64,
        constant: Vec<Burst>,
        lookups: Vec<Burst>,
    ) -> Self {
        let ratios = |of: fn(&Burst) -> f64| {
            let rounds = lookups.iter().zip(&constant);
            sorted(rounds.map(|(lookups, constant)| of(lookups) / of(constant)))
        };
        let busy_ratios = ratios(|burst| burst.rate / burst.busy);
        let ratios = ratios(|burst| burst.rate);
        Self {
            name,
            bound,
            constant,
            lookups,
            ratios,
            busy_ratios,
        }
    }

    fn is_met(&self) -> bool {
        middle(&self.ratios).min(middle(&self.busy_ratios)) >= self.bound
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.about)?;
        writeln!(
            f,
            "| variant | answers/s | ratio to constant (lowest to highest) | ratio by the server's CPU \
             time | bound | p50 | p99 | server's CPU |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|")?;
        for variant in &self.variants {
            let Variant { name, bound, .. } = variant;
            row(
                f,
                &format!("constant, with {name}"),
                &variant.constant,
                "| | |",
            )?;
            let met = if variant.is_met() { "met" } else { "not met" };
            let ratios = [&variant.ratios, &variant.busy_ratios].map(|ratios| {
                let (lowest, highest) = (ratios.first(), ratios.last());
                format!(
                    "**{:.2}** ({:.2} to {:.2})",
                    middle(ratios),
                    lowest.unwrap_or(&f64::NAN),
                    highest.unwrap_or(&f64::NAN),
                )
            });
            let ratio = format!("{} | {bound}, {met} |", ratios.join(" | "));
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

/// Returns the median of sorted values.
fn middle(values: &[f64]) -> f64 {
    let half = values.len() / 2;
    match values {
        [] => f64::NAN,
        _ if values.len() % 2 == 1 => values[half],
        _ => f64::midpoint(values[half - 1], values[half]),
    }
}
