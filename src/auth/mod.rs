//! What the auth cluster is asked, and what it answers.

pub mod answer;
pub mod feed;
pub mod lookup;
pub mod record;
pub mod response;
