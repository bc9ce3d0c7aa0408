//! `feed`: how the change feed is polled. It is off by default.

use std::time::Duration;

use super::reader::{self, at};
use super::{ConfigError, check};
use crate::auth::feed::{FeedRules, LONG_PAGE};
use crate::auth::lookup::{Lookup, PathTemplate};
use crate::json::Object;

/// All defaults except the cluster, which is that of the lookups.
impl Default for FeedRules {
    fn default() -> Self {
        Self {
            cluster: String::new(),
            path: PathTemplate::new("/v1/changes?after=", ""),
            interval: Duration::from_secs(1),
            stale_after: Duration::from_secs(10),
            allow_ttl_when_stale: Duration::from_secs(60),
        }
    }
}

#[cold]
#[inline(never)]
pub(super) fn parse(
    json: &mut Object<'_>,
    lookup: &Lookup,
) -> Result<Option<FeedRules>, ConfigError> {
    const SHORTEST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(60);
    const STALEST: Duration = Duration::from_secs(3600);

    let fields = [
        "cluster",
        "path",
        "interval",
        "stale_after",
        "allow_ttl_when_stale",
    ];
    let Some(mut json) = json.or_null("feed").object("feed", &fields)? else {
        return Ok(None);
    };
    let mut rules = FeedRules::default();
    let cluster = json.or_null("cluster").string("cluster")?;
    rules.cluster = cluster.as_deref().unwrap_or(&lookup.cluster).to_owned();
    at("feed.cluster", check::cluster(&rules.cluster))?;
    reader::path_template(&mut json, "{cursor}", &mut rules.path)?;
    if let Some(limit) = rules.path.limit()
        && limit < LONG_PAGE as u64
    {
        return Err(ConfigError::new(
            "feed.path",
            format!("must have a limit of at least {LONG_PAGE}, or none"),
        ));
    }
    reader::duration(&mut json, "interval", &mut rules.interval)?;
    if !(SHORTEST..=LONGEST).contains(&rules.interval) {
        return Err(ConfigError::new(
            "feed.interval",
            "must be from \"100ms\" to \"60s\"",
        ));
    }
    reader::duration(&mut json, "stale_after", &mut rules.stale_after)?;
    if !(rules.interval.saturating_mul(2)..=STALEST).contains(&rules.stale_after) {
        return Err(ConfigError::new(
            "feed.stale_after",
            "must be at least twice feed.interval, and at most \"1h\"",
        ));
    }
    let limit = &mut rules.allow_ttl_when_stale;
    reader::ttl(&mut json, "allow_ttl_when_stale", limit)?;
    Ok(Some(rules))
}
