//! What must hold of the filter, whatever clients, operators and auth clusters send: the bodies of
//! the fuzz targets beside this crate. They are plain functions of bytes, so an ordinary test can
//! call them too, with each input that is worth keeping.
//!
//! Where there is a second reading to compare with, it is written to be seen through, and
//! otherwise than the filter: it joins, copies and sorts as it likes.

mod answer;
mod configuration;
mod credential;
mod feed_page;
mod json;
mod lookup_answer;
mod verdicts;

pub use configuration::configuration;
pub use credential::credential;
pub use feed_page::feed_page;
pub use lookup_answer::lookup_answer;
pub use verdicts::verdicts;

/// A target: panics where the filter does not do what it must.
pub type Target = fn(&[u8]);

/// All targets by name. The folder of a target's seeds has that name too.
pub const TARGETS: [(&str, Target); 5] = [
    ("configuration", configuration),
    ("credential", credential),
    ("lookup_answer", lookup_answer),
    ("feed_page", feed_page),
    ("verdicts", verdicts),
];
