//! What must hold of the filter, whatever clients, operators and auth clusters send: the bodies of
//! the fuzz targets. They are plain functions of bytes, so that an ordinary test can call them too,
//! with each input that is worth keeping.
//!
//! If there is a second implementation to compare with, it is written to be obviously right, and
//! differently from the filter: it joins, copies and sorts as it likes.

mod answer;
mod configuration;
mod credential;
pub mod credential_model;
mod feed_page;
mod json;
mod lookup_answer;
mod verdicts;

pub use configuration::configuration;
pub use credential::credential;
pub use feed_page::feed_page;
pub use lookup_answer::lookup_answer;
pub use verdicts::verdicts;

/// A target: panics if the filter does not do what it must.
pub type Target = fn(&[u8]);

/// All targets by name, which is also the name of the folder of a target's seeds.
pub const TARGETS: [(&str, Target); 5] = [
    ("configuration", configuration),
    ("credential", credential),
    ("lookup_answer", lookup_answer),
    ("feed_page", feed_page),
    ("verdicts", verdicts),
];
