//! Lookups of key hashes, as the filter makes them.

pub(crate) mod handler;
pub(crate) mod sql;

#[cfg(test)]
mod tests;
