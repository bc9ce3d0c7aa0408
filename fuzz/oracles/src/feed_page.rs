//! What an answer of the change feed means, and what it does to cached verdicts.

use std::time::Duration;

use keystile::auth::feed::page::{Changed, MAX_PAGE, Page};
use keystile::auth::response::Response;
use keystile::config;
use keystile::engine::Engine;
use keystile::engine::fake_host::{End, FakeHost};
use keystile::request::headers::Request;
use keystile::request::key_hash::KeyHasher;
use serde_json::Value;

use crate::answer::Answer;
use crate::json::{Fields, Json};

/// The keys whose verdicts are cached when the page arrives.
const CACHED: [&str; 2] = ["one", "two"];

/// The key whose lookup is in flight then.
const IN_FLIGHT: &str = "three";

const RECORD: &str = r#"{"key_id":"key_1","status":"active"}"#;

/// A page as written in the answer; `None` means any key.
#[derive(Debug, PartialEq)]
enum Expected {
    Current,
    Changes(String, Option<Vec<String>>),
    Broken,
}

/// Takes an answer in the notation of `answer.rs`. It must be read as by a second implementation. The
/// verdicts that it names must be dropped, and no others. The next poll must use its cursor,
/// whatever that contains.
pub fn feed_page(input: &[u8]) {
    let answer = Answer::of(input);
    let read = Page::read(answer.status, answer.size, || {
        answer.body(&[b"200"], MAX_PAGE)
    });
    let expected = expected(&answer);
    let as_expected = match &read {
        Err(problem) => {
            assert!(problem.len() < 500, "the problem is too long: {problem}");
            Expected::Broken
        }
        Ok(Page::Current) => Expected::Current,
        Ok(Page::Changes { cursor, changed }) => {
            let hashes = match changed {
                Changed::Any => None,
                Changed::Keys(hashes) => Some(hashes.iter().map(ToString::to_string).collect()),
            };
            Expected::Changes(cursor.clone(), hashes)
        }
    };
    assert_eq!(as_expected, expected);
    assert_applied(&answer, &expected);
}

fn expected(answer: &Answer<'_>) -> Expected {
    match answer.status {
        Some(b"204") => Expected::Current,
        Some(b"200") if answer.size <= MAX_PAGE => {
            let (cursor, hashes) = match changes(answer.body) {
                Some(changes) => changes,
                None => return Expected::Broken,
            };
            Expected::Changes(cursor, hashes)
        }
        _ => Expected::Broken,
    }
}

/// Returns the cursor, and the hashes in lower case.
fn changes(body: &[u8]) -> Option<(String, Option<Vec<String>>)> {
    let fields = Fields::read(body, &["cursor", "changes", "reset"])?;
    // If the field is repeated, the page is broken, even if the field is not needed.
    let changes = fields.one("changes").ok()?;
    let cursor = fields.string("cursor").ok()??.to_owned();
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
        let hash = change.string("key_hash").ok()??;
        let is_hash = hash.len() == 64 && hash.chars().all(|digit| digit.is_ascii_hexdigit());
        is_hash.then(|| hash.to_ascii_lowercase())
    });
    Some((cursor, Some(hashes.collect::<Option<_>>()?)))
}

/// A worker with a feed.
struct Worker {
    engine: Engine<FakeHost>,
    host: FakeHost,
}

impl Worker {
    /// Sends a request with a key; returns its ID.
    fn request(&mut self, key: &str, ms: u64) -> u32 {
        let headers: [(&str, &[u8]); 3] = [
            (":method", b"GET"),
            (":path", b"/v1/x"),
            ("x-api-key", key.as_bytes()),
        ];
        self.host.request(&mut self.engine, &headers, true, at(ms))
    }

    /// Answers the only callout.
    fn answer(&mut self, body: &str, ms: u64) {
        let token = self.host.callouts[0].token;
        let headers: [(&str, &[u8]); 1] = [(":status", b"200")];
        let body = body.as_bytes();
        self.host
            .answers(&mut self.engine, token, &headers, body, at(ms));
    }

    /// Checks that the feed is polled with this cursor.
    fn assert_polls(&mut self, cursor: &str, ms: u64) {
        self.engine.on_tick(&mut self.host, at(ms));
        let polls = self.host.callouts_to("/v1/changes?after=");
        let path = polls.last().expect("a poll").path();
        let asked = path.strip_prefix("/v1/changes?after=").expect("its path");
        assert!(asked.bytes().all(|byte| byte.is_ascii_graphic()), "{path}");
        assert!(!asked.contains(['#', '&', '?', '/']), "{path}");
        assert_eq!(decoded(asked), cursor.as_bytes(), "the cursor");
    }

    fn log_entry(&self, stream: u32) -> Option<&str> {
        self.host.streams[&stream].log_entry.as_deref()
    }
}

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Delivers the page to a worker that has a cursor, two verdicts and a lookup in flight.
fn assert_applied(page: &Answer<'_>, expected: &Expected) {
    let config = br#"{
        "lookup": {"cluster": "auth", "timeout": "3s"},
        "feed": {},
        "credential": {"formats": [{"prefix": "", "min_length": 3}]}
    }"#;
    let settings = config::parse(config).expect("a good configuration");
    let mut host = FakeHost::default();
    let engine = Engine::start(&mut host, settings);
    let mut worker = Worker { engine, host };
    worker.assert_polls("", 0);
    worker.answer(r#"{"cursor":"first","changes":[]}"#, 1);
    for key in CACHED {
        worker.request(key, 2);
        worker.answer(RECORD, 3);
    }
    let waiting = worker.request(IN_FLIGHT, 3);
    worker.assert_polls("first", 2_000);
    let poll = worker.host.callouts.pop().expect("the second poll").token;
    let response = Response {
        headers: Request::new(
            &page
                .status
                .map_or(vec![], |status| vec![(":status", status)]),
        ),
        body_size: page.size,
        // Envoy's own replies with the last two may say why.
        body: &|| page.body(&[b"200", b"502", b"503"], MAX_PAGE),
    };
    worker
        .engine
        .on_answer(&mut worker.host, poll, response, at(2_001));
    let forgotten = |key: &str| match expected {
        Expected::Broken | Expected::Current => false,
        Expected::Changes(_, None) => true,
        Expected::Changes(_, Some(hashes)) => {
            let hash = KeyHasher::default().hash(key.as_bytes()).to_string();
            hashes.contains(&hash)
        }
    };
    for key in CACHED {
        let stream = worker.request(key, 2_002);
        let cached = Some("outcome=allowed source=cache key_id=key_1");
        let expected = cached.filter(|_| !forgotten(key));
        assert_eq!(worker.log_entry(stream), expected, "{key}");
    }
    // The answer to the lookup in flight is used, unless it may predate the change.
    worker.answer(RECORD, 2_003);
    let end = worker.host.streams[&waiting].end.as_ref();
    let resolved = Some(&End::Forwarded).filter(|_| !forgotten(IN_FLIGHT));
    assert_eq!(end, resolved, "the lookup in flight");
    match expected {
        Expected::Changes(cursor, _) => worker.assert_polls(cursor, 9_000),
        Expected::Current | Expected::Broken => worker.assert_polls("first", 9_000),
    }
}

/// Decodes percent-encoding (RFC 3986 section 2.1). Panics if a `%` has no two digits.
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
