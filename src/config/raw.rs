//! The configuration as it is written: JSON in, plain strings and numbers out, with all defaults.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::ConfigError;

/// A JSON object and nothing else. Serde's derived structs also take an array of their fields in
/// order, which no operator means.
#[derive(Default)]
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OnlyMaps<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for OnlyMaps<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer
            .deserialize_map(OnlyMaps(PhantomData))
            .map(Self)
    }
}

/// A JSON object with names of the operator's choice, in order; a repeated name is an error.
#[derive(Default)]
pub(super) struct Entries(pub(super) Vec<(String, String)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NoRepeats;

        impl<'de> Visitor<'de> for NoRepeats {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries: Vec<(String, String)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, String>()? {
                    if entries.iter().any(|(seen, _)| *seen == name) {
                        return Err(A::Error::custom(format_args!("duplicate field `{name}`")));
                    }
                    entries.push((name, value));
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(NoRepeats)
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) lookup: Object<RawLookup>,
    pub(super) cache: Object<RawCache>,
    pub(super) feed: Option<Object<RawFeed>>,
    pub(super) credential: Object<RawCredential>,
    pub(super) hash: Object<RawHash>,
    pub(super) environment: Option<String>,
    pub(super) exempt: Object<RawExempt>,
    pub(super) introspection: Option<Object<RawIntrospection>>,
    pub(super) identity_headers: Entries,
    pub(super) replies: Object<RawReplies>,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawLookup {
    pub(super) cluster: Option<String>,
    pub(super) authority: Option<String>,
    pub(super) path: String,
    pub(super) timeout: String,
    pub(super) headers: Entries,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawCache {
    pub(super) allow_ttl: String,
    pub(super) not_found_ttl: String,
    pub(super) revoked_ttl: String,
    pub(super) stale_if_error: String,
    pub(super) refresh_ahead: f64,
    pub(super) jitter: f64,
    pub(super) max_allow_entries: u32,
    pub(super) max_deny_entries: u32,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawFeed {
    pub(super) path: String,
    pub(super) interval: String,
    pub(super) stale_after: String,
    pub(super) allow_ttl_when_stale: String,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawCredential {
    pub(super) sources: Vec<Object<RawSource>>,
    pub(super) format: Object<RawFormat>,
    pub(super) forward: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawSource {
    pub(super) header: Option<String>,
    pub(super) scheme: Option<String>,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawFormat {
    pub(super) prefix: String,
    pub(super) min_length: u32,
    pub(super) max_length: u32,
    pub(super) alphabet: String,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawHash {
    pub(super) pepper: Option<String>,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawExempt {
    pub(super) paths: Vec<String>,
    pub(super) path_prefixes: Vec<String>,
    pub(super) preflight: bool,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawIntrospection {
    pub(super) path: String,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawReplies {
    pub(super) service_name: String,
    pub(super) doc_base_url: String,
    pub(super) realm: String,
    pub(super) retry_after_seconds: u32,
    pub(super) messages: Entries,
}

/// All defaults of a feed that is read.
impl Default for RawFeed {
    fn default() -> Self {
        Self {
            path: "/v1/changes?after={cursor}".to_owned(),
            interval: "1s".to_owned(),
            stale_after: "10s".to_owned(),
            allow_ttl_when_stale: "60s".to_owned(),
        }
    }
}

impl Default for RawIntrospection {
    fn default() -> Self {
        Self {
            path: "/v1/keys/me".to_owned(),
        }
    }
}

/// All defaults.
impl Default for Raw {
    fn default() -> Self {
        let source = |header: &str, scheme: Option<&str>| {
            Object(RawSource {
                header: Some(header.to_owned()),
                scheme: scheme.map(str::to_owned),
            })
        };
        let identity = |header: &str, field: &str| (header.to_owned(), field.to_owned());
        Self {
            lookup: Object(RawLookup {
                cluster: None,
                authority: None,
                path: "/v1/key-hashes/{key_hash}".to_owned(),
                timeout: "250ms".to_owned(),
                headers: Entries::default(),
            }),
            cache: Object(RawCache {
                allow_ttl: "60s".to_owned(),
                not_found_ttl: "5s".to_owned(),
                revoked_ttl: "5m".to_owned(),
                stale_if_error: "10m".to_owned(),
                refresh_ahead: 0.8,
                jitter: 0.1,
                max_allow_entries: 50_000,
                max_deny_entries: 10_000,
            }),
            feed: None,
            credential: Object(RawCredential {
                sources: vec![
                    source("authorization", Some("Bearer")),
                    source("x-api-key", None),
                ],
                format: Object(RawFormat {
                    prefix: "aw_".to_owned(),
                    min_length: 43,
                    max_length: 256,
                    alphabet: "url_safe".to_owned(),
                }),
                forward: false,
            }),
            hash: Object(RawHash { pepper: None }),
            environment: None,
            exempt: Object(RawExempt {
                paths: Vec::new(),
                path_prefixes: Vec::new(),
                preflight: true,
            }),
            introspection: None,
            identity_headers: Entries(vec![
                identity("x-keystile-key-id", "key_id"),
                identity("x-keystile-account-id", "account_id"),
            ]),
            replies: Object(RawReplies {
                service_name: "Asterwise".to_owned(),
                doc_base_url: "https://docs.asterwise.com/reference/errors/".to_owned(),
                realm: "api".to_owned(),
                retry_after_seconds: 1,
                messages: Entries::default(),
            }),
        }
    }
}

macro_rules! default_within {
    ($($raw:ty: $field:ident),*) => {
        $(impl Default for $raw {
            fn default() -> Self {
                Raw::default().$field.0
            }
        })*
    };
}
default_within!(RawLookup: lookup, RawCache: cache, RawCredential: credential);
default_within!(RawHash: hash, RawExempt: exempt, RawReplies: replies);

impl Default for RawFormat {
    fn default() -> Self {
        RawCredential::default().format.0
    }
}

impl Raw {
    /// Reads the bytes that Envoy hands over.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Err(ConfigError::new(
                "lookup.cluster",
                "is required: the configuration is empty, and the smallest is \
                 {\"lookup\": {\"cluster\": \"auth\"}}",
            ));
        }
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(not_json(bytes, None));
        }
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let raw = serde_path_to_error::deserialize::<_, Object<Self>>(&mut json)
            .map_err(|error| explain(bytes, &error.path().to_string(), error.inner()))?;
        json.end().map_err(|error| explain(bytes, ".", &error))?;
        Ok(raw.0)
    }
}

/// A protobuf `Struct` begins with the byte 0x0A, which JSON would take for white space.
fn not_json(bytes: &[u8], error: Option<&serde_json::Error>) -> ConfigError {
    if bytes.first() == Some(&b'{') {
        let detail = error.map(ToString::to_string).unwrap_or_default();
        return ConfigError::new("", format!("is not JSON: {detail}"));
    }
    ConfigError::new(
        "",
        "must be a JSON object as text. In envoy.yaml write it as a string: \
         \"@type\": type.googleapis.com/google.protobuf.StringValue, with `value: |` and the JSON \
         below; a google.protobuf.Struct reaches the filter as raw protobuf",
    )
}

/// Says it in the operator's words, and without the value, which may be a secret in the wrong
/// place.
fn explain(bytes: &[u8], path: &str, error: &serde_json::Error) -> ConfigError {
    if !error.is_data() {
        return not_json(bytes, Some(error));
    }
    let path = path.trim_matches('.');
    let text = error.to_string();
    let (text, _) = text.rsplit_once(" at line ").unwrap_or((&text, ""));
    if let Some(field) = text.strip_prefix("duplicate field ") {
        let field = field.trim_matches('`');
        let path = if path.is_empty() {
            field.to_owned()
        } else {
            format!("{path}.{field}")
        };
        return ConfigError::new(path, "is given more than once");
    }
    if let Some((_, known)) = text
        .strip_prefix("unknown field ")
        .and_then(|rest| rest.split_once(", expected "))
    {
        let known = known.trim_start_matches("one of ").replace('`', "");
        return ConfigError::new(path, format!("is unknown here; known are {known}"));
    }
    let Some((got, expected)) = text.rsplit_once(", expected ") else {
        return ConfigError::new(path, "cannot be read");
    };
    let expected = match expected {
        "u32" => "a whole number from 0 to 4294967295",
        "f64" => "a number",
        "a sequence" => "an array",
        "a boolean" => "true or false",
        other => other,
    };
    let got = match got.strip_prefix("invalid type: ").unwrap_or_default() {
        kind if kind.starts_with("string") => ", not a string",
        kind if kind.starts_with("boolean") => ", not a boolean",
        kind if kind.starts_with("null") => ", not null",
        kind if kind.starts_with("map") => ", not an object",
        kind if kind.starts_with("sequence") => ", not an array",
        _ => "",
    };
    ConfigError::new(path, format!("must be {expected}{got}"))
}
