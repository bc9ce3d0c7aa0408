//! The settings of one worker's engine.

#![forbid(unsafe_code)]

use crate::auth::feed::FeedRules;
use crate::auth::lookup::Lookup;
use crate::decision::policy::Policy;
use crate::decision::reply::Replies;
use crate::engine::cache::CacheRules;

/// The settings of one worker's engine.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How keys are looked up in the auth cluster.
    pub lookup: Lookup,
    /// How long verdicts are cached, and how many.
    pub cache: CacheRules,
    /// How the change feed is read, if there is one.
    pub feed: Option<FeedRules>,
    /// How requests are decided.
    pub policy: Policy,
    /// The replies to refused requests.
    pub replies: Replies,
}
