//! The plugin configuration: either refused with the field's path and without a secret, or usable for
//! any request.

mod serving;

use keystile::config;
use keystile::engine::settings::Settings;
use serde_json::Value;

use crate::json::Json;

use serving::assert_serves;

/// The top-level fields.
const FIELDS: [&str; 11] = [
    "lookup",
    "cache",
    "feed",
    "credential",
    "hash",
    "environment",
    "exempt",
    "introspection",
    "identity_headers",
    "strip_headers",
    "replies",
];

/// Takes a configuration. It must be read the same way twice. A refusal must begin with the path of a
/// field. Neither the refusal nor the debug output of a configuration may depend on a secret's
/// letters. An accepted configuration is used to start requests, make lookups and write refusals.
pub fn configuration(bytes: &[u8]) {
    let read = config::parse(bytes);
    let again = config::parse(bytes);
    assert_eq!(
        printed(&read),
        printed(&again),
        "the second read gave another result"
    );
    let masked = masked(bytes);
    if masked != bytes {
        assert_eq!(
            printed(&read),
            printed(&config::parse(&masked)),
            "the output depends on a secret"
        );
    }
    match read {
        Ok(config) => {
            assert_only_known_fields(bytes);
            assert_serves(&config);
        }
        Err(refusal) => assert_names_field(&refusal.to_string(), bytes),
    }
}

fn printed(read: &Result<Settings, config::ConfigError>) -> String {
    match read {
        Ok(config) => format!("{config:?}"),
        Err(refusal) => refusal.to_string(),
    }
}

/// Checks that each object in an accepted configuration has only known fields, once each: with
/// another name, each field must be refused.
fn assert_only_known_fields(bytes: &[u8]) {
    let whole: Json = serde_json::from_slice(bytes).expect("JSON");
    assert_no_field_repeated("", &whole);
    let whole: Value = serde_json::from_slice(bytes).expect("JSON");
    for field in fields(&whole, "") {
        let mut renamed = whole.clone();
        let (object, name) = field.rsplit_once('/').expect("a pointer");
        let object = renamed.pointer_mut(object).and_then(Value::as_object_mut);
        let object = object.expect("an object");
        let value = object.remove(name).expect("a field");
        object.insert(format!("{name}_"), value);
        let refusal = config::parse(renamed.to_string().as_bytes()).err();
        let refusal = refusal.map(|refusal| refusal.to_string());
        assert!(
            refusal.is_some_and(|refusal| refusal.contains(": is not a known field; must be one of: ")),
            "{field} was accepted under another name"
        );
    }
}

fn assert_no_field_repeated(path: &str, json: &Json) {
    match json {
        Json::Plain(_) => {}
        Json::List(list) => list
            .iter()
            .for_each(|json| assert_no_field_repeated(path, json)),
        Json::Object(fields) => {
            for (name, json) in fields.iter() {
                assert!(fields.one(name).is_ok(), "{path}.{name} was accepted twice");
                assert_no_field_repeated(&format!("{path}.{name}"), json);
            }
        }
    }
}

/// Returns JSON pointers to all fields whose names the operator does not choose.
fn fields(json: &Value, path: &str) -> Vec<String> {
    let is_free = ["/lookup/headers", "/identity_headers"].contains(&path);
    let inner: Vec<(String, &Value)> = match json {
        Value::Array(array) => array
            .iter()
            .enumerate()
            .map(|(index, json)| (format!("{path}/{index}"), json))
            .collect(),
        Value::Object(object) if !is_free => object
            .iter()
            .map(|(name, json)| (format!("{path}/{name}"), json))
            .collect(),
        _ => Vec::new(),
    };
    let mut all = Vec::new();
    for (path, inner) in inner {
        all.extend(fields(inner, &path));
        if json.is_object() {
            all.push(path);
        }
    }
    all
}

fn assert_names_field(refusal: &str, bytes: &[u8]) {
    assert!(!refusal.contains("panicked"), "{refusal}");
    let known = FIELDS.iter().chain(["configuration"].iter()).any(|field| {
        let rest = refusal.strip_prefix(field);
        rest.is_some_and(|rest| rest.starts_with([':', '.', '[']))
    });
    // An error about an unknown field begins with the name of that field.
    let misnamed = refusal.contains(": is not a known field; must be one of: ")
        || refusal.contains(": is given more than once");
    assert!(known || misnamed, "no field's path in: {refusal}");
    let problem = refusal.split_once(": ").map_or("", |(_, problem)| problem);
    assert!(!problem.is_empty(), "no problem in: {refusal}");
    assert!(
        refusal.len() < 1_000 + 6 * bytes.len(),
        "the message is too long"
    );
}

/// Returns the input with the letters and digits of secrets replaced: those in `hash`, in tags and in
/// `lookup.headers`. Strings with escapes stay. As far as possible, this reads broken JSON too.
fn masked(bytes: &[u8]) -> Vec<u8> {
    let mut masked = bytes.to_vec();
    // The field that is being read, and those around it.
    let mut field: Vec<u8> = Vec::new();
    let mut around: Vec<Vec<u8>> = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'{' | b'[' => around.push(std::mem::take(&mut field)),
            b'}' | b']' => {
                around.pop();
                field.clear();
            }
            b',' => field.clear(),
            b'"' => {
                let begin = at;
                while bytes.get(at).is_some_and(|byte| *byte != b'"') {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                let end = at.min(bytes.len());
                at += 1;
                let text = &bytes[begin..end];
                let after = bytes.get(at..).unwrap_or_default().trim_ascii_start();
                if after.starts_with(b":") && field.is_empty() {
                    field = text.to_vec();
                } else if is_secret(&around, &field) && !text.contains(&b'\\') {
                    masked[begin..end].iter_mut().for_each(mask);
                }
            }
            b'0'..=b'9' if is_secret(&around, &field) => {
                let begin = at - 1;
                let of_number = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
                while bytes.get(at).is_some_and(of_number) {
                    at += 1;
                }
                // Other numbers may be invalid with other digits.
                if bytes[begin..at].iter().all(u8::is_ascii_digit) {
                    let digits = masked[begin..at].iter_mut();
                    digits.filter(|digit| **digit != b'0').for_each(mask);
                }
            }
            _ => {}
        }
    }
    masked
}

/// Returns true for values in `hash`, tags or `lookup.headers`, at any depth, or in their place.
fn is_secret(around: &[Vec<u8>], field: &[u8]) -> bool {
    let mut path: Vec<&[u8]> = around.iter().map(Vec::as_slice).collect();
    path.push(field);
    let is_tag = path.starts_with(&[b"", b"credential", b"formats"]) && path.contains(&&b"tag"[..]);
    is_tag || path.starts_with(&[b"", b"hash"]) || path.starts_with(&[b"", b"lookup", b"headers"])
}

fn mask(byte: &mut u8) {
    if byte.is_ascii_digit() {
        *byte = b'7';
    } else if byte.is_ascii_alphabetic() {
        *byte = b'q';
    }
}
