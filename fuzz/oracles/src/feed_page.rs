//! What an answer of the change feed amounts to, and what it does to verdicts that are kept.

use std::rc::Rc;
use std::time::Duration;

use keystile::auth::answer::{Answer as LookedUp, Source, Verdict};
use keystile::auth::feed::{Changed, MAX_PAGE, Page};
use keystile::auth::record::{Fields as RecordFields, Record};
use keystile::clock::Moment;
use keystile::config;
use keystile::engine::cache::Seed;
use keystile::engine::settings::Settings;
use keystile::engine::verdicts::{Asked, Verdicts};
use keystile::request::headers::Request;
use keystile::request::key_hash::{KeyHash, KeyHasher};
use serde_json::Value;

use crate::answer::Answer;
use crate::json::{Fields, Json};

/// The keys whose verdicts are kept when the page comes: SHA-256 of these.
const KEPT: [&str; 2] = ["one", "two"];

/// A page as it is written; `None` is any key.
#[derive(Debug, PartialEq)]
enum Expected {
    Current,
    News(String, Option<Vec<String>>),
    Broken,
}

/// Takes an answer as `answer.rs` has it written. It is read as a second reading says; verdicts are
/// forgotten that it names, and no others; and the next poll asks with its cursor, whatever that
/// is made of.
pub fn feed_page(input: &[u8]) {
    let answer = Answer::of(input);
    let read = Page::read(answer.status, answer.size, || {
        answer.body(&[b"200"], MAX_PAGE)
    });
    let expected = expected(&answer);
    let as_expected = match &read {
        Err(problem) => {
            assert!(problem.len() < 500, "a long problem: {problem}");
            Expected::Broken
        }
        Ok(Page::Current) => Expected::Current,
        Ok(Page::News { cursor, changed }) => {
            let hashes = match changed {
                Changed::Any => None,
                Changed::Keys(hashes) => Some(hashes.iter().map(ToString::to_string).collect()),
            };
            Expected::News(cursor.clone(), hashes)
        }
    };
    assert_eq!(as_expected, expected);
    assert_told(read, &expected);
}

fn expected(answer: &Answer<'_>) -> Expected {
    match answer.status {
        Some(b"204") => Expected::Current,
        Some(b"200") if answer.size <= MAX_PAGE => {
            let (cursor, hashes) = match news(answer.body) {
                Some(news) => news,
                None => return Expected::Broken,
            };
            Expected::News(cursor, hashes)
        }
        _ => Expected::Broken,
    }
}

/// The cursor, and the hashes in lower case.
fn news(body: &[u8]) -> Option<(String, Option<Vec<String>>)> {
    let fields = Fields::read(body, &["cursor", "changes", "reset"])?;
    // Given twice it is broken, whether it is needed or not.
    let changes = fields.one("changes").ok()?;
    let cursor = fields.text("cursor").ok()??.to_owned();
    if cursor.is_empty() || cursor.len() > 512 {
        return None;
    }
    match fields.one("reset").ok()? {
        Some(Json::Plain(Value::Bool(true))) => return Some((cursor, None)),
        None | Some(Json::Plain(Value::Bool(false))) => {}
        Some(_) => return None,
    }
    let Some(Json::List(changes)) = changes else {
        return None;
    };
    let hashes = changes.iter().map(|change| {
        let Json::Object(change) = change else {
            return None;
        };
        let hash = change.text("key_hash").ok()??;
        let is_hash = hash.len() == 64 && hash.chars().all(|digit| digit.is_ascii_hexdigit());
        is_hash.then(|| hash.to_ascii_lowercase())
    });
    Some((cursor, Some(hashes.collect::<Option<_>>()?)))
}

fn at(ms: u64) -> Moment {
    Moment {
        wall: Duration::from_millis(1_800_000_000_000 + ms),
        steady: Duration::from_millis(ms),
    }
}

/// Hands the page to somebody who has a cursor and two verdicts.
fn assert_told(page: Result<Page, String>, expected: &Expected) {
    let config = br#"{"lookup":{"cluster":"auth"},"feed":{}}"#;
    let config = config::parse(config).expect("a good configuration");
    let mut verdicts = Verdicts::new(&config, Seed::new(7));
    verdicts.poll(at(0)).expect("the first poll");
    let first = Page::News {
        cursor: "first".to_owned(),
        changed: Changed::Keys(Vec::new()),
    };
    verdicts.polled(Ok(first), at(1), 0);
    let hashes = KEPT.map(|key| KeyHasher::default().hash(key.as_bytes()));
    for hash in hashes {
        keep(&mut verdicts, &config, hash);
    }
    let under_way = KeyHasher::default().hash(b"three");
    let callout = config
        .lookup
        .callout(&under_way, &Request::default(), &config.policy.credential);
    let flight = verdicts.lead(under_way, 3, callout, false, at(3));
    let is_asked = |path: &str, cursor: &str| {
        let asked = path.strip_prefix("/v1/changes?after=").expect("its path");
        assert!(asked.bytes().all(|byte| byte.is_ascii_graphic()), "{path}");
        assert!(!asked.contains(['#', '&', '?', '/']), "{path}");
        assert_eq!(decoded(asked), cursor.as_bytes(), "the cursor");
    };
    is_asked(
        &verdicts.poll(at(2_000)).expect("the second poll").path,
        "first",
    );
    let polled = verdicts
        .polled(page, at(2_001), 0)
        .expect("there is a feed");
    assert_eq!(polled.changed.is_err(), *expected == Expected::Broken);
    let forgotten = |hash: &KeyHash| match expected {
        Expected::Broken | Expected::Current => false,
        Expected::News(_, None) => true,
        Expected::News(_, Some(hashes)) => hashes.contains(&hash.to_string()),
    };
    for hash in hashes {
        let asked = verdicts.ask(&hash, at(2_002));
        let known = matches!(asked, Asked::Known(Verdict::Active(_), Source::Cache));
        assert_eq!(known, !forgotten(&hash), "{hash}: {asked:?}");
    }
    // The answer to a lookup that was under way counts unless it may be of before.
    let landed = verdicts.land(&under_way, flight, active(), at(2_003));
    assert_eq!(landed.is_some(), !forgotten(&under_way), "{landed:?}");
    let next = verdicts.poll(at(9_000)).expect("the third poll");
    match expected {
        Expected::News(cursor, _) => is_asked(&next.path, cursor),
        Expected::Current | Expected::Broken => is_asked(&next.path, "first"),
    }
}

fn keep(verdicts: &mut Verdicts<u8>, config: &Settings, hash: KeyHash) {
    let callout = config
        .lookup
        .callout(&hash, &Request::default(), &config.policy.credential);
    let flight = verdicts.lead(hash, 0, callout, false, at(2));
    let landed = verdicts.land(&hash, flight, active(), at(3));
    assert!(landed.is_some(), "nothing has changed yet");
}

fn active() -> LookedUp {
    let record = Record::new(RecordFields {
        key_id: "key_1",
        ..RecordFields::default()
    });
    LookedUp {
        verdict: Verdict::Active(Rc::new(record.expect("a good record"))),
        max_age: None,
    }
}

/// RFC 3986 section 2.1; a `%` without two digits is a fault.
fn decoded(text: &str) -> Vec<u8> {
    let mut parts = text.split('%');
    let mut decoded = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at(2);
        decoded.push(u8::from_str_radix(digits, 16).expect("two digits"));
        decoded.extend_from_slice(rest.as_bytes());
    }
    decoded
}
