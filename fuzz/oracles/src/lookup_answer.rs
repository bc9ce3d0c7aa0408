//! What an answer to a lookup means: a verdict, how long it may be kept, and how a request with it
//! ends.

use std::time::Duration;

use keystile::auth::answer::Verdict;
use keystile::auth::lookup::MAX_ANSWER;
use keystile::auth::record::Record;
use keystile::engine::Engine;
use keystile::engine::fake_host::{End, FakeHost};
use keystile::request::key_hash::KeyHasher;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::answer::Answer;
use crate::json::{Fields, Json};

const KEY: &str = "aw_0123456789abcdefghijklmnopqrstuvwxyzABCD-_";
const PATH: &str = "/v1/numerology/today";
/// When the lookup is answered, in ms since the Unix epoch: 2027-01-15T08:00:00Z.
const NOW: u64 = 1_800_000_000_000;

/// The statuses whose body is read. Envoy's own replies with the last two may say why.
const BODIES: [&[u8]; 5] = [b"200", b"404", b"410", b"502", b"503"];

/// A record as written in the answer.
#[derive(Debug)]
struct Written {
    active: bool,
    key_id: String,
    account_id: Option<String>,
    environment: Option<String>,
    /// In whole ms since the Unix epoch.
    expires_at: Option<i128>,
    endpoints: Option<Vec<String>>,
}

#[derive(Debug)]
enum Expected {
    Record(Written),
    NotFound,
    Indeterminate,
}

/// Takes an answer in the notation of `answer.rs`. The verdict must be that of a second
/// implementation, it must not be kept for longer than the answer says, and a request must be
/// forwarded only if the record permits it.
pub fn lookup_answer(input: &[u8]) {
    let answer = Answer::of(input);
    let body = || answer.body(&BODIES, MAX_ANSWER);
    let read = answer
        .response(&body)
        .answer(&KeyHasher::default().hash(KEY.as_bytes()), false);
    let expected = expected(&answer);
    match (&read.verdict, &expected) {
        (Verdict::NotFound, Expected::NotFound)
        | (Verdict::Indeterminate(_), Expected::Indeterminate) => {}
        (Verdict::Active(record), Expected::Record(written)) if written.active => {
            assert_same(record, written);
        }
        (Verdict::Revoked(record), Expected::Record(written)) if !written.active => {
            assert_same(record, written);
        }
        (verdict, expected) => panic!("{verdict:?}, not {expected:?}"),
    }
    if !matches!(expected, Expected::Indeterminate) {
        let lives = answer.cache_control.iter().flat_map(|value| lives(value));
        assert_eq!(read.max_age, lives.min(), "the max-age");
    }
    for environment in [None, Some("production")] {
        assert_resolved(environment, &answer, &expected);
    }
}

fn expected(answer: &Answer<'_>) -> Expected {
    match answer.status {
        Some(b"200") if answer.size <= MAX_ANSWER => match written(answer.body) {
            Some(written) => Expected::Record(written),
            None => Expected::Indeterminate,
        },
        Some(b"404" | b"410") if answer.size > MAX_ANSWER || !is_html(answer.body) => {
            Expected::NotFound
        }
        _ => Expected::Indeterminate,
    }
}

/// Returns true if a body without a `content-type` is an HTML document.
fn is_html(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body).to_ascii_lowercase();
    let text = text.trim_start_matches(|char: char| char.is_ascii_whitespace());
    ["<!doctype html", "<html", "<head", "<body"]
        .iter()
        .any(|tag| text.starts_with(tag))
}

fn written(body: &[u8]) -> Option<Written> {
    let known = "key_id status account_id environment expires_at endpoints";
    let known: Vec<_> = known.split(' ').collect();
    let fields = Fields::read(body, &known)?;
    let expires_at = match fields.string("expires_at").ok()? {
        None => None,
        Some(text) => {
            let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
            Some(time.unix_timestamp_nanos().div_euclid(1_000_000).max(0))
        }
    };
    let endpoints = match fields.one("endpoints").ok()? {
        None | Some(Json::Plain(serde_json::Value::Null)) => None,
        Some(Json::List(list)) => {
            let texts = list.iter().map(|json| match json {
                Json::Plain(serde_json::Value::String(text)) => Some(text.clone()),
                _ => None,
            });
            Some(texts.collect::<Option<_>>()?)
        }
        Some(_) => return None,
    };
    let written = Written {
        active: match fields.string("status").ok()?? {
            "active" => true,
            "revoked" => false,
            _ => return None,
        },
        key_id: fields.string("key_id").ok()??.to_owned(),
        account_id: fields.string("account_id").ok()?.map(str::to_owned),
        environment: fields.string("environment").ok()?.map(str::to_owned),
        expires_at,
        endpoints,
    };
    let others = written.account_id.iter().chain(&written.environment);
    let are_names = is_name(&written.key_id) && others.into_iter().all(|name| is_name(name));
    are_names.then_some(written)
}

/// Returns true if the text can be the value of a header.
fn is_name(text: &str) -> bool {
    let padded = text.starts_with(' ') || text.ends_with(' ');
    let visible = text.chars().all(|char| (' '..='~').contains(&char));
    (1..=256).contains(&text.len()) && visible && !padded
}

