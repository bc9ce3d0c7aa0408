//! API-key authentication for Envoy.
pub mod credential;
pub mod request;
