//! Computes figures from the samples of all rounds, as medians.

use anyhow::{Context, Result};

use crate::rounds::{Round, Sample};
use crate::variants::Variant;

/// The figures of a variant, as medians over the rounds. Times are in microseconds. Variants are
/// compared within each round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figure {
    /// CPU time of Envoy's worker per request.
    pub(crate) cpu: f64,
    /// The ratio of `cpu` to that without a filter.
    pub(crate) ratio: f64,
    /// The difference of `cpu` to that without a filter.
    pub(crate) added: f64,
    /// The ratio of `added` to that of `ext_authz` over HTTP.
    pub(crate) share: f64,
    /// CPU time of Envoy's other threads per request.
    pub(crate) rest: f64,
    /// The fraction of the time that the worker was running.
    pub(crate) busy: f64,
    pub(crate) requests_per_second: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// The figures of all variants.
pub(crate) struct Figures {
    all: Vec<Figure>,
    /// The ratio of the lookup path's CPU time to that of `ext_authz` over HTTP.
    pub(crate) lookup_to_authz: f64,
    /// The ratio of CPU time with many keys in turn to that with one.
    pub(crate) rotation_to_one: f64,
    /// The ratio of what a cached verdict adds to what its host calls alone add.
    pub(crate) cached_to_floor: f64,
    /// The figures of the `--against` module; empty without one.
    pub(crate) against: Vec<Against>,
}

/// A variant of Keystile with the module of `--against`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Against {
    pub(crate) variant: Variant,
    /// CPU time of Envoy's worker per request.
    pub(crate) cpu: f64,
    /// The ratio of the built module's CPU time to `cpu`.
    pub(crate) ratio: f64,
    /// The ratio of what the built module adds to what this one adds.
    pub(crate) added_ratio: f64,
}

impl Figures {
    /// Computes the figures of at least one round.
    pub(crate) fn of(rounds: &[Round]) -> Result<Self> {
        let over = |each: &dyn Fn(&Round) -> f64| {
            let values: Vec<_> = rounds.iter().map(each).collect();
            median(&values)
        };
        let cpu = |round: &Round, variant| sample(round, variant).cpu;
        let added = |round: &Round, variant| cpu(round, variant) - cpu(round, Variant::NoFilter);
        let figure = |variant| {
            let plain = |pick: fn(&Sample) -> f64| over(&|round| pick(sample(round, variant)));
            anyhow::Ok(Figure {
                cpu: plain(|sample| sample.cpu)?,
                ratio: over(&|round| cpu(round, variant) / cpu(round, Variant::NoFilter))?,
                added: over(&|round| added(round, variant))?,
                share: over(&|round| added(round, variant) / added(round, Variant::AuthzHttp))?,
                rest: plain(|sample| sample.rest)?,
                busy: plain(|sample| sample.busy)?,
                requests_per_second: plain(|sample| sample.requests_per_second)?,
                p50: plain(|sample| sample.p50)?,
                p99: plain(|sample| sample.p99)?,
            })
        };
        Ok(Self {
            all: Variant::ALL
                .into_iter()
                .map(figure)
                .collect::<Result<_>>()?,
            lookup_to_authz: over(&|round| {
                cpu(round, Variant::Lookup) / cpu(round, Variant::AuthzHttp)
            })?,
            rotation_to_one: over(&|round| {
                cpu(round, Variant::CachedRotation) / cpu(round, Variant::Cached)
            })?,
            cached_to_floor: over(&|round| {
                added(round, Variant::Cached) / added(round, Variant::CachedFloor)
            })?,
            against: Variant::KEYSTILE
                .into_iter()
                .enumerate()
                .filter(|(place, _)| rounds.iter().all(|round| round.against.len() > *place))
                .map(|(place, variant)| {
                    let old = |round: &Round| round.against[place].cpu;
                    let added_by_old = |round: &Round| old(round) - cpu(round, Variant::NoFilter);
                    anyhow::Ok(Against {
                        variant,
                        cpu: over(&old)?,
                        ratio: over(&|round| cpu(round, variant) / old(round))?,
                        added_ratio: over(&|round| added(round, variant) / added_by_old(round))?,
                    })
                })
                .collect::<Result<_>>()?,
        })
    }

    /// Returns the figures of one variant.
    pub(crate) fn get(&self, variant: Variant) -> &Figure {
        &self.all[variant as usize]
    }
}

fn sample(round: &Round, variant: Variant) -> &Sample {
    &round.of_all[variant as usize]
}

/// Returns the median. For an even number of values, it is the mean of the two in the middle.
///
/// # Errors
/// If there are no values.
pub(crate) fn median(values: &[f64]) -> Result<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted.len().saturating_sub(1) / 2, sorted.len() / 2);
    let middle = sorted.get(low).zip(sorted.get(high));
    let (low, high) = middle.context("no values")?;
    Ok(f64::midpoint(*low, *high))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(no_filter: f64, authz: f64, cached: f64) -> Round {
        let sample = |variant| Sample {
            cpu: match variant {
                Variant::NoFilter => no_filter,
                Variant::AuthzHttp => authz,
                Variant::Cached => cached,
                _ => no_filter * 2.0,
            },
            rest: 0.0,
            busy: 1.0,
            requests_per_second: 1.0,
            p50: 1.0,
            p99: 1.0,
        };
        Round {
            of_all: Variant::ALL.map(sample),
            against: Variant::KEYSTILE
                .map(|_| sample(Variant::AuthzHttp))
                .to_vec(),
        }
    }

    #[test]
    fn medians() {
        assert!(median(&[]).is_err());
        for (values, expected) in [
            (vec![3.0], 3.0),
            (vec![4.0, 1.0], 2.5),
            (vec![9.0, 1.0, 2.0], 2.0),
        ] {
            assert_eq!(median(&values).expect("a median"), expected, "{values:?}");
        }
    }

    /// A machine that is slower in one round does not change the comparisons.
    #[test]
    fn comparisons_are_made_within_a_round() {
        let rounds = [round(40.0, 60.0, 45.0), round(80.0, 120.0, 90.0)];
        let figures = Figures::of(&rounds).expect("figures");
        let cached = figures.get(Variant::Cached);
        assert_eq!((cached.ratio, cached.share), (1.125, 0.25));
        assert_eq!((cached.cpu, cached.added), (67.5, 7.5));
        let against = figures.against[0];
        assert_eq!(against.variant, Variant::Cached);
        assert_eq!((against.ratio, against.added_ratio), (0.75, 0.25));
    }

    #[test]
    fn variants_are_found_by_their_place() {
        for (place, variant) in Variant::ALL.into_iter().enumerate() {
            assert_eq!(variant as usize, place);
        }
    }
}
