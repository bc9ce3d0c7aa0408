//! Reads single fields. Each replaces its section's default value, if it is given.

use std::borrow::Cow;
use std::time::Duration;

use super::ConfigError;
use crate::auth::lookup::PathTemplate;
use crate::json::Object;

/// Puts the field's path before the problem that a check found.
pub(super) fn at<T>(
    path: impl AsRef<str>,
    checked: Result<T, impl AsRef<str>>,
) -> Result<T, ConfigError> {
    checked.map_err(|problem| ConfigError::new(path, problem))
}

/// Reads a string and checks it.
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

/// Reads an array of strings, if it is given, and checks each of them.
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

/// Reads an integer.
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

/// Reads a duration: `"250ms"`, `"10s"`, `"5m"`, `"1h"`.
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

/// Reads how long a verdict may be used: 30 days at most.
pub(super) fn ttl(
    json: &mut Object<'_>,
    name: &str,
    value: &mut Duration,
) -> Result<(), ConfigError> {
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

/// Reads the field `path`, which must contain the placeholder.
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

/// Parses a whole number and its unit.
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
    // A saturated value exceeds the upper bound that every duration has.
    Ok(Duration::from_millis(number.saturating_mul(unit_ms)))
}
