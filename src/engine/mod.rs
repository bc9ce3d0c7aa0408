//! One worker: its verdicts, the lookups under way, statistics.

pub mod cache;
pub mod inflight;
mod reach;
pub mod settings;
pub mod stats;
pub mod verdicts;
