//! What all routes share: errors, tokens, limits, metrics, and the OpenAPI document.

pub(crate) mod auth;
pub(crate) mod body;
pub(crate) mod error;
pub(crate) mod health;
pub(crate) mod limits;
pub(crate) mod metrics;
pub(crate) mod observe;
pub(crate) mod openapi;
pub(crate) mod peer;
