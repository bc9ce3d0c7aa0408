//! The plugin configuration: refused with the field's path and without a secret, or good for any
//! request.

mod serving;

use keystile::config;
use keystile::engine::settings::Settings;

use crate::json::Json;

use serving::serves;

/// The fields of the whole.
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

/// Takes a configuration. It is read the same way twice. A refusal begins with the path of a
/// field, and neither it nor what is printed of a configuration depends on a secret's letters. By
/// one that is accepted requests are begun, lookups made, and refusals written.
pub fn configuration(bytes: &[u8]) {
    let read = config::parse(bytes);
    let again = config::parse(bytes);
    assert_eq!(
        printed(&read),
        printed(&again),
        "read otherwise the second time"
    );
    let masked = masked(bytes);
    if masked != bytes {
        assert_eq!(
            printed(&read),
            printed(&config::parse(&masked)),
            "a secret shows"
        );
    }
    match read {
        Ok(config) => {
            let whole = serde_json::from_slice(bytes).expect("JSON");
            has_known_fields("", &whole);
            serves(&config);
        }
        Err(refusal) => names_a_field(&refusal.to_string(), bytes),
    }
}

fn printed(read: &Result<Settings, config::ConfigError>) -> String {
    match read {
        Ok(config) => format!("{config:?}"),
        Err(refusal) => refusal.to_string(),
    }
}

/// Whether each object in it has fields that are known there, once each.
fn has_known_fields(path: &str, json: &Json) {
    let known = match path {
        "" => &FIELDS.join(" "),
        "lookup" => "cluster authority path timeout headers",
        "cache" => {
            "allow_ttl not_found_ttl revoked_ttl stale_if_error refresh_ahead jitter \
             max_allow_entries max_deny_entries"
        }
        "feed" => "cluster path interval stale_after allow_ttl_when_stale",
        "credential" => "sources format forward",
        "credential.sources" => "header scheme",
        "credential.format" => "prefix min_length max_length alphabet",
        "hash" => "pepper",
        "exempt" => "paths path_prefixes methods preflight",
        "introspection" => "path",
        "replies" => "service_name doc_base_url realm retry_after_seconds messages",
        "replies.messages" => {
            "api_key_missing api_key_invalid api_key_not_found api_key_revoked api_key_expired \
             endpoint_restricted internal_error"
        }
        // With names of the operator's choice.
        "lookup.headers" | "identity_headers" => "*",
        _ => "",
    };
    match json {
        Json::Plain(_) => {}
        Json::List(list) => list.iter().for_each(|json| has_known_fields(path, json)),
        Json::Object(fields) => {
            for (name, json) in fields.iter() {
                let is_known = known == "*" || known.split(' ').any(|known| known == name);
                assert!(is_known, "{path}.{name} is taken, and does nothing");
                assert!(fields.one(name).is_ok(), "{path}.{name} is taken twice");
                let dot = if path.is_empty() { "" } else { "." };
                has_known_fields(&format!("{path}{dot}{name}"), json);
            }
        }
    }
}

fn names_a_field(refusal: &str, bytes: &[u8]) {
    assert!(!refusal.contains("panicked"), "{refusal}");
    let known = FIELDS.iter().chain(["configuration"].iter()).any(|field| {
        let rest = refusal.strip_prefix(field);
        rest.is_some_and(|rest| rest.starts_with([':', '.', '[']))
    });
    // A field that is not known is called what it is called.
    let misnamed = refusal.contains(": is unknown here; known are ")
        || refusal.contains(": is given more than once");
    assert!(known || misnamed, "no field's path: {refusal}");
    let problem = refusal.split_once(": ").map_or("", |(_, problem)| problem);
    assert!(!problem.is_empty(), "no problem: {refusal}");
    assert!(
        refusal.len() < 1_000 + 6 * bytes.len(),
        "longer than what is refused"
    );
}

/// The same with letters and digits of secrets replaced: of what is in `hash`, and in
/// `lookup.headers`. Texts with escapes stay. As far as it goes, this reads what is broken too.
fn masked(bytes: &[u8]) -> Vec<u8> {
    let mut masked = bytes.to_vec();
    // The field that is read, and those around it.
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
                let behind = bytes.get(at..).unwrap_or_default().trim_ascii_start();
                if behind.starts_with(b":") && field.is_empty() {
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
                // Others may not be numbers any more with other digits.
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

/// Whether it stands in `hash` or `lookup.headers`, at whatever depth, or in their place.
fn is_secret(around: &[Vec<u8>], field: &[u8]) -> bool {
    let mut path: Vec<&[u8]> = around.iter().map(Vec::as_slice).collect();
    path.push(field);
    path.starts_with(&[b"", b"hash"]) || path.starts_with(&[b"", b"lookup", b"headers"])
}

fn mask(byte: &mut u8) {
    if byte.is_ascii_digit() {
        *byte = b'7';
    } else if byte.is_ascii_alphabetic() {
        *byte = b'q';
    }
}
