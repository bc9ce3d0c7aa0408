//! JSON objects whose fields are taken one by one, by name and type. A field must not be repeated.
//! Errors say which field is wrong and what would be right. They never repeat a value, because it
//! may be a secret in the wrong place.
//!
//! Derived `Deserialize` implementations would do the same, but would make up a third of the
//! module.

#![forbid(unsafe_code)]

mod value;

use std::borrow::Cow;
use std::fmt;

use serde::de::DeserializeSeed;

use value::{Json, Read, string, wrong};

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldError {
    /// The field's path; empty for the whole document.
    pub(crate) path: String,
    /// What would be right.
    pub(crate) problem: String,
}

impl FieldError {
    pub(crate) fn new(path: impl AsRef<str>, problem: impl AsRef<str>) -> Self {
        Self::of(path.as_ref(), problem.as_ref())
    }

    /// Not generic and never inlined, because there are dozens of callers, all on cold paths. A
    /// copy for each would only make the module larger.
    #[cold]
    #[inline(never)]
    fn of(path: &str, problem: &str) -> Self {
        Self {
            path: path.to_owned(),
            problem: problem.to_owned(),
        }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, problem } = self;
        let separator = if path.is_empty() { "" } else { ": " };
        write!(f, "{path}{separator}{problem}")
    }
}

impl From<FieldError> for String {
    fn from(error: FieldError) -> Self {
        error.to_string()
    }
}

/// Why an object could not be read.
pub(crate) enum ReadError {
    /// It is not JSON.
    Json(serde_json::Error),
    /// It is JSON, but not an object with the right fields.
    Field(FieldError),
}

impl From<ReadError> for String {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Json(error) => format!("not JSON: {error}"),
            ReadError::Field(error) => error.into(),
        }
    }
}

/// A JSON object whose fields are taken one by one.
pub(crate) struct Object<'a> {
    path: String,
    fields: Vec<(Cow<'a, str>, Json<'a>)>,
}

/// Which fields an object may have.
#[derive(Clone, Copy)]
pub(crate) enum Fields<'a> {
    /// These fields. Others are rejected.
    Only(&'a [&'a str]),
    /// These fields. Others are ignored.
    With(&'a [&'a str]),
}

impl<'a> Object<'a> {
    /// Reads an object with these fields. Ignored fields may contain any JSON.
    pub(crate) fn read(bytes: &'a [u8], fields: Fields<'_>) -> Result<Self, ReadError> {
        let read = Read {
            only: match fields {
                Fields::Only(_) => None,
                Fields::With(known) => Some(known),
            },
        };
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let whole = read.deserialize(&mut json).map_err(ReadError::Json)?;
        json.end().map_err(ReadError::Json)?;
        // Strings in ignored fields have not been checked yet.
        if std::str::from_utf8(bytes).is_err() {
            let problem = FieldError::new(String::new(), "must be UTF-8");
            return Err(ReadError::Field(problem));
        }
        Self::new(String::new(), whole, fields).map_err(ReadError::Field)
    }

