//! Durations, as people write them.

use std::str::FromStr;
use std::time::Duration;

/// A duration in whole seconds, from zero to ten years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(crate) struct Seconds(u32);

impl Seconds {
    const LONGEST: u32 = 3650 * 24 * 60 * 60;

    /// Returns the number of seconds.
    pub(crate) fn get(self) -> u32 {
        self.0
    }
}

impl From<Seconds> for Duration {
    fn from(duration: Seconds) -> Self {
        Self::from_secs(duration.get().into())
    }
}

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
            let unit = match unit {
                "s" => 1,
                "m" => 60,
                "h" => 60 * 60,
                "d" => 24 * 60 * 60,
                _ => return None,
            };
            if !number.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            let seconds = number.parse::<u32>().ok()?.checked_mul(unit)?;
            (seconds <= Self::LONGEST).then_some(Self(seconds))
        };
        parse().ok_or_else(|| {
            "expected a whole number with s, m, h or d, like `90s` or `24h`, of at most `3650d`"
                .to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let cases = [
            ("0s", Some(0)),
            ("90s", Some(90)),
            ("2m", Some(120)),
            ("24h", Some(86_400)),
            ("3650d", Some(315_360_000)),
            ("3651d", None),
            ("99999999999s", None),
            ("4294967295d", None),
            ("24", None),
            ("h", None),
            ("", None),
            ("+1s", None),
            ("1 s", None),
            ("1é", None),
            ("1.5h", None),
        ];
        for (text, seconds) in cases {
            assert_eq!(text.parse().ok().map(Seconds::get), seconds, "{text}");
        }
    }
}
