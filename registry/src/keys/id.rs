//! The IDs of keys.

use time::OffsetDateTime;
use ulid::Ulid;

/// Returns an ID for a new key: a ULID, so that IDs sort by creation time.
pub(crate) fn new_key_id(now: OffsetDateTime) -> Result<String, getrandom::Error> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)?;
    // A clock before 1970 counts as 0. The random part is enough then.
    let milliseconds = u64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
    let ulid = Ulid::from_parts(milliseconds, u128::from_ne_bytes(random));
    Ok(format!("key_{ulid}"))
}

/// Returns whether a text could be a key ID: `key_`, then 1 to 60 ASCII letters, digits and
/// underscores. Other text is not looked up, because the database refuses some characters, and not
/// logged, because it may be a key that was sent in the wrong place.
pub(crate) fn is_key_id(text: &str) -> bool {
    text.len() <= 64
        && text.strip_prefix("key_").is_some_and(|rest| {
            let mut bytes = rest.bytes();
            !rest.is_empty() && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_hold_the_time() {
        let id = |seconds| {
            let now = OffsetDateTime::from_unix_timestamp(seconds).expect("time");
            new_key_id(now).expect("random")
        };
        assert!(id(1_000_000_000) < id(1_000_000_001));
        assert!(id(-1).starts_with("key_0000000000"));
        assert_eq!(id(0).len(), "key_".len() + 26);
    }

    #[test]
    fn ids_of_keys() {
        let cases = [
            ("key_01JY6Q4R2T8V9W0X1Y2Z3A4B5C", true),
            ("key_a_Z9", true),
            ("key_", false),
            ("", false),
            ("aw_abc", false),
            ("Key_a", false),
            (" key_a", false),
            ("key_a\0", false),
            ("key_a-b", false),
            ("key_ä", false),
            ("key_a\n", false),
        ];
        for (text, expected) in cases {
            assert_eq!(is_key_id(text), expected, "{text:?}");
        }
        assert!(is_key_id(&format!("key_{}", "a".repeat(60))));
        assert!(!is_key_id(&format!("key_{}", "a".repeat(61))));
    }
}
