//! A configuration with each field, what each must be, and ways to break one.

use serde_json::Value;

use super::Broken;

/// What no message may repeat.
pub(super) const SECRET: &str = "hunter2-hunter2";

/// A configuration with each field, to be broken in one place.
pub(super) const GOOD: &str = r#"{
  "lookup": {"cluster": "auth", "authority": "auth", "path": "/v1/key-hashes/{key_hash}",
             "timeout": "250ms", "headers": {"authorization": "hunter2-hunter2"}},
  "cache": {"allow_ttl": "60s", "not_found_ttl": "5s", "revoked_ttl": "5m", "stale_if_error": "10m",
            "refresh_ahead": 0.8, "jitter": 0.1, "max_allow_entries": 50000, "max_deny_entries": 10000},
  "feed": {"cluster": "auth-feed", "path": "/v1/changes?after={cursor}", "interval": "1s", "stale_after": "10s",
           "allow_ttl_when_stale": "60s"},
  "credential": {"sources": [{"header": "authorization", "scheme": "Bearer"},
                             {"header": "x-api-key", "scheme": null}],
                 "format": {"prefix": "aw_", "min_length": 43, "max_length": 256, "alphabet": "url_safe"},
                 "forward": false},
  "hash": {"pepper": "hunter2-hunter2"},
  "environment": "production",
  "exempt": {"paths": ["/healthz"], "path_prefixes": ["/public"], "methods": ["GET"], "preflight": true},
  "introspection": {"path": "/v1/keys/me"},
  "identity_headers": {"x-key": "key_id", "x-account": "account_id"},
  "strip_headers": ["x-original-url"],
  "replies": {"service_name": "Asterwise", "doc_base_url": "https://docs.example.com/errors/",
              "realm": "api", "retry_after_seconds": 1,
              "messages": {"api_key_missing": "Bring a key."}}
}"#;

#[derive(Clone, Copy)]
pub(super) enum Kind {
    Text,
    TextOrNull,
    Object,
    ObjectOrNull,
    Array,
    Flag,
    Whole,
    Number,
}

use Kind::{Array, Flag, Number, Object, ObjectOrNull, Text, TextOrNull, Whole};

/// Each field, and what it must be.
pub(super) const FIELDS: &[(&str, Kind)] = &[
    ("lookup", Object),
    ("lookup.cluster", Text),
    ("lookup.authority", TextOrNull),
    ("lookup.path", Text),
    ("lookup.timeout", Text),
    ("lookup.headers", Object),
    ("lookup.headers.authorization", Text),
    ("cache", Object),
    ("cache.allow_ttl", Text),
    ("cache.not_found_ttl", Text),
    ("cache.revoked_ttl", Text),
    ("cache.stale_if_error", Text),
    ("cache.refresh_ahead", Number),
    ("cache.jitter", Number),
    ("cache.max_allow_entries", Whole),
    ("cache.max_deny_entries", Whole),
    ("feed", ObjectOrNull),
    ("feed.cluster", TextOrNull),
    ("feed.path", Text),
    ("feed.interval", Text),
    ("feed.stale_after", Text),
    ("feed.allow_ttl_when_stale", Text),
    ("credential", Object),
    ("credential.sources", Array),
    ("credential.sources[0]", Object),
    ("credential.sources[0].header", Text),
    ("credential.sources[0].scheme", TextOrNull),
    ("credential.sources[1]", Object),
    ("credential.sources[1].header", Text),
    ("credential.sources[1].scheme", TextOrNull),
    ("credential.format", Object),
    ("credential.format.prefix", Text),
    ("credential.format.min_length", Whole),
    ("credential.format.max_length", Whole),
    ("credential.format.alphabet", Text),
    ("credential.forward", Flag),
    ("hash", Object),
    ("hash.pepper", TextOrNull),
    ("environment", TextOrNull),
    ("exempt", Object),
    ("exempt.paths", Array),
    ("exempt.paths[0]", Text),
    ("exempt.path_prefixes", Array),
    ("exempt.path_prefixes[0]", Text),
    ("exempt.methods", Array),
    ("exempt.methods[0]", Text),
    ("exempt.preflight", Flag),
    ("introspection", ObjectOrNull),
    ("introspection.path", Text),
    ("identity_headers", Object),
    ("identity_headers.x-key", Text),
    ("strip_headers", Array),
    ("strip_headers[0]", Text),
    ("replies", Object),
    ("replies.service_name", Text),
    ("replies.doc_base_url", Text),
    ("replies.realm", Text),
    ("replies.retry_after_seconds", Whole),
    ("replies.messages", Object),
    ("replies.messages.api_key_missing", Text),
];

/// The good one with this JSON in a field's place.
pub(super) fn with(path: &str, raw: &str) -> Broken {
    Broken {
        name: format!("{path} = {raw}"),
        text: changed(&[(path, raw)]),
        at: path.to_owned(),
    }
}

/// The good one with one more member of an object, whose path is to be refused.
pub(super) fn beside(object: &str, member: &str, name: &str) -> Broken {
    const MARK: &str = "@";
    let mut good: Value = serde_json::from_str(GOOD).unwrap();
    let members = place(&mut good, object).as_object_mut().unwrap();
    members.insert(MARK.to_owned(), MARK.into());
    let text = good.to_string().replacen(r#""@":"@""#, member, 1);
    let whole = if object.is_empty() {
        "the whole"
    } else {
        object
    };
    Broken {
        name: format!("{whole} with {member}"),
        text: text.into_bytes(),
        at: if name.is_empty() && object.is_empty() {
            "configuration".to_owned()
        } else {
            join(object, name)
        },
    }
}

/// The good one with this JSON in the places of these fields.
pub(super) fn changed(changes: &[(&str, &str)]) -> Vec<u8> {
    let mut good: Value = serde_json::from_str(GOOD).unwrap();
    for (index, (path, _)) in changes.iter().enumerate() {
        *place(&mut good, path) = format!("@{index}").into();
    }
    let mut text = good.to_string();
    for (index, (_, raw)) in changes.iter().enumerate() {
        text = text.replacen(&format!("\"@{index}\""), raw, 1);
    }
    text.into_bytes()
}

/// The paths of all objects with fields of fixed names; the whole's is empty.
pub(super) fn objects(good: &Value) -> Vec<String> {
    let mut paths = vec![String::new()];
    let fixed = FIELDS.iter().filter(|(path, kind)| {
        matches!(kind, Object | ObjectOrNull)
            && !["lookup.headers", "identity_headers"].contains(path)
    });
    paths.extend(fixed.map(|(path, _)| (*path).to_owned()));
    for path in &paths {
        assert!(place(&mut good.clone(), path).is_object(), "{path}");
    }
    paths
}

pub(super) fn join(object: &str, field: &str) -> String {
    if object.is_empty() {
        field.to_owned()
    } else {
        format!("{object}.{field}")
    }
}

/// The place of a path such as `credential.sources[0].header`. Names of headers and messages, which
/// may hold anything, are the rest of their paths.
fn place<'a>(json: &'a mut Value, path: &str) -> &'a mut Value {
    if path.is_empty() {
        return json;
    }
    for named in ["lookup.headers", "identity_headers", "replies.messages"] {
        if let Some(name) = path
            .strip_prefix(named)
            .and_then(|rest| rest.strip_prefix('.'))
        {
            return &mut place(json, named)[name];
        }
    }
    path.split(['.', '['])
        .fold(json, |json, part| match part.strip_suffix(']') {
            Some(index) => &mut json[index.parse::<usize>().unwrap()],
            None => &mut json[part],
        })
}