fn assert_same(record: &Record, written: &Written) {
    assert_eq!(record.key_id(), written.key_id);
    assert_eq!(record.account_id(), written.account_id.as_deref());
    assert_eq!(record.environment(), written.environment.as_deref());
    let ends = |wall: u64| written.expires_at.is_some_and(|end| end <= wall.into());
    for wall in [0, NOW - 1, NOW, NOW + 1, 253_402_300_800_000] {
        let expired = record.has_expired(|| Duration::from_millis(wall));
        assert_eq!(expired, ends(wall), "whether the key has expired at {wall}");
    }
}

/// Returns the times to live in a value of `cache-control`.
fn lives(value: &[u8]) -> Vec<Duration> {
    let value: String = value.iter().map(|byte| char::from(*byte)).collect();
    let space = |char: char| char.is_ascii_whitespace();
    let mut lives = Vec::new();
    for directive in value.split(',') {
        let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
        match name.trim_matches(space).to_ascii_lowercase().as_str() {
            "no-store" | "no-cache" => lives.push(Duration::ZERO),
            "max-age" => {
                let argument = argument.trim_matches(space);
                let quoted =
                    argument.len() >= 2 && argument.starts_with('"') && argument.ends_with('"');
                let digits = if quoted {
                    &argument[1..argument.len() - 1]
                } else {
                    argument
                };
                let is_number =
                    !digits.is_empty() && digits.chars().all(|digit| digit.is_ascii_digit());
                lives.push(match digits.parse() {
                    Ok(seconds) if is_number => Duration::from_secs(seconds),
                    // Too large for a number.
                    Err(_) if is_number => Duration::from_secs(u64::MAX),
                    _ => Duration::ZERO,
                });
            }
            _ => {}
        }
    }
    lives
}

/// Checks the end of a request whose lookup gets this answer.
fn assert_resolved(environment: Option<&str>, answer: &Answer<'_>, expected: &Expected) {
    let config = serde_json::json!({
        "lookup": {"cluster": "auth"},
        "environment": environment,
        "identity_headers": {"x-id": "key_id", "x-account": "account_id", "x-env": "environment"},
    });
    let settings =
        keystile::config::parse(config.to_string().as_bytes()).expect("a good configuration");
    let mut host = FakeHost::default();
    host.wall = Duration::from_millis(NOW);
    let mut engine = Engine::start(&mut host, settings);
    let headers: [(&str, &[u8]); 3] = [
        (":method", b"GET"),
        (":path", PATH.as_bytes()),
        ("x-api-key", KEY.as_bytes()),
    ];
    let now = Duration::from_secs(1);
    let stream = host.request(&mut engine, &headers, true, now);
    let token = host.callouts[0].token;
    let body = || answer.body(&BODIES, MAX_ANSWER);
    engine.on_answer(&mut host, token, answer.response(&body), now);
    let request = &host.streams[&stream];
    let (status, error, message) = match expected {
        Expected::Indeterminate => (503, "internal_error", "wrong"),
        Expected::NotFound => (401, "api_key_not_found", "not found"),
        Expected::Record(written) => match refusal(written, environment) {
            Some(refusal) => refusal,
            None => {
                assert_eq!(request.end, Some(End::Forwarded), "for {written:?}");
                for (name, value) in [
                    ("x-id", Some(&written.key_id)),
                    ("x-account", written.account_id.as_ref()),
                    ("x-env", written.environment.as_ref()),
                ] {
                    let values: Vec<_> = value.into_iter().cloned().collect();
                    assert_eq!(request.values(name), values, "{name}");
                }
                return;
            }
        },
    };
    let Some(End::Answered {
        status: actual,
        body,
        ..
    }) = &request.end
    else {
        panic!("{:?} for {expected:?}", request.end);
    };
    let body: serde_json::Value = serde_json::from_str(body).expect("a body of JSON");
    let said = body["message"].as_str().expect("a message");
    assert_eq!((*actual, &body["error"]), (status, &error.into()));
    assert!(said.contains(message), "{said:?} for {expected:?}");
}

/// Returns why a record leads to a refusal: status, error, and a part of the message.
fn refusal(
    written: &Written,
    environment: Option<&str>,
) -> Option<(u16, &'static str, &'static str)> {
    let covers = |prefix: &String| {
        if prefix.contains('*') {
            return false;
        }
        let slashed = format!("{}/", prefix.trim_end_matches('/'));
        let whole = prefix == PATH || (!prefix.ends_with("//") && PATH.starts_with(&slashed));
        prefix.starts_with('/') && whole
    };
    let endpoints = written.endpoints.as_ref();
    if environment.is_some_and(|ours| written.environment.as_deref() != Some(ours)) {
        Some((401, "api_key_not_found", "not found"))
    } else if !written.active {
        Some((401, "api_key_revoked", "revoked"))
    } else if written.expires_at.is_some_and(|end| end <= NOW.into()) {
        Some((401, "api_key_revoked", "expired"))
    } else if !endpoints.is_none_or(|prefixes| prefixes.iter().any(covers)) {
        Some((403, "endpoint_restricted", "not permitted"))
    } else {
        None
    }
}
