//! `cache`: how long verdicts are kept, and how many.

use std::time::Duration;

use super::ConfigError;
use super::reader::{self, at};
use crate::engine::cache::{CacheRules, Ratio};
use crate::json::Object;

impl Default for CacheRules {
    fn default() -> Self {
        Self {
            allow_ttl: Duration::from_secs(60),
            not_found_ttl: Duration::from_secs(5),
            revoked_ttl: Duration::from_secs(5 * 60),
            stale_if_error: Duration::from_secs(10 * 60),
            refresh_ahead: Ratio::percent(80),
            jitter: Ratio::percent(10),
            max_allow_entries: 50_000,
            max_deny_entries: 10_000,
        }
    }
}

#[cold]
#[inline(never)]
pub(super) fn parse(json: &mut Object<'_>) -> Result<CacheRules, ConfigError> {
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
    let mut rules = CacheRules::default();
    let refresh_ahead = json.number("refresh_ahead")?;
    let jitter = json.number("jitter")?;
    reader::ttl(&mut json, "allow_ttl", &mut rules.allow_ttl)?;
    reader::ttl(&mut json, "not_found_ttl", &mut rules.not_found_ttl)?;
    reader::ttl(&mut json, "revoked_ttl", &mut rules.revoked_ttl)?;
    reader::ttl(&mut json, "stale_if_error", &mut rules.stale_if_error)?;
    if let Some(given) = refresh_ahead {
        let ratio = Ratio::new(given).filter(|ratio| *ratio != Ratio::default());
        let ratio = ratio.ok_or("must be a number above 0 and at most 1; 1 turns it off");
        rules.refresh_ahead = at("cache.refresh_ahead", ratio)?;
    }
    if let Some(given) = jitter {
        let ratio = Ratio::new(given).ok_or("must be a number from 0 to 1");
        rules.jitter = at("cache.jitter", ratio)?;
    }
    entries(&mut json, "max_allow_entries", &mut rules.max_allow_entries)?;
    entries(&mut json, "max_deny_entries", &mut rules.max_deny_entries)?;
    Ok(rules)
}

/// Reads how many verdicts a pool holds.
fn entries(json: &mut Object<'_>, name: &str, value: &mut usize) -> Result<(), ConfigError> {
    const MOST: usize = 1_000_000;

    reader::integer(json, name, value)?;
    if !(1..=MOST).contains(value) {
        let problem = format!("must be from 1 to {MOST}; to cache nothing, set the TTL to \"0s\"");
        return Err(ConfigError::new(json.path(name), problem));
    }
    Ok(())
}
