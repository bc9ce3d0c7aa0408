//! How long the auth cluster asks to wait, by an answer's `retry-after` (RFC 9110 section 10.2.3).

#![forbid(unsafe_code)]

use std::time::Duration;

use time::{Date, Month, OffsetDateTime};

use crate::auth::cache_control::delta_seconds;
use crate::request::headers::Request;

/// Returns the longest time that an answer asks to wait. A time of day counts from the answer's
/// `date`, so that the clocks of proxy and auth cluster may differ. Unreadable values do not count.
pub(crate) fn retry_after(answer: &Request) -> Option<Duration> {
    let date = answer.first("date").and_then(parse_date);
    let values = answer.values("retry-after");
    values
        .filter_map(|value| {
            delta_seconds(value.trim_ascii()).or_else(|| until(parse_date(value)?, date?))
        })
        .max()
}

/// Parses an IMF-fixdate (RFC 9110 section 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`. The library's
/// parser for such dates would add 13 KB to the module.
fn parse_date(value: &[u8]) -> Option<OffsetDateTime> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];

    let text = std::str::from_utf8(value).ok()?.trim_ascii();
    let words: Vec<_> = text.split([' ', ':']).collect();
    let [_, day, month, year, hour, minute, second, "GMT"] = words[..] else {
        return None;
    };
    let month = MONTHS.iter().zip(1..).find(|(name, _)| **name == month)?.1;
    let month = Month::try_from(month).ok()?;
    let date = Date::from_calendar_date(year.parse().ok()?, month, day.parse().ok()?).ok()?;
    let [hour, minute, second] = [hour, minute, second].map(|digits| digits.parse().ok());
    Some(date.with_hms(hour?, minute?, second?).ok()?.assume_utc())
}

fn until(end: OffsetDateTime, start: OffsetDateTime) -> Option<Duration> {
    let seconds = end.unix_timestamp().checked_sub(start.unix_timestamp())?;
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_seconds_or_dates() {
        const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

        let cases: [(&[&str], Option<&str>, Option<u64>); 20] = [
            (&[], None, None),
            (&["30"], None, Some(30)),
            (&[" 30 "], None, Some(30)),
            (&["0"], None, Some(0)),
            (&["5", "30", "7"], None, Some(30)),
            (&["soon", "7"], None, Some(7)),
            (&[""], None, None),
            (&["-1"], None, None),
            (&["1.5"], None, None),
            (&["99999999999999999999999"], None, Some(u64::MAX)),
            (&["Sun, 06 Nov 1994 08:50:07 GMT"], Some(DATE), Some(30)),
            (&["Sun, 06 Nov 1994 08:49:07 GMT"], Some(DATE), Some(0)),
            (&["Mon, 07 Nov 1994 08:49:38 GMT"], Some(DATE), Some(86_401)),
            (
                &["Thu, 01 Dec 1994 08:49:37 GMT"],
                Some(DATE),
                Some(25 * 86_400),
            ),
            (&["Sun, 31 Feb 1994 08:50:07 GMT"], Some(DATE), None),
            (&["Sun, 06 Nov 1994 24:50:07 GMT"], Some(DATE), None),
            (&["Sun, 06 Nov 1994 08:50:07 CET"], Some(DATE), None),
            (&["Sun, 06 Nov 1994 08:50:07"], Some(DATE), None),
            (&["Sun, 06 Nov 1994 08:50:07 GMT"], None, None),
            (&["Sun, 06 Nov 1994 08:50:07 GMT"], Some("now"), None),
        ];
        for (values, date, expected) in cases {
            let values = values.iter().map(|value| ("retry-after", value.as_bytes()));
            let date = date.map(|date| ("date", date.as_bytes()));
            let headers: Vec<_> = values.chain(date).collect();
            let read = retry_after(&Request::new(&headers));
            assert_eq!(read, expected.map(Duration::from_secs), "{headers:?}");
        }
    }
}
