//! Spans of time, as people write them.

use std::str::FromStr;
use std::time::Duration;

/// A span of whole seconds, from none to ten years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(crate) struct Span(u32);

impl Span {
    const LONGEST: u32 = 3650 * 24 * 60 * 60;

    /// Its seconds.
    pub(crate) fn seconds(self) -> u32 {
        self.0
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        Self::from_secs(span.seconds().into())
    }
}

impl FromStr for Span {
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
    fn spans() {
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
            assert_eq!(text.parse().ok().map(Span::seconds), seconds, "{text}");
        }
    }
}
