//! The client's request: its headers, path and credential.

pub mod credential;
pub mod header_map;
pub mod headers;
pub mod key_hash;
pub mod key_tag;
pub mod path;
