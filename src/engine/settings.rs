//! What one worker's engine is configured by.

#![forbid(unsafe_code)]

use crate::auth::feed::FeedRules;
use crate::auth::lookup::Lookup;
use crate::decision::policy::Policy;
use crate::decision::reply::Replies;
use crate::engine::cache::CacheRules;

/// What one worker's engine is configured by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How the auth cluster is asked.
    pub lookup: Lookup,
    /// How long its verdicts are kept, and how many.
    pub cache: CacheRules,
    /// How its change feed is read, where it is.
    pub feed: Option<FeedRules>,
    /// How requests are decided.
    pub policy: Policy,
    /// The replies to refused requests.
    pub replies: Replies,
}
