//! How long verdicts are kept, and how it is known that they are of the past.

use std::borrow::Cow;
use std::time::Duration;

use super::{ConfigError, at, check, duration_or, path_template};
use crate::auth::feed::{FeedRules, LONG_PAGE};
use crate::auth::lookup::Lookup;
use crate::engine::cache::{CacheRules, Ratio};
use crate::json::Object;

/// How long a verdict may count.
fn ttl_or(json: &mut Object<'_>, name: &str, default: &str) -> Result<Duration, ConfigError> {
    /// 30 days.
    const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);
    let ttl = duration_or(json, name, default)?;
    if ttl > LONGEST {
        return Err(ConfigError::new(
            json.path(name),
            "must be at most \"720h\"",
        ));
    }
    Ok(ttl)
}

pub(super) fn cache(json: &mut Object<'_>) -> Result<CacheRules, ConfigError> {
    let fields = [
        "allow_ttl",
        "not_found_ttl",
        "revoked_ttl",
        "stale_if_error",
        "refresh_ahead",
        "jitter",
        "max_allow_entries",
        "max_deny_entries",
    ];
    let mut json = json.object_or_empty("cache", &fields)?;
    let refresh_ahead = Ratio::new(json.number("refresh_ahead")?.unwrap_or(0.8))
        .filter(|ratio| *ratio != Ratio::default())
        .ok_or("must be a number above 0 and at most 1, which is off");
    let jitter = Ratio::new(json.number("jitter")?.unwrap_or(0.1));
    Ok(CacheRules {
        allow_ttl: ttl_or(&mut json, "allow_ttl", "60s")?,
        not_found_ttl: ttl_or(&mut json, "not_found_ttl", "5s")?,
        revoked_ttl: ttl_or(&mut json, "revoked_ttl", "5m")?,
        stale_if_error: ttl_or(&mut json, "stale_if_error", "10m")?,
        refresh_ahead: at("cache.refresh_ahead", refresh_ahead)?,
        jitter: at("cache.jitter", jitter.ok_or("must be a number from 0 to 1"))?,
        max_allow_entries: entries_or(&mut json, "max_allow_entries", 50_000)?,
        max_deny_entries: entries_or(&mut json, "max_deny_entries", 10_000)?,
    })
}

fn entries_or(json: &mut Object<'_>, name: &str, default: u32) -> Result<usize, ConfigError> {
    const MOST: u32 = 1_000_000;
    let number = json.integer(name)?.unwrap_or(default);
    let entries = usize::try_from(number).ok();
    let entries = entries.filter(|_| (1..=MOST).contains(&number));
    entries.ok_or_else(|| {
        let problem = format!("must be from 1 to {MOST}; a TTL of \"0s\" keeps none");
        ConfigError::new(json.path(name), problem)
    })
}

pub(super) fn feed(
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
    let cluster = json.or_null("cluster").string("cluster")?;
    let cluster = cluster.map_or_else(|| lookup.cluster.clone(), Cow::into_owned);
    at("feed.cluster", check::cluster(&cluster))?;
    let path = path_template(&mut json, "{cursor}", "/v1/changes?after={cursor}")?;
    if path.limit().is_some_and(|limit| limit < LONG_PAGE as u64) {
        return Err(ConfigError::new(
            "feed.path",
            format!("must ask for at least {LONG_PAGE} changes at once, or set no limit"),
        ));
    }
    let interval = duration_or(&mut json, "interval", "1s")?;
    if !(SHORTEST..=LONGEST).contains(&interval) {
        return Err(ConfigError::new(
            "feed.interval",
            "must be from \"100ms\" to \"60s\"",
        ));
    }
    let stale_after = duration_or(&mut json, "stale_after", "10s")?;
    if !(interval.saturating_mul(2)..=STALEST).contains(&stale_after) {
        return Err(ConfigError::new(
            "feed.stale_after",
            "must be at least twice feed.interval, and at most \"1h\"",
        ));
    }
    Ok(Some(FeedRules {
        cluster,
        path,
        interval,
        stale_after,
        allow_ttl_when_stale: ttl_or(&mut json, "allow_ttl_when_stale", "60s")?,
    }))
}
