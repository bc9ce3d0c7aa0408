//! The change feed.

mod change;
mod cursor;
pub(crate) mod handler;
pub(crate) mod pruning;
mod sql;

#[cfg(test)]
mod tests;

pub(crate) use self::change::Kind;
pub(crate) use self::sql::announce;
