//! What the auth cluster knows of a key.

#![forbid(unsafe_code)]

use std::fmt;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::clock::ms;
use crate::json::{self, Object};
use crate::request::path;

/// The longest `key_id`, `account_id` and `environment`, in bytes: they end in headers.
pub(crate) const MAX_ID: usize = 256;

/// Ends each part of [`Record::text`]. No header and no path that Envoy accepts has one.
const END: char = '\0';

/// Never, as the end of a key.
const NEVER: u64 = u64::MAX;

/// The record of an active or revoked key. Tens of thousands of them are kept, so all its texts
/// share one allocation.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// `key_id`, `account_id` and `environment`, each ended, the latter two empty where absent;
    /// behind them, where the key may not call every path, [`END`] and the endpoints, each ended.
    text: Box<str>,
    /// Where in it the three names end.
    ends: [u16; 3],
    /// In ms since the Unix epoch, or [`NEVER`].
    expires_at: u64,
}

/// What a record is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields<'a> {
    /// The key's public name, 1 to 256 bytes.
    pub key_id: &'a str,
    /// Whom the key belongs to, 1 to 256 bytes.
    pub account_id: Option<&'a str>,
    /// Where the key is good, 1 to 256 bytes.
    pub environment: Option<&'a str>,
    /// When the key ends, since the Unix epoch; kept in whole ms, rounded down.
    pub expires_at: Option<Duration>,
    /// The path prefixes that the key may call; `None` is every path.
    pub endpoints: Option<&'a [&'a str]>,
}

impl Fields<'_> {
    /// The bytes of the record's texts, and a few more.
    fn size(&self) -> usize {
        let names = [Some(self.key_id), self.account_id, self.environment];
        let texts = names
            .iter()
            .flatten()
            .chain(self.endpoints.into_iter().flatten());
        texts.fold(4, |size, text| {
            size.saturating_add(text.len()).saturating_add(1)
        })
    }
}

impl Record {
    /// Packs the fields; `None` when one of the three names is empty, too long, or no name.
    pub fn new(fields: Fields<'_>) -> Option<Self> {
        let mut text = String::with_capacity(fields.size());
        let mut ends = [0; 3];
        let names = [Some(fields.key_id), fields.account_id, fields.environment];
        for (name, end) in names.into_iter().zip(&mut ends) {
            if let Some(name) = name {
                let is_name = (1..=MAX_ID).contains(&name.len()) && !name.contains(END);
                text.push_str(is_name.then_some(name)?);
            }
            *end = u16::try_from(text.len()).ok()?;
            text.push(END);
        }
        if let Some(endpoints) = fields.endpoints {
            text.push(END);
            // One with an end inside would be read as two, and it can match no path anyway.
            for endpoint in endpoints.iter().filter(|endpoint| !endpoint.contains(END)) {
                text.push_str(endpoint);
                text.push(END);
            }
        }
        Some(Self {
            text: text.into_boxed_str(),
            ends,
            expires_at: fields.expires_at.map_or(NEVER, ms),
        })
    }

    /// The key's public name.
    pub fn key_id(&self) -> &str {
        let [end, ..] = self.ends;
        self.text.get(..end.into()).unwrap_or_default()
    }

    /// Whom the key belongs to.
    pub fn account_id(&self) -> Option<&str> {
        let [before, end, _] = self.ends;
        self.name(before, end)
    }

    /// Where the key is good.
    pub fn environment(&self) -> Option<&str> {
        let [_, before, end] = self.ends;
        self.name(before, end)
    }

    /// Whether it counts in this environment; `None`: every record does. One without an environment
    /// proves none.
    pub fn is_of(&self, environment: Option<&str>) -> bool {
        environment.is_none() || self.environment() == environment
    }

    /// The field that an identity header carries.
    pub fn identity(&self, field: IdentityField) -> Option<&str> {
        match field {
            IdentityField::KeyId => Some(self.key_id()),
            IdentityField::AccountId => self.account_id(),
            IdentityField::Environment => self.environment(),
        }
    }

    /// Whether the key has ended at `wall`, the time since the Unix epoch: it has at the very
    /// moment that the record names. `wall` is asked only if the key can end.
    pub fn has_expired(&self, wall: impl FnOnce() -> Duration) -> bool {
        self.expires_at != NEVER && self.expires_at <= ms(wall())
    }

    /// Whether the key may call a path. `path` gives it without its query, and is asked only where
    /// the key may not call every path.
    pub fn permits<P: AsRef<[u8]>>(&self, path: impl FnOnce() -> P) -> bool {
        self.endpoints().is_none_or(|mut prefixes| {
            let path = path();
            prefixes.any(|prefix| path::covers(prefix, path.as_ref()))
        })
    }

