//! What the admin API is sent. Errors name the field.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use std::str::FromStr;
use utoipa::ToSchema;

use super::values::Endpoint;
use crate::defaults::GRACE;
use crate::http::error::ApiError;
use crate::keys::{NewKey, Patch, Rotation};

/// The body of a creation.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateKey {
    /// One that was made elsewhere: 32 to 8192 visible ASCII characters, without a comma. Without
    /// it, one is made.
    #[schema(min_length = 32, max_length = 8192, pattern = "^[!-+\\--~]+$")]
    key: Option<String>,
    /// 1 to 256 visible ASCII characters.
    #[schema(min_length = 1, max_length = 256, pattern = "^[!-~]+$")]
    account_id: String,
    /// 1 to 256 characters.
    #[schema(min_length = 1, max_length = 256)]
    name: Option<String>,
    /// 1 to 256 visible ASCII characters.
    #[schema(min_length = 1, max_length = 256, pattern = "^[!-~]+$")]
    environment: Option<String>,
    /// RFC 3339; without it, never.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// Path prefixes; without it, every path, and `[]` is none.
    endpoints: Option<Vec<String>>,
}

/// The body of an update: what is absent stays, and `null` takes away.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateKey {
    /// 1 to 256 characters.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 256)]
    name: Option<Option<String>>,
    /// RFC 3339; null is never.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Option<String>>,
    /// Path prefixes; null is every path, and `[]` is none.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>)]
    endpoints: Option<Option<Vec<String>>>,
}

/// The body of a rotation; it may be left out.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotateKey {
    /// How long the old key goes on working, like `90s` or `24h`.
    #[schema(pattern = "^[0-9]+[smhd]$", example = "24h")]
    grace: Option<String>,
    /// When the new key ends (RFC 3339); without it, it lasts as long as the old one was to last.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
}

impl CreateKey {
    pub(crate) fn check(self) -> Result<NewKey, ApiError> {
        Ok(NewKey {
            key: optional("key", self.key.as_deref())?,
            account_id: field("account_id", &self.account_id)?,
            name: optional("name", self.name.as_deref())?,
            environment: optional("environment", self.environment.as_deref())?,
            expires_at: optional("expires_at", self.expires_at.as_deref())?,
            endpoints: self.endpoints.as_deref().map(endpoints).transpose()?,
        })
    }
}

impl UpdateKey {
    pub(crate) fn check(self) -> Result<Patch, ApiError> {
        let name = self.name.map(|name| optional("name", name.as_deref()));
        let expires_at = self.expires_at;
        let expires_at = expires_at.map(|time| optional("expires_at", time.as_deref()));
        let paths = self.endpoints;
        let paths = paths.map(|paths| paths.as_deref().map(endpoints).transpose());
        Ok(Patch {
            name: name.transpose()?,
            expires_at: expires_at.transpose()?,
            endpoints: paths.transpose()?,
        })
    }
}

impl RotateKey {
    pub(crate) fn check(self) -> Result<Rotation, ApiError> {
        Ok(Rotation {
            grace: field("grace", self.grace.as_deref().unwrap_or(GRACE))?,
            expires_at: optional("expires_at", self.expires_at.as_deref())?,
        })
    }
}

/// The JSON of a body.
pub(crate) fn json<T: DeserializeOwned>(
    body: Result<Bytes, BytesRejection>,
) -> Result<T, ApiError> {
    let body = body.map_err(|_| ApiError::BodyTooLarge)?;
    // serde would take an array for the fields in their order.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(ApiError::InvalidBody("expected a JSON object".to_owned()));
    }
    serde_json::from_slice(&body).map_err(|error| ApiError::InvalidBody(error.to_string()))
}

fn field<T: FromStr<Err = String>>(name: &str, text: &str) -> Result<T, ApiError> {
    text.parse()
        .map_err(|problem| ApiError::InvalidBody(format!("{name}: {problem}")))
}

fn optional<T: FromStr<Err = String>>(
    name: &str,
    text: Option<&str>,
) -> Result<Option<T>, ApiError> {
    text.map(|text| field(name, text)).transpose()
}

fn endpoints(paths: &[String]) -> Result<Vec<Endpoint>, ApiError> {
    let checked = paths.iter().enumerate();
    checked
        .map(|(at, path)| field(&format!("endpoints[{at}]"), path))
        .collect()
}

/// Tells `null` from a field that is not there.
fn present<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Some)
}
