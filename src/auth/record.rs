//! Records: what the auth cluster knows about a key.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::clock::ms;
use crate::json::{self, Object};
use crate::request::path;

/// The longest identity field, in bytes. Identity fields are sent in headers.
pub(crate) const MAX_ID: usize = 256;

/// Ends each part of [`Record::text`]. No header and no path that Envoy accepts contains it.
const END: char = '\0';

/// The `expires_at` of a key that never expires.
const NEVER: u64 = u64::MAX;

/// The record of an active or revoked key. Tens of thousands of records are kept, so all text of a
/// record shares one allocation.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// The values of [`IdentityField::ALL`], empty if absent, each followed by [`END`]. If the key
    /// may not call every path, another [`END`] comes next, and then the endpoints, each followed
    /// by [`END`].
    text: Box<str>,
    /// Where each identity field ends in `text`.
    ends: [u16; IdentityField::ALL.len()],
    /// In ms since the Unix epoch, or [`NEVER`].
    expires_at: u64,
}

/// A field of a record that an identity header can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityField {
    /// The key's public ID.
    KeyId,
    /// The account that the key belongs to.
    AccountId,
    /// The environment that the key is for.
    Environment,
}

impl IdentityField {
    /// All fields, in the order of a record.
    pub const ALL: [Self; 3] = [Self::KeyId, Self::AccountId, Self::Environment];

    /// Returns the name in the record's JSON and in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::KeyId => "key_id",
            Self::AccountId => "account_id",
            Self::Environment => "environment",
        }
    }
}

/// The fields of a record, to be packed by [`Record::new`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields<'a> {
    /// The key's public ID, 1 to 256 bytes.
    pub key_id: &'a str,
    /// The account that the key belongs to, 1 to 256 bytes.
    pub account_id: Option<&'a str>,
    /// The environment that the key is for, 1 to 256 bytes.
    pub environment: Option<&'a str>,
    /// When the key expires, since the Unix epoch. It is kept in whole ms, rounded down.
    pub expires_at: Option<Duration>,
    /// The path prefixes that the key may call. `None` means every path.
    pub endpoints: Option<&'a [&'a str]>,
}

impl<'a> Fields<'a> {
    /// Returns the fields of a key that never expires and may call every path. Everything else is
    /// absent.
    pub const fn new(key_id: &'a str) -> Self {
        Self {
            key_id,
            account_id: None,
            environment: None,
            expires_at: None,
            endpoints: None,
        }
    }

    /// Returns the identity fields in the order of [`IdentityField::ALL`].
    fn names(&self) -> [Option<&'a str>; IdentityField::ALL.len()] {
        [Some(self.key_id), self.account_id, self.environment]
    }

    /// Returns the size of the record's text in bytes, or a few bytes more.
    fn size(&self) -> usize {
        let names = self.names().into_iter().flatten();
        let endpoints = self.endpoints.into_iter().flatten().copied();
        names.chain(endpoints).fold(4, |size, text| {
            size.saturating_add(text.len()).saturating_add(1)
        })
    }
}

