//! JSON for the second implementations: all fields of an object, including repeats, which
//! `serde_json::Value` hides.

use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::Value;

/// A JSON value, with its repeated fields.
#[derive(Clone, Debug)]
pub(crate) enum Json {
    /// Neither an array nor an object.
    Plain(Value),
    List(Vec<Json>),
    Object(Fields),
}

/// The fields of an object, in order.
#[derive(Clone, Debug)]
pub(crate) struct Fields(Vec<(String, Json)>);

impl Fields {
    /// Reads the fields with these names from a body; `None` if it is not an object. Other fields are
    /// deliberately read only to find their end: no verdict depends on them.
    pub(crate) fn read(body: &[u8], known: &[&str]) -> Option<Self> {
        let mut json = serde_json::Deserializer::from_str(std::str::from_utf8(body).ok()?);
        let fields = Known(known).deserialize(&mut json).ok()?;
        json.end().ok()?;
        Some(fields)
    }

    /// Returns all fields.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &(String, Json)> {
        self.0.iter()
    }

    /// Returns the field with this name; `Err` if there is more than one.
    pub(crate) fn one(&self, name: &str) -> Result<Option<&Json>, ()> {
        let all: Vec<_> = self.0.iter().filter(|(other, _)| other == name).collect();
        match all[..] {
            [] => Ok(None),
            [(_, json)] => Ok(Some(json)),
            _ => Err(()),
        }
    }

    /// Returns a string: `Ok(None)` if it is absent or null, `Err` if it is anything else.
    pub(crate) fn string(&self, name: &str) -> Result<Option<&str>, ()> {
        match self.one(name)? {
            None | Some(Json::Plain(Value::Null)) => Ok(None),
            Some(Json::Plain(Value::String(text))) => Ok(Some(text)),
            Some(_) => Err(()),
        }
    }
}

/// Reads an object, of which only these fields matter.
struct Known<'a>(&'a [&'a str]);

impl<'de> DeserializeSeed<'de> for Known<'_> {
    type Value = Fields;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Fields, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Known<'_> {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if self.0.contains(&&*name) {
                fields.push((name, map.next_value()?));
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Fields(fields))
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Plain(Value::Null))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Json, E> {
        Ok(Json::Plain(flag.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(Json::Plain(number.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Plain(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json, E> {
        Ok(Json::Plain(number.into()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Plain(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(json) = seq.next_element()? {
            list.push(json);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Json::Object(Fields(fields)))
    }
}
