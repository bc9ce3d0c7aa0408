//! What the client sent.

pub mod credential;
pub mod headers;
pub mod path;
