//! What holds where nothing else was said.

/// How long the feed keeps its changes, as [`crate::span::Span`] reads it. A reader that was away
/// for longer has to start anew, and every verdict that it kept is older than that.
pub(crate) const KEEP_CHANGES: &str = "24h";

/// The most changes in one answer of the feed.
pub(crate) const CHANGES_AT_ONCE: u32 = 1000;
