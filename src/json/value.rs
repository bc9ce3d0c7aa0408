//! JSON values, as read from bytes.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A JSON value. Strings without escapes are borrowed.
pub(super) enum Json<'a> {
    Null,
    Bool(bool),
    Integer(u64),
    Number(f64),
    String(Cow<'a, str>),
    Array(Vec<Json<'a>>),
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

pub(super) fn string(json: Json<'_>) -> Result<Cow<'_, str>, Json<'_>> {
    match json {
        Json::String(string) => Ok(string),
        json => Err(json),
    }
}

pub(super) fn wrong(expected: &str, json: &Json<'_>) -> String {
    let got = match json {
        Json::Null => ", not null",
        Json::Bool(_) => ", not a boolean",
        Json::Integer(_) | Json::Number(_) => "",
        Json::String(_) => ", not a string",
        Json::Array(_) => ", not an array",
        Json::Object(_) => ", not an object",
    };
    format!("must be {expected}{got}")
}

/// Reads any JSON. If `only` is given, other fields of the outermost object are skipped.
#[derive(Clone, Copy)]
pub(super) struct Read<'a> {
    pub(super) only: Option<&'a [&'a str]>,
}

impl<'de> DeserializeSeed<'de> for Read<'_> {
    type Value = Json<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Deserialize<'de> for Json<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Read { only: None })
    }
}

impl<'de> Visitor<'de> for Read<'_> {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json<'de>, E> {
        Ok(Json::Integer(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json<'de>, E> {
        #[allow(clippy::cast_precision_loss, reason = "as JSON's readers do")]
        Ok(Json::Number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json<'de>, E> {
        Ok(Json::Number(number))
    }

    fn visit_str<E>(self, string: &str) -> Result<Json<'de>, E> {
        Ok(Json::String(string.to_owned().into()))
    }

    fn visit_borrowed_str<E>(self, string: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::String(string.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json<'de>, A::Error> {
        let mut array = Vec::new();
        while let Some(json) = seq.next_element()? {
            array.push(json);
        }
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json<'de>, A::Error> {
        let mut fields = Vec::with_capacity(self.only.map_or(0, <[_]>::len));
        while let Some(name) = map.next_key()? {
            let Json::String(name) = name else {
                continue; // Names are strings.
            };
            if self.only.is_none_or(|only| only.contains(&&*name)) {
                fields.push((name, map.next_value()?));
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Json::Object(fields))
    }
}
