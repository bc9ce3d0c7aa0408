//! Requests to the auth cluster, and its answers.

pub mod answer;
pub mod feed;
pub mod lookup;
pub mod record;
pub mod response;
