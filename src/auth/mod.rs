//! Requests to the auth cluster, and its answers.

pub mod answer;
mod cache_control;
pub mod cause;
pub mod feed;
pub mod lookup;
mod media_type;
pub mod record;
pub mod response;
mod retry_after;
mod status;
