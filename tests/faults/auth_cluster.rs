//! What an auth cluster may do instead of answering, or in addition to it.

mod comebacks;
mod eager;
mod expect;
mod fault;
mod fields;
mod http2;
mod http2_rows;
mod outages;
mod persistent;
mod records;
mod rows;
mod statuses;
mod wire;
