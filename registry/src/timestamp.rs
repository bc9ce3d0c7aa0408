//! Times as the registry stores and shows them.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

/// A time in UTC, in whole seconds, from the year 0 to 9999: the range of RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timestamp(OffsetDateTime);

impl Timestamp {
    /// Returns a time without its fraction of a second, or `None` outside the years of RFC 3339.
    ///
    /// Cut, not rounded: a key must not outlive the requested time.
    pub(crate) fn new(time: OffsetDateTime) -> Option<Self> {
        let time = time
            .checked_to_offset(UtcOffset::UTC)?
            .replace_nanosecond(0)
            .ok()?;
        (0..=9999).contains(&time.year()).then_some(Self(time))
    }

    /// Returns a time from the database, or `None` if it is out of range.
    pub(crate) fn from_unix(seconds: i64) -> Option<Self> {
        OffsetDateTime::from_unix_timestamp(seconds)
            .ok()
            .and_then(Self::new)
    }

    /// Returns the time this many seconds later, or `None` if it is out of range.
    pub(crate) fn plus(self, seconds: i64) -> Option<Self> {
        Self::from_unix(self.unix().checked_add(seconds)?)
    }

    /// Returns the seconds since 1970.
    pub(crate) fn unix(self) -> i64 {
        self.0.unix_timestamp()
    }
}

impl FromStr for Timestamp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        OffsetDateTime::parse(text, &Rfc3339)
            .ok()
            .and_then(Self::new)
            .ok_or_else(|| {
                "expected a time in RFC 3339, like `2027-01-01T00:00:00Z` or \
                 `2027-01-01T01:00:00+01:00`"
                    .to_owned()
            })
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.format(&Rfc3339).map_err(|_| fmt::Error)?;
        f.pad(&text)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_and_whole_seconds() {
        let cases = [
            ("2027-01-01T00:00:00Z", Some("2027-01-01T00:00:00Z")),
            ("2027-01-01T01:30:00+01:30", Some("2027-01-01T00:00:00Z")),
            ("2026-12-31T16:00:00-08:00", Some("2027-01-01T00:00:00Z")),
            ("2027-01-01T00:00:00.999Z", Some("2027-01-01T00:00:00Z")),
            ("1969-12-31T23:59:59.5Z", Some("1969-12-31T23:59:59Z")),
            ("0000-01-01T00:00:00Z", Some("0000-01-01T00:00:00Z")),
            ("0000-01-01T00:00:00+00:01", None),
            ("9999-12-31T23:59:59Z", Some("9999-12-31T23:59:59Z")),
            ("9999-12-31T23:59:59-00:01", None),
            ("2027-01-01", None),
            ("2027-01-01T00:00:00", None),
            ("2027-02-29T00:00:00Z", None),
            ("tomorrow", None),
            ("", None),
        ];
        for (text, shown) in cases {
            let time = text.parse::<Timestamp>();
            assert_eq!(
                time.as_ref().ok().map(ToString::to_string).as_deref(),
                shown,
                "{text}"
            );
            if let Ok(time) = time {
                assert_eq!(Timestamp::from_unix(time.unix()), Some(time), "{text}");
            }
        }
    }

    #[test]
    fn numbers_that_are_no_time_are_refused() {
        for seconds in [i64::MIN, -62_167_219_201, 253_402_300_800, i64::MAX] {
            assert_eq!(Timestamp::from_unix(seconds), None, "{seconds}");
        }
    }
}
