//! A page of the feed: what the answer to a poll says.

#![forbid(unsafe_code)]

use crate::auth::cause::Cause;
use crate::auth::status::parse_status;
use crate::json::{Fields, Object};
use crate::request::key_hash::KeyHash;

/// The largest page that is read, in bytes.
pub const MAX_PAGE: usize = 1024 * 1024;

/// The longest cursor, in bytes.
const MAX_CURSOR: usize = 512;

/// The answer to a poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Page {
    /// Nothing has changed.
    Current,
    /// Some keys have changed.
    Changes {
        /// The cursor for the next poll.
        cursor: String,
        /// The keys that have changed.
        changed: Changed,
    },
}

/// Which keys have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// The keys with these hashes.
    Keys(Vec<KeyHash>),
    /// Any key may have changed.
    Any,
}

impl Page {
    /// Reads an answer. `status` is its `:status`, or `None` if it has none. `body` is called only
    /// if the body is needed and not too large.
    ///
    /// # Errors
    /// What is wrong, without quoting the answer.
    pub fn read(
        status: Option<&[u8]>,
        body_size: usize,
        body: impl FnOnce() -> Vec<u8>,
    ) -> Result<Self, String> {
        match status.and_then(parse_status) {
            None => Err(Cause::NoAnswer.to_string()),
            Some(204) => Ok(Self::Current),
            Some(200) if body_size > MAX_PAGE => Err(format!(
                "an answer of {body_size} bytes, over the limit of {MAX_PAGE}"
            )),
            Some(200) => Self::parse(&body())
                .map_err(|problem| format!("answer 200, but not a page of changes: {problem}")),
            Some(503) => Err(Cause::Status(503).to_string()),
            Some(504) => {
                Err("answer 504: the poll timed out, or the auth cluster returned it".to_owned())
            }
            Some(status) => Err(format!("answer {status}; expected 200 or 204")),
        }
    }

    /// Parses a page. Unknown fields are ignored, and so is `kind`: whatever happened to a key, its
    /// verdict is out of date.
    fn parse(body: &[u8]) -> Result<Self, String> {
        let fields = ["cursor", "changes", "reset"];
        let mut page = Object::read(body, Fields::With(&fields))?;
        let cursor = page.string("cursor")?.ok_or("cursor: is required")?;
        if !(1..=MAX_CURSOR).contains(&cursor.len()) {
            return Err(format!("cursor: must have 1 to {MAX_CURSOR} bytes"));
        }
        let changed = if page.bool("reset")?.unwrap_or(false) {
            Changed::Any
        } else {
            let changes = page.objects("changes", Fields::With(&["key_hash"]))?;
            let hashes = changes.ok_or("changes: is required")?.into_iter();
            let hashes = hashes.map(|mut change| {
                let hash = change.string("key_hash")?.unwrap_or_default();
                let problem = "changes: each key_hash must be 64 hex digits";
                KeyHash::from_hex(hash.as_bytes()).ok_or_else(|| problem.to_owned())
            });
            Changed::Keys(hashes.collect::<Result<_, String>>()?)
        };
        let cursor = cursor.into_owned();
        Ok(Self::Changes { cursor, changed })
    }
}

#[cfg(test)]
mod tests;
