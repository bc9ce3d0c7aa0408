//! The change feed.

mod cursor;
pub(crate) mod handler;
pub(crate) mod pruning;
mod sql;

#[cfg(test)]
mod tests;

pub(crate) use self::cursor::Kind;
pub(crate) use self::sql::announce;