impl Record {
    /// Packs the fields. Returns `None` if an identity field is empty, too long, or contains a zero
    /// byte.
    pub fn new(fields: Fields<'_>) -> Option<Self> {
        let mut text = String::with_capacity(fields.size());
        let mut ends = [0; IdentityField::ALL.len()];
        for (name, end) in fields.names().into_iter().zip(&mut ends) {
            if let Some(name) = name {
                let is_name = (1..=MAX_ID).contains(&name.len()) && !name.contains(END);
                text.push_str(is_name.then_some(name)?);
            }
            *end = u16::try_from(text.len()).ok()?;
            text.push(END);
        }
        if let Some(endpoints) = fields.endpoints {
            text.push(END);
            // An endpoint that contains `END` would be read as two. It matches no path anyway.
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

    /// Returns an identity field, if the record has it.
    pub fn identity(&self, field: IdentityField) -> Option<&str> {
        let place = field as usize;
        let end = usize::from(*self.ends.get(place)?);
        let start = match place
            .checked_sub(1)
            .and_then(|before| self.ends.get(before))
        {
            Some(before) => usize::from(*before).saturating_add(1),
            None => 0,
        };
        let name = self.text.get(start..end)?;
        (!name.is_empty()).then_some(name)
    }

    /// Returns the key's public ID.
    pub fn key_id(&self) -> &str {
        self.identity(IdentityField::KeyId).unwrap_or_default()
    }

    /// Returns the account that the key belongs to.
    pub fn account_id(&self) -> Option<&str> {
        self.identity(IdentityField::AccountId)
    }

    /// Returns the environment that the key is for.
    pub fn environment(&self) -> Option<&str> {
        self.identity(IdentityField::Environment)
    }

    /// Returns whether the record counts in this environment. If that is `None`, every record
    /// counts. Otherwise, a record without an environment does not.
    pub fn matches_environment(&self, environment: Option<&str>) -> bool {
        environment.is_none() || self.environment() == environment
    }

    /// Returns whether the key has expired at `wall`, the time since the Unix epoch. It expires at
    /// the very moment that the record names. `wall` is called only if the key can expire.
    pub fn has_expired(&self, wall: impl FnOnce() -> Duration) -> bool {
        self.expires_at != NEVER && self.expires_at <= ms(wall())
    }

    /// Returns whether the key may call a path. `path` returns the path without its query, and is
    /// called only if the key may not call every path.
    pub fn permits<P: AsRef<[u8]>>(&self, path: impl FnOnce() -> P) -> bool {
        self.endpoints().is_none_or(|mut prefixes| {
            let path = path();
            prefixes.any(|prefix| path::covers(prefix, path.as_ref()))
        })
    }

    /// Returns when the key expires, since the Unix epoch.
    pub(crate) fn expires_at(&self) -> Option<Duration> {
        (self.expires_at != NEVER).then(|| Duration::from_millis(self.expires_at))
    }

    /// Returns the size of its text, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.text.len()
    }

    /// Returns the path prefixes that the key may call. `None` means every path.
    pub(crate) fn endpoints(&self) -> Option<impl Iterator<Item = &str>> {
        let [.., end] = self.ends;
        let after_names = self.text.get(usize::from(end).saturating_add(1)..)?;
        let endpoints = after_names.strip_prefix(END)?;
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

/// A key's status, as the auth cluster reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Active,
    Revoked,
}

/// Reads a record from JSON. Unknown fields are ignored. A known field that is given twice is an
/// error.
///
/// # Errors
/// What would be right, without the value: the auth cluster may have sent a secret.
pub(crate) fn read(body: &[u8]) -> Result<(Status, Record), String> {
    const OTHERS: [&str; 3] = ["status", "expires_at", "endpoints"];
    const KEY_ID: &str = IdentityField::KeyId.name();

    let names = IdentityField::ALL.map(IdentityField::name);
    let known: Vec<_> = names.into_iter().chain(OTHERS).collect();
    let mut json = Object::read(body, json::Fields::With(&known))?;
    let mut string = |name: &str| json.or_null(name).string(name);
    let mut values = [const { None }; IdentityField::ALL.len()];
    for (name, value) in names.into_iter().zip(&mut values) {
        *value = string(name)?;
        if name == KEY_ID && value.is_none() {
            return Err(format!("{KEY_ID}: is required"));
        }
    }
    let status = string("status")?.ok_or("status: is required")?;
    let expires_at = string("expires_at")?;
    let endpoints = json.or_null("endpoints").strings("endpoints")?;
    for (name, value) in names.into_iter().zip(&values) {
        let is_name = |value: &Cow<'_, str>| header_safe(value.as_bytes(), MAX_ID).is_some();
        if !value.as_ref().is_none_or(is_name) {
            return Err(not_a_name(name));
        }
    }
    let endpoints: Option<Vec<_>> = endpoints
        .as_ref()
        .map(|prefixes| prefixes.iter().map(|prefix| &**prefix).collect());
    let [key_id, account_id, environment] = &values;
    let record = Record::new(Fields {
        key_id: key_id.as_deref().unwrap_or_default(),
        account_id: account_id.as_deref(),
        environment: environment.as_deref(),
        expires_at: expires_at.as_deref().map(parse_time).transpose()?,
        endpoints: endpoints.as_deref(),
    })
    .ok_or_else(|| not_a_name(&names.join(", ")))?;
    match &*status {
        "active" => Ok((Status::Active, record)),
        "revoked" => Ok((Status::Revoked, record)),
        _ => Err("status must be \"active\" or \"revoked\"".to_owned()),
    }
}

fn not_a_name(field: &str) -> String {
    format!("{field} must be 1 to {MAX_ID} characters of visible ASCII")
}

/// Parses an RFC 3339 time into the time since the Unix epoch. Earlier times become zero, which has
/// passed as well.
fn parse_time(text: &str) -> Result<Duration, String> {
    let time = OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| "expires_at must be an RFC 3339 time".to_owned())?;
    Ok(u64::try_from(time.unix_timestamp())
        .map(|seconds| Duration::new(seconds, time.nanosecond()))
        .unwrap_or(Duration::ZERO))
}

/// Returns the value as text if it can be sent in a header unchanged.
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
