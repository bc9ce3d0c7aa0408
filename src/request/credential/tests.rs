mod extract;
mod held_back;

use super::*;
use crate::config;

const KEY: &str = "aw_0123456789abcdefghijklmnopqrstuvwxyzABCD-_";
const OTHER: &str = "aw_0123456789abcdefghijklmnopqrstuvwxyzABCD-X";

type Headers<'a> = &'a [(&'a str, &'a str)];

fn rules(credential: &str) -> CredentialRules {
    let json = format!(r#"{{"lookup":{{"cluster":"auth"}},"credential":{credential}}}"#);
    config::parse(json.as_bytes()).unwrap().policy.credential
}

fn request<'a>(headers: &[(&'a str, &'a [u8])]) -> Vec<Header<'a>> {
    let header = |(name, value): &(&'a str, &'a [u8])| (name.as_bytes(), *value);
    headers.iter().map(header).collect()
}

/// `$` stands for the key, `%` for another key.
fn fill(value: &str) -> Vec<u8> {
    value.replace('$', KEY).replace('%', OTHER).into_bytes()
}

#[test]
fn debug_shows_no_key() {
    let key = ApiKey(KEY.as_bytes());
    assert_eq!(format!("{key:?}"), "ApiKey(redacted)");
}
