//! `replies`: the replies to refused requests.

use super::ConfigError;
use super::reader::{self, at};
use crate::decision::denial::Messages;
use crate::decision::reply::{Replies, ReplyRules};
use crate::json::Object;

impl Default for ReplyRules {
    fn default() -> Self {
        Self {
            messages: Messages::for_service("Asterwise"),
            doc_base_url: "https://docs.asterwise.com/reference/errors/".to_owned(),
            realm: "api".to_owned(),
            retry_after_seconds: 1,
        }
    }
}

/// The replies of a filter without a configuration.
impl Default for Replies {
    fn default() -> Self {
        Self::new(&ReplyRules::default())
    }
}

#[cold]
#[inline(never)]
pub(super) fn parse(json: &mut Object<'_>) -> Result<Replies, ConfigError> {
    let fields = [
        "service_name",
        "doc_base_url",
        "realm",
        "retry_after_seconds",
        "messages",
    ];
    let mut json = json.object_or_empty("replies", &fields)?;
    let mut rules = ReplyRules::default();
    if let Some(name) = json.string("service_name")? {
        at("replies.service_name", check_text(&name, 64))?;
        rules.messages = Messages::for_service(&name);
    }
    reader::string(
        &mut json,
        "doc_base_url",
        &mut rules.doc_base_url,
        check_url,
    )?;
    reader::string(&mut json, "realm", &mut rules.realm, check_quotable)?;
    if let Some(seconds) = json.integer("retry_after_seconds")? {
        rules.retry_after_seconds = seconds;
    }
    if !(1..=86_400).contains(&rules.retry_after_seconds) {
        return Err(ConfigError::new(
            "replies.retry_after_seconds",
            "must be from 1 to 86400",
        ));
    }
    for (name, message) in json.entries("messages")?.unwrap_or_default() {
        let path = format!("replies.messages.{name}");
        at(&path, check_text(&message, 199))?;
        at(path, rules.messages.set(&name, message))?;
    }
    Ok(Replies::new(&rules))
}

/// Checks a text that becomes part of a reply: it must not be empty, contain control characters, or
/// disclose whether a key once existed.
fn check_text(value: &str, longest: usize) -> Result<(), String> {
    if value.trim().is_empty()
        || value.chars().count() > longest
        || value.contains(char::is_control)
    {
        return Err(format!(
            "must be 1 to {longest} characters, not only spaces, without control characters"
        ));
    }
    let words = value.to_ascii_lowercase();
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    if ["deleted", "once valid"]
        .iter()
        .any(|said| words.contains(said))
    {
        return Err(
            "must not say \"deleted\" or \"once valid\": a reply never discloses whether a key \
             once existed"
                .to_owned(),
        );
    }
    Ok(())
}

fn check_url(value: &str) -> Result<(), String> {
    check_text(value, 512)?;
    let rest = value
        .strip_prefix("https://")
        .or_else(|| value.strip_prefix("http://"));
    if rest.is_some_and(|rest| !rest.is_empty()) && value.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(())
    } else {
        Err("must be an http:// or https:// URL; the error code is appended to it".to_owned())
    }
}

/// Checks for text that needs no escape in a quoted string (RFC 9110 section 5.6.4).
fn check_quotable(value: &str) -> Result<(), String> {
    check_text(value, 128)?;
    let plain = |byte: u8| (byte.is_ascii_graphic() || byte == b' ') && !b"\"\\".contains(&byte);
    if !value.bytes().all(plain) {
        Err("must be visible ASCII or spaces, without \" or \\".to_owned())
    } else {
        Ok(())
    }
}
