//! Bodies of requests. Errors name the field.

use std::str::FromStr;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::error::ApiError;

/// Parses a body, which must be a JSON object.
pub(crate) fn json<T: DeserializeOwned>(
    body: Result<Bytes, BytesRejection>,
) -> Result<T, ApiError> {
    let body = body.map_err(|_| ApiError::BodyTooLarge)?;
    // serde would also accept an array of the fields in order.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(ApiError::InvalidBody("expected a JSON object".to_owned()));
    }
    serde_json::from_slice(&body).map_err(|error| ApiError::InvalidBody(error.to_string()))
}

/// Parses the value of a field.
pub(crate) fn field<T: FromStr<Err = String>>(name: &str, text: &str) -> Result<T, ApiError> {
    text.parse()
        .map_err(|problem| ApiError::InvalidBody(format!("{name}: {problem}")))
}

/// Parses the value of a field that may be missing.
pub(crate) fn optional<T: FromStr<Err = String>>(
    name: &str,
    text: Option<&str>,
) -> Result<Option<T>, ApiError> {
    text.map(|text| field(name, text)).transpose()
}

/// Distinguishes `null`, which is `Some(None)`, from a missing field, which is `None`.
pub(crate) fn present<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Some)
}