    /// When the key ends, since the Unix epoch.
    pub(crate) fn expires_at(&self) -> Option<Duration> {
        (self.expires_at != NEVER).then(|| Duration::from_millis(self.expires_at))
    }

    /// The bytes that its texts take.
    pub(crate) fn size(&self) -> usize {
        self.text.len()
    }

    /// The name behind the end of the one before; `None` when it is absent.
    fn name(&self, before: u16, end: u16) -> Option<&str> {
        let name = self
            .text
            .get(usize::from(before).saturating_add(1)..end.into());
        name.filter(|name| !name.is_empty())
    }

    /// The path prefixes that the key may call; `None` is every path.
    pub(crate) fn endpoints(&self) -> Option<impl Iterator<Item = &str>> {
        let [.., end] = self.ends;
        let behind_names = self.text.get(usize::from(end).saturating_add(1)..)?;
        let endpoints = behind_names.strip_prefix(END)?;
        Some(endpoints.split_terminator(END))
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoints: Option<Vec<_>> = self.endpoints().map(Iterator::collect);
        f.debug_struct("Record")
            .field("key_id", &self.key_id())
            .field("account_id", &self.account_id())
            .field("environment", &self.environment())
            .field("expires_at", &self.expires_at())
            .field("endpoints", &endpoints)
            .finish()
    }
}

/// A field of the key's record that an identity header can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityField {
    /// `key_id`
    KeyId,
    /// `account_id`
    AccountId,
    /// `environment`
    Environment,
}

/// What the auth cluster says of a key's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Active,
    Revoked,
}

/// Reads a record from JSON. Unknown fields are ignored; a known field given twice is an error.
///
/// # Errors
/// What would be right, without the value: an auth cluster may echo what is secret.
pub(crate) fn read(body: &[u8]) -> Result<(Status, Record), String> {
    const FIELDS: [&str; 6] = [
        "key_id",
        "status",
        "account_id",
        "environment",
        "expires_at",
        "endpoints",
    ];
    let mut json = Object::read(body, json::Fields::With(&FIELDS))?;
    let mut string = |name: &str| json.or_null(name).string(name);
    let key_id = string("key_id")?.ok_or("key_id: is required")?;
    let status = string("status")?.ok_or("status: is required")?;
    let (account_id, environment) = (string("account_id")?, string("environment")?);
    let expires_at = string("expires_at")?;
    let endpoints = json.or_null("endpoints").strings("endpoints")?;
    for (field, value) in [
        ("key_id", Some(&key_id)),
        ("account_id", account_id.as_ref()),
        ("environment", environment.as_ref()),
    ] {
        if value.is_some_and(|value| header_safe(value.as_bytes(), MAX_ID).is_none()) {
            return Err(not_a_name(field));
        }
    }
    let endpoints: Option<Vec<_>> = endpoints
        .as_ref()
        .map(|prefixes| prefixes.iter().map(|prefix| &**prefix).collect());
    let record = Record::new(Fields {
        key_id: &key_id,
        account_id: account_id.as_deref(),
        environment: environment.as_deref(),
        expires_at: expires_at.as_deref().map(parse_time).transpose()?,
        endpoints: endpoints.as_deref(),
    })
    .ok_or_else(|| not_a_name("key_id, account_id and environment"))?;
    match &*status {
        "active" => Ok((Status::Active, record)),
        "revoked" => Ok((Status::Revoked, record)),
        _ => Err("status must be \"active\" or \"revoked\"".to_owned()),
    }
}

fn not_a_name(field: &str) -> String {
    format!("{field} must be 1 to {MAX_ID} characters of visible ASCII")
}

/// RFC 3339, to the time since the Unix epoch; what lies before it has passed in any case.
fn parse_time(text: &str) -> Result<Duration, String> {
    let time = OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| "expires_at must be a time of RFC 3339".to_owned())?;
    Ok(u64::try_from(time.unix_timestamp())
        .map(|seconds| Duration::new(seconds, time.nanosecond()))
        .unwrap_or(Duration::ZERO))
}

/// The value as text when it can stand in a header as it is.
pub(crate) fn header_safe(value: &[u8], longest: usize) -> Option<&str> {
    let visible = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
    std::str::from_utf8(value).ok().filter(|text| {
        (1..=longest).contains(&text.len())
            && text.bytes().all(|byte| visible(&byte))
            && text.trim_ascii() == *text
    })
}

#[cfg(test)]
mod tests;
