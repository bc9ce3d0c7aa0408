//! A reader's position in the feed.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// A reader's position in a feed: after the change with this number.
///
/// It is written as `FEEDID-NUMBER-TOKEN`. The number is the position. The token identifies the
/// change that had the number, because an older copy of the database, or a replica that has not
/// received everything, assigns the same numbers again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// The ID of the feed, 1 to 64 characters. Each database has its own.
    pub(crate) feed_id: String,
    /// The number of the last change that the reader knows; 0 before the first.
    pub(crate) number: i64,
    /// The token of that change; before the first, the token that the feed started with.
    pub(crate) token: String,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.feed_id, self.number, self.token)
    }
}

/// The text is not a cursor that any feed returns.
#[derive(Debug)]
pub(crate) struct NoCursor;

impl FromStr for Cursor {
    type Err = NoCursor;

    /// Parses a cursor exactly as it is written. Each cursor has only one text form.
    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let (rest, token) = text.rsplit_once('-').ok_or(NoCursor)?;
        // Splits from the end, because an operator may have chosen a feed ID with dashes.
        let (feed_id, digits) = rest.rsplit_once('-').ok_or(NoCursor)?;
        let number: i64 = digits.parse().map_err(|_| NoCursor)?;
        // `parse` also accepts a sign and leading zeros.
        if feed_id.is_empty() || number.to_string() != digits || !is_token(token) {
            return Err(NoCursor);
        }
        Ok(Self {
            feed_id: feed_id.to_owned(),
            number,
            token: token.to_owned(),
        })
    }
}

/// The number of random bytes in a token: enough that no two changes share one.
const TOKEN_BYTES: usize = 16;

/// Returns a token for a new change: 128 random bits, as lowercase hex.
///
/// # Errors
/// When the system has no random bytes.
pub(crate) fn new_token() -> Result<String, getrandom::Error> {
    let mut bytes = [0; TOKEN_BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(const_hex::encode(bytes))
}

fn is_token(text: &str) -> bool {
    text.len() == TOKEN_BYTES * 2 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn a_cursor_has_one_text() {
        let cases = [
            (format!("f-0-{TOKEN}"), Some(("f", 0))),
            (format!("f-42-{TOKEN}"), Some(("f", 42))),
            (format!("f-{}-{TOKEN}", i64::MAX), Some(("f", i64::MAX))),
            // An ID that an operator has chosen.
            (format!("re-stored-1-{TOKEN}"), Some(("re-stored", 1))),
            (format!("ü-1-{TOKEN}"), Some(("ü", 1))),
            (format!("f--1-{TOKEN}"), Some(("f-", 1))),
            (String::new(), None),
            ("-".to_owned(), None),
            ("--".to_owned(), None),
            // The format of earlier versions.
            ("f-42".to_owned(), None),
            (format!("f-{}", i64::MAX), None),
            (format!("-42-{TOKEN}"), None),
            (format!("f--{TOKEN}"), None),
            (format!("f-+1-{TOKEN}"), None),
            (format!("f-01-{TOKEN}"), None),
            (format!("f-00-{TOKEN}"), None),
            (format!("f- 1-{TOKEN}"), None),
            (format!("f-1.0-{TOKEN}"), None),
            (format!("f-1e3-{TOKEN}"), None),
            (format!("f-0x1-{TOKEN}"), None),
            (format!("f-\u{661}-{TOKEN}"), None),
            (format!("f-9223372036854775808-{TOKEN}"), None),
            (format!("f-99999999999999999999999-{TOKEN}"), None),
            (format!("f-1-{}", &TOKEN[1..]), None),
            (format!("f-1-{TOKEN}0"), None),
            (format!("f-1-{TOKEN} "), None),
            (format!("f-1-{}", TOKEN.to_uppercase()), None),
            (format!("f-1-{}", "g".repeat(32)), None),
            (format!("f-1-{}", "\0".repeat(32)), None),
            ("f-1-".to_owned(), None),
            (format!("f-1-{}", "ü".repeat(16)), None),
        ];
        for (text, expected) in cases {
            let cursor = text.parse::<Cursor>().ok();
            let parts = cursor.as_ref().map(|it| (&it.feed_id[..], it.number));
            assert_eq!(parts, expected, "{text:?}");
            if let Some(cursor) = cursor {
                assert_eq!(cursor.to_string(), text);
            }
        }
    }

    /// The filter's limit is 512 bytes.
    #[test]
    fn the_longest_cursor_is_one_that_the_filter_takes() {
        let longest = Cursor {
            feed_id: "\u{10ffff}".repeat(64),
            number: i64::MAX,
            token: new_token().expect("random"),
        };
        let text = longest.to_string();
        assert!(text.len() <= 512, "{} bytes", text.len());
        assert_eq!(text.parse::<Cursor>().ok(), Some(longest));
    }

    #[test]
    fn tokens_do_not_repeat() {
        let (one, other) = (new_token().expect("random"), new_token().expect("random"));
        assert_ne!(one, other);
        assert!(is_token(&one), "{one}");
    }
}
