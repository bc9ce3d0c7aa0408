//! The change feed.

mod cursor;
pub(crate) mod handler;
pub(crate) mod pruning;
mod sql;

#[cfg(test)]
mod tests;

pub(crate) use self::cursor::{Change, Cursor, Kind, News, new_token};
