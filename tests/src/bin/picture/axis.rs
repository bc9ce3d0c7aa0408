//! Axes: where their ticks are, and what stands there.

/// An axis from 0 up.
pub(crate) struct Axis {
    /// Its end.
    pub(crate) top: f64,
    /// From one tick to the next.
    pub(crate) step: f64,
}

impl Axis {
    /// One with about four ticks, in round numbers, that has room for `most`.
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

    /// Its ticks, 0 and its end among them.
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

/// A value with its unit, by Grafana's name for that.
pub(crate) fn label(value: f64, unit: &str) -> String {
    let (value, unit) = match unit {
        "percentunit" => (value * 100.0, " %"),
        "reqps" => (value, " req/s"),
        "ops" => (value, "/s"),
        "ms" => (value, " ms"),
        "s" => (value, " s"),
        _ => (value, ""),
    };
    // Two digits behind the point at most, and no zeros at the end.
    let digits = format!("{value:.2}");
    let digits = digits.trim_end_matches('0').trim_end_matches('.');
    format!("{digits}{unit}")
}
