//! What the client sent.

pub mod credential;
pub mod headers;
pub mod key_hash;
pub mod path;
