//! Reads single fields: each replaces its section's default value, if it is given.

use std::borrow::Cow;
use std::time::Duration;

use super::ConfigError;
use crate::auth::lookup::PathTemplate;
use crate::json::Object;

/// Puts the field's path before what a check found.
pub(super) fn at<T>(
    path: impl AsRef<str>,
    checked: Result<T, impl AsRef<str>>,
) -> Result<T, ConfigError> {
    checked.map_err(|problem| ConfigError::new(path, problem))
}

/// A string, checked.
pub(super) fn string(
    json: &mut Object<'_>,
    name: &str,
    value: &mut String,
    check: fn(&str) -> Result<(), String>,
) -> Result<(), ConfigError> {
    if let Some(given) = json.string(name)? {
        at(json.path(name), check(&given))?;
        *value = given.into_owned();
    }
    Ok(())
}

/// An array of strings, each checked, if it is given.
pub(super) fn strings(
    json: &mut Object<'_>,
    name: &str,
    check: fn(&str) -> Result<(), &'static str>,
) -> Result<Option<Vec<String>>, ConfigError> {
    let Some(strings) = json.strings(name)? else {
        return Ok(None);
    };
    for (index, string) in strings.iter().enumerate() {
        at(format!("{}[{index}]", json.path(name)), check(string))?;
    }
    Ok(Some(strings.into_iter().map(Cow::into_owned).collect()))
}

/// An integer.
pub(super) fn integer(
    json: &mut Object<'_>,
    name: &str,
    value: &mut usize,
) -> Result<(), ConfigError> {
    if let Some(given) = json.integer(name)? {
        *value = usize::try_from(given).unwrap_or(usize::MAX);
    }
    Ok(())
}

/// A duration: `"250ms"`, `"10s"`, `"5m"`, `"1h"`.
pub(super) fn duration(
    json: &mut Object<'_>,
    name: &str,
    value: &mut Duration,
) -> Result<(), ConfigError> {
    if let Some(given) = json.string(name)? {
        *value = at(json.path(name), parse_duration(&given))?;
    }
    Ok(())
}

/// How long a verdict may be fresh, or serve.
pub(super) fn ttl(
    json: &mut Object<'_>,
    name: &str,
    value: &mut Duration,
) -> Result<(), ConfigError> {
    /// 30 days.
    const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

    duration(json, name, value)?;
    if *value > LONGEST {
        return Err(ConfigError::new(
            json.path(name),
            "must be at most \"720h\"",
        ));
    }
    Ok(())
}

/// The field `path`, which has a place for what is asked about.
pub(super) fn path_template(
    json: &mut Object<'_>,
    placeholder: &str,
    value: &mut PathTemplate,
) -> Result<(), ConfigError> {
    if let Some(given) = json.string("path")? {
        let template = PathTemplate::parse(&given, placeholder, &value.fill(placeholder));
        *value = at(json.path("path"), template)?;
    }
    Ok(())
}

/// A whole number and its unit.
fn parse_duration(text: &str) -> Result<Duration, &'static str> {
    const EXPECTED: &str =
        "must be a whole number with its unit, such as \"250ms\", \"10s\", \"5m\" or \"1h\"";
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).ok_or(EXPECTED)?;
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(EXPECTED),
    };
    let number: u64 = number.parse().map_err(|_| EXPECTED)?;
    // Each duration has an upper bound, and this is above all of them.
    Ok(Duration::from_millis(number.saturating_mul(unit_ms)))
}
