//! `replies`: the replies to refused requests.

use super::ConfigError;
use super::reader::{self, at};
use crate::decision::advice::{self, Challenge};
use crate::decision::denial::Messages;
use crate::decision::reply::{Replies, ReplyRules};
use crate::json::Object;
use crate::request::credential::{CredentialRules, Source};

const SERVICE_NAME: &str = "Asterwise";

impl ReplyRules {
    /// Returns the default rules where these are the sources of credentials.
    fn with_sources(sources: &[Source]) -> Self {
        Self {
            messages: Messages::new(SERVICE_NAME, sources),
            doc_base_url: "https://docs.asterwise.com/reference/errors/".to_owned(),
            scheme: advice::scheme(sources),
            realm: "api".to_owned(),
            challenge: Challenge::Standard,
            retry_after_seconds: 1,
        }
    }
}

impl Default for ReplyRules {
    fn default() -> Self {
        Self::with_sources(&CredentialRules::default().sources)
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
pub(super) fn parse(json: &mut Object<'_>, sources: &[Source]) -> Result<Replies, ConfigError> {
    let fields = [
        "service_name",
        "doc_base_url",
        "realm",
        "challenge",
        "retry_after_seconds",
        "messages",
    ];
    let mut json = json.object_or_empty("replies", &fields)?;
    let mut rules = ReplyRules::with_sources(sources);
    if let Some(name) = json.string("service_name")? {
        at("replies.service_name", check_text(&name, 64))?;
        rules.messages = Messages::new(&name, sources);
    }
    reader::string(
        &mut json,
        "doc_base_url",
        &mut rules.doc_base_url,
        check_url,
    )?;
    reader::string(&mut json, "realm", &mut rules.realm, check_quotable)?;
    if let Some(challenge) = json.string("challenge")? {
        at("replies.challenge", check_challenge(&challenge))?;
        rules.challenge = Challenge::new(challenge.into_owned());
    }
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
    let words = words(value);
    if matches!(&*words, "" | " ")
        || value.chars().count() > longest
        || value.contains(char::is_control)
    {
        return Err(format!(
            "must be 1 to {longest} characters, not only spaces, without control characters"
        ));
    }
    let says = |said: &str| {
        let mut parts = words.as_bytes().windows(said.len());
        parts.any(|part| part == said.as_bytes())
    };
    if says("deleted") || says("once valid") {
        return Err(
            "must not say \"deleted\" or \"once valid\": a reply never discloses whether a key \
             once existed"
                .to_owned(),
        );
    }
    Ok(())
}

/// Returns a text in lower case, with one space in place of any white space between words.
fn words(value: &str) -> String {
    let mut words = String::new();
    for letter in value.chars() {
        if !letter.is_whitespace() {
            words.push(letter.to_ascii_lowercase());
        } else if !words.ends_with(' ') {
            words.push(' ');
        }
    }
    words
}

fn check_challenge(value: &str) -> Result<(), String> {
    const LONGEST: usize = 256;

    check_text(value, LONGEST)?;
    let is_value = match value.as_bytes() {
        [first, .., last] => first.is_ascii_alphanumeric() && *last != b' ' && value.is_ascii(),
        _ => false,
    };
    if !is_value {
        return Err(
            "must be \"standard\", \"bare\" or a whole value for www-authenticate, such as ApiKey \
             realm=\"api\": a scheme first, then visible ASCII and spaces"
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
