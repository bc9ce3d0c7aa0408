//! Axes and the labels of their ticks.

/// An axis that begins at 0.
pub(crate) struct Axis {
    /// Its end.
    pub(crate) top: f64,
    /// The distance between two ticks.
    pub(crate) step: f64,
}

impl Axis {
    /// Creates an axis with about four ticks at round numbers, and with room for `most`.
    pub(crate) fn new(most: f64) -> Self {
        let most = if most > 0.0 { most } else { 1.0 };
        let rough = most / 4.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0]
            .map(|factor| factor * power)
            .into_iter()
            .find(|step| *step >= rough * 0.999)
            .unwrap_or(rough);
        Self {
            top: (most / step).ceil() * step,
            step,
        }
    }

    /// Returns its ticks, including 0 and its end.
    pub(crate) fn ticks(&self) -> Vec<f64> {
        let mut ticks = vec![0.0];
        while let Some(last) = ticks
            .last()
            .filter(|last| **last < self.top - self.step / 2.0)
        {
            ticks.push(last + self.step);
        }
        ticks
    }
}

/// Returns a value with its unit, which is given by Grafana's name.
pub(crate) fn label(value: f64, unit: &str) -> String {
    let (value, unit) = match unit {
        "percentunit" => (value * 100.0, " %"),
        "reqps" => (value, " req/s"),
        "ops" => (value, "/s"),
        "ms" => (value, " ms"),
        "s" => (value, " s"),
        _ => (value, ""),
    };
    // At most two decimals, without trailing zeros.
    let digits = format!("{value:.2}");
    let digits = digits.trim_end_matches('0').trim_end_matches('.');
    format!("{digits}{unit}")
}
