//! `environment`: the only environment whose records count. By default, all records count.

use std::borrow::Cow;

use super::ConfigError;
use super::reader::at;
use crate::auth::record::{MAX_ID, header_safe};
use crate::json::Object;

#[cold]
#[inline(never)]
pub(super) fn parse(json: &mut Object<'_>) -> Result<Option<String>, ConfigError> {
    let environment = json.or_null("environment").string("environment")?;
    if let Some(environment) = &environment {
        at("environment", check(environment))?;
    }
    Ok(environment.map(Cow::into_owned))
}

/// Checks that a record could have this environment.
fn check(value: &str) -> Result<(), &'static str> {
    header_safe(value.as_bytes(), MAX_ID)
        .map(drop)
        .ok_or("must be 1 to 256 characters of visible ASCII, as in a record; null accepts every environment")
}