    /// Creates an object without fields, at `path`.
    fn empty(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            fields: Vec::new(),
        }
    }

    fn new(path: String, json: Json<'a>, fields: Fields<'_>) -> Result<Self, FieldError> {
        let Json::Object(mut all) = json else {
            return Err(FieldError::new(path, wrong("an object", &json)));
        };
        if let Fields::With(known) = fields {
            all.retain(|(name, _)| known.contains(&&**name));
        }
        let object = Self { path, fields: all };
        for (at, (name, _)) in object.fields.iter().enumerate() {
            let mut before = object.fields.iter().take(at);
            if before.any(|(other, _)| other == name) {
                return Err(object.error(name, "is given more than once"));
            }
            if let Fields::Only(known) = fields
                && !known.contains(&&**name)
            {
                let known = known.join(", ");
                return Err(object.error(
                    name,
                    &format!("is not a known field; must be one of: {known}"),
                ));
            }
        }
        Ok(object)
    }

    /// Returns the path of a field.
    pub(crate) fn path(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    fn error(&self, name: &str, problem: &str) -> FieldError {
        FieldError::new(self.path(name), problem)
    }

    fn take(&mut self, name: &str) -> Option<Json<'a>> {
        let at = self.fields.iter().position(|(other, _)| other == name)?;
        Some(self.fields.swap_remove(at).1)
    }

    /// Treats a null in this field as an absent field.
    pub(crate) fn or_null(&mut self, name: &str) -> &mut Self {
        self.fields
            .retain(|(other, json)| other != name || !matches!(json, Json::Null));
        self
    }

    /// Takes a field, if it is present, and converts it with `pick`. If the type is wrong, `pick`
    /// returns the JSON unchanged.
    fn take_as<T>(
        &mut self,
        name: &str,
        expected: &str,
        pick: fn(Json<'a>) -> Result<T, Json<'a>>,
    ) -> Result<Option<T>, FieldError> {
        let picked = self.take(name).map(pick).transpose();
        picked.map_err(|json| self.error(name, &wrong(expected, &json)))
    }

    /// Takes a string, if it is present.
    pub(crate) fn string(&mut self, name: &str) -> Result<Option<Cow<'a, str>>, FieldError> {
        self.take_as(name, "a string", string)
    }

    /// Takes a boolean, if it is present.
    pub(crate) fn bool(&mut self, name: &str) -> Result<Option<bool>, FieldError> {
        self.take_as(name, "true or false", |json| match json {
            Json::Bool(value) => Ok(value),
            json => Err(json),
        })
    }

    /// Takes a whole number, if it is present. A number that is too large becomes [`u32::MAX`],
    /// which no field allows.
    pub(crate) fn integer(&mut self, name: &str) -> Result<Option<u32>, FieldError> {
        self.take_as(name, "a positive integer", |json| match json {
            Json::Integer(number) => Ok(u32::try_from(number).unwrap_or(u32::MAX)),
            json => Err(json),
        })
    }

    /// Takes a number, if it is present.
    pub(crate) fn number(&mut self, name: &str) -> Result<Option<f64>, FieldError> {
        self.take_as(name, "a number", |json| match json {
            #[allow(clippy::cast_precision_loss, reason = "as JSON's readers do")]
            Json::Integer(number) => Ok(number as f64),
            Json::Number(number) => Ok(number),
            json => Err(json),
        })
    }

    /// Takes an array of strings, if it is present.
    pub(crate) fn strings(&mut self, name: &str) -> Result<Option<Vec<Cow<'a, str>>>, FieldError> {
        let Some(array) = self.array(name)? else {
            return Ok(None);
        };
        let strings = array.into_iter().enumerate().map(|(at, json)| {
            let path = || format!("{}[{at}]", self.path(name));
            string(json).map_err(|json| FieldError::new(path(), wrong("a string", &json)))
        });
        strings.collect::<Result<_, _>>().map(Some)
    }

    /// Takes an array of objects with these fields, if it is present.
    pub(crate) fn objects(
        &mut self,
        name: &str,
        fields: Fields<'_>,
    ) -> Result<Option<Vec<Self>>, FieldError> {
        let Some(array) = self.array(name)? else {
            return Ok(None);
        };
        let path = self.path(name);
        let objects = array.into_iter().enumerate();
        let objects = objects.map(|(at, json)| Self::new(format!("{path}[{at}]"), json, fields));
        objects.collect::<Result<_, _>>().map(Some)
    }

    fn array(&mut self, name: &str) -> Result<Option<Vec<Json<'a>>>, FieldError> {
        self.take_as(name, "an array", |json| match json {
            Json::Array(array) => Ok(array),
            json => Err(json),
        })
    }

    /// Takes an object with only these fields, if it is present.
    pub(crate) fn object(
        &mut self,
        name: &str,
        known: &[&str],
    ) -> Result<Option<Self>, FieldError> {
        let path = self.path(name);
        let object = self.take(name);
        let object = object.map(|json| Self::new(path, json, Fields::Only(known)));
        object.transpose()
    }

    /// Like [`Self::object`], but returns an object without fields if it is absent.
    pub(crate) fn object_or_empty(
        &mut self,
        name: &str,
        known: &[&str],
    ) -> Result<Self, FieldError> {
        let object = self.object(name, known)?;
        Ok(object.unwrap_or_else(|| Self::empty(&self.path(name))))
    }

    /// Takes an object of strings with any field names, in order, if it is present.
    pub(crate) fn entries(
        &mut self,
        name: &str,
    ) -> Result<Option<Vec<(String, String)>>, FieldError> {
        let path = self.path(name);
        let fields = match self.take(name) {
            None => return Ok(None),
            Some(Json::Object(fields)) => fields,
            Some(json) => return Err(FieldError::new(path, wrong("an object", &json))),
        };
        let mut entries: Vec<(String, String)> = Vec::new();
        for (name, json) in fields {
            let at = |problem: &str| FieldError::new(format!("{path}.{name}"), problem);
            if entries.iter().any(|(seen, _)| **seen == name) {
                return Err(at("is given more than once"));
            }
            let value = string(json).map_err(|json| at(&wrong("a string", &json)))?;
            entries.push((name.into_owned(), value.into_owned()));
        }
        Ok(Some(entries))
    }
}
