//! Plays the events of the tables on an engine and its fake host.

use std::collections::HashMap;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::*;
use crate::auth::cause::Unsent;
use crate::engine::fake_host::{End, FakeHost, Sent, Stream};
use crate::request::key_hash::{KeyHash, KeyHasher};

/// When each table begins by the wall clock, in ms since the Unix epoch.
const EPOCH: u64 = 1_800_000_000_000;

/// When each table begins by the monotonic clock, in ms.
const START: u64 = 7_000_000;

/// A worker and its requests.
pub(super) struct Scene {
    pub(super) engine: Engine<FakeHost>,
    pub(super) host: FakeHost,
    /// The paused requests.
    pub(super) paused: HashMap<char, u32>,
    /// The key of each request's last lookup.
    keys: HashMap<char, KeyHash>,
    /// The callouts that no request started: refreshes, and the poll in flight.
    refreshes: Vec<Token>,
}

pub(super) fn hash(key: &str) -> KeyHash {
    KeyHasher::default().hash(key.as_bytes())
}

pub(super) fn at(ms: u64) -> Duration {
    Duration::from_millis(START + ms)
}

/// Returns the headers and body for `active`, `active until 5000` (ms), `active in staging`,
/// `active large staging` (too large to be kept), `revoked`, `revoked in staging`, `not_found`,
/// `nothing` (no answer at all), `overflow`, or a status; each may have `, cache-control: max-age=7`
/// or another header.
fn answer(text: &str) -> (Vec<(&str, Vec<u8>)>, String) {
    let (text, more) = match text.split_once(", ") {
        None => (text, None),
        Some((text, header)) => (text, header.split_once(": ")),
    };
    let mut words = text.split(' ');
    let kind = words.next().unwrap();
    let (mut environment, mut rest) = ("production", String::new());
    match (words.next(), words.next()) {
        (None, _) => {}
        (Some("until"), Some(ms)) => {
            let ms = EPOCH + ms.parse::<u64>().unwrap();
            let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
            let time = time.unwrap().format(&Rfc3339).unwrap();
            rest = format!(r#","expires_at":"{time}""#);
        }
        (Some("in"), Some(other)) => environment = other,
        (Some("large"), Some(other)) => {
            environment = other;
            rest = format!(r#","endpoints":["{}"]"#, "/v1".repeat(2000));
        }
        _ => panic!("{text}"),
    }
    let record = |status| {
        format!(r#"{{"key_id":"key_1","status":"{status}","environment":"{environment}"{rest}}}"#)
    };
    let (mut headers, body) = match kind {
        "active" | "revoked" => (vec![(":status", b"200".to_vec())], record(kind)),
        "not_found" => (vec![(":status", b"404".to_vec())], String::new()),
        "nothing" => (vec![], String::new()),
        "overflow" => (
            vec![
                (":status", b"503".to_vec()),
                ("x-envoy-overloaded", b"true".to_vec()),
            ],
            String::new(),
        ),
        status => (vec![(":status", status.as_bytes().to_vec())], String::new()),
    };
    headers.extend(more.map(|(name, value)| (name, value.as_bytes().to_vec())));
    (headers, body)
}

/// Returns a request's outcome, and where its verdict came from: `active cache`, `nothing`.
fn shown(stream: &Stream) -> String {
    let entry = stream.log_entry.as_deref().unwrap();
    let field = |name: &str| {
        let mut fields = entry.split(' ');
        fields.find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
    };
    let kind = match (field("outcome").unwrap(), &stream.end) {
        ("allowed", Some(End::Forwarded)) => {
            assert_eq!(stream.values("x-keystile-key-id"), ["key_1"]);
            "active"
        }
        ("api_key_revoked", Some(End::Answered { status: 401, .. })) => "revoked",
        ("api_key_not_found", Some(End::Answered { status: 401, .. })) => "not_found",
        ("internal_error", Some(End::Answered { status: 503, .. })) => "nothing",
        other => panic!("{other:?}"),
    };
    assert_eq!(
        stream.values("x-api-key"),
        [] as [&str; 0],
        "the key was forwarded to the upstream"
    );
    match field("source") {
        Some(source) => format!("{kind} {source}"),
        None => kind.to_owned(),
    }
}

impl Scene {
    /// `cache` is that section of the configuration, and may continue with other sections.
    pub(super) fn new(cache: &str) -> Self {
        let config = format!(
            r#"{{"lookup":{{"cluster":"auth"}},"environment":"production","introspection":{{}},
                "credential":{{"formats":[{{"prefix":"k","min_length":2,"max_length":64}}]}},
                "cache":{cache}}}"#
        );
        // So that no poll comes early.
        let mut host = FakeHost::without_randomness();
        let engine = Engine::start(&mut host, crate::config::parse(config.as_bytes()).unwrap());
        Self {
            engine,
            host,
            paused: HashMap::new(),
            keys: HashMap::new(),
            refreshes: Vec::new(),
        }
    }

    /// Plays an event and returns its result.
    pub(super) fn happens(&mut self, ms: u64, event: &str) -> String {
        let now = at(ms);
        self.host.wall = Duration::from_millis(EPOCH + ms);
        let (who, what) = event.split_once(' ').unwrap_or((event, ""));
        let request = who.chars().next().unwrap();
        match (who, what) {
            ("tick", _) => {
                self.engine.on_tick(&mut self.host, now);
                self.resolved()
            }
            ("feed", "polls") => {
                self.engine.on_tick(&mut self.host, now);
                match self.host.callouts_to("/v1/changes").last() {
                    Some(poll) if !self.refreshes.contains(&poll.token) => {
                        self.refreshes.push(poll.token);
                        poll.path().replace("/v1/changes?after=", "after ")
                    }
                    _ => "not yet".to_owned(),
                }
            }
            ("feed", what) => self.of_feed(what, now),
            ("uncached", what) => {
                let uncached = self.request("key", "/v1/keys/me", now);
                let token = self.host.callouts.last().unwrap().token;
                self.answers(token, what, now);
                self.host.leaves(&mut self.engine, uncached);
                String::new()
            }
            ("refresh", what) => {
                let token = self.refreshes.remove(0);
                self.gets(token, what, now)
            }
            (_, "leaves") => {
                if let Some(stream) = self.paused.remove(&request) {
                    self.host.leaves(&mut self.engine, stream);
                }
                self.resolved()
            }
            (_, what) if what.starts_with("asks") => {
                let (how, key) = what.split_once(" about ").unwrap_or((what, "key"));
                self.host.unsent = match how {
                    "asks in vain" => Some(Unsent::NotAccepted),
                    "asks in overflow" => Some(Unsent::Overflow),
                    _ => None,
                };
                let came = self.asks(request, key, now);
                self.host.unsent = None;
                came
            }
            (_, what) => {
                let path = format!("/v1/key-hashes/{}", self.keys[&request]);
                match self.host.callouts_to(&path).last() {
                    Some(lookup) => self.gets(lookup.token, what, now),
                    None => "too late".to_owned(),
                }
            }
        }
    }

    pub(super) fn request(&mut self, key: &str, path: &str, now: Duration) -> u32 {
        let headers: [(&str, &[u8]); 3] = [
            (":method", b"GET"),
            (":path", path.as_bytes()),
            ("x-api-key", key.as_bytes()),
        ];
        self.host.request(&mut self.engine, &headers, true, now)
    }

    fn asks(&mut self, request: char, key: &str, now: Duration) -> String {
        let before: Vec<_> = self.host.callouts.iter().map(|sent| sent.token).collect();
        let stream = self.request(key, "/v1/x", now);
        let is_new = |sent: &&Sent| !before.contains(&sent.token);
        let sent: Vec<_> = self.host.callouts.iter().filter(is_new).collect();
        let sent: Vec<_> = sent.iter().map(|sent| sent.token).collect();
        assert!(
            sent.len() <= 1,
            "more than one callout was sent for a request"
        );
        self.keys.insert(request, hash(key));
        if self.host.streams[&stream].end.is_some() {
            let came = shown(&self.host.leaves(&mut self.engine, stream));
            let refresh = if sent.is_empty() { "" } else { ", refresh" };
            self.refreshes.extend(sent);
            return came + refresh;
        }
        self.paused.insert(request, stream);
        let flow = self.host.trailers(&mut self.engine, stream, &[]);
        assert_eq!(
            flow,
            Flow::Pause,
            "a paused request was forwarded when its trailers arrived"
        );
        match sent.is_empty() {
            true => "waits".to_owned(),
            false => "asks".to_owned(),
        }
    }

    /// Returns `again` if the answer predates a change and the lookup has been sent again.
    fn gets(&mut self, token: Token, what: &str, now: Duration) -> String {
        let callouts = self.host.callouts.len();
        self.answers(token, what.strip_prefix("gets ").unwrap(), now);
        if self.host.callouts.len() == callouts {
            return "again".to_owned();
        }
        self.resolved()
    }

    pub(super) fn answers(&mut self, token: Token, what: &str, now: Duration) {
        let (headers, body) = answer(what);
        let headers = headers.iter();
        let headers: Vec<_> = headers
            .map(|(name, value)| (*name, value.as_slice()))
            .collect();
        self.host
            .answers(&mut self.engine, token, &headers, body.as_bytes(), now);
    }

    /// Returns the requests that are no longer paused: `A: active lookup; B: active coalesced`.
    fn resolved(&mut self) -> String {
        let ended = self.paused.iter();
        let mut ended: Vec<_> = ended
            .map(|(request, stream)| (*stream, *request))
            .filter(|(stream, _)| self.host.streams[stream].end.is_some())
            .collect();
        ended.sort_unstable();
        let ended = ended.into_iter().map(|(stream, request)| {
            self.paused.remove(&request);
            let stream = self.host.leaves(&mut self.engine, stream);
            format!("{request}: {}", shown(&stream))
        });
        ended.collect::<Vec<_>>().join("; ")
    }

    fn of_feed(&mut self, what: &str, now: Duration) -> String {
        let status = |status: &'static [u8]| vec![(":status", status)];
        let (headers, body) = match what.strip_prefix("gets ") {
            None if what == "fails" => (vec![], String::new()),
            None => panic!("{what}"),
            Some("current") => (status(b"204"), String::new()),
            Some(news) => {
                let (keys, cursor) = news.split_once(", cursor ").unwrap();
                let named = keys.split_whitespace().filter(|_| keys != "any");
                let changes: Vec<_> = named
                    .map(|key| format!(r#"{{"key_hash":"{}"}}"#, hash(key)))
                    .collect();
                let (changes, reset) = (changes.join(","), keys == "any");
                let page =
                    format!(r#"{{"cursor":"{cursor}","changes":[{changes}],"reset":{reset}}}"#);
                (status(b"200"), page)
            }
        };
        let kinds = [
            (Counter::PollsCurrent, "current"),
            (Counter::PollsChanges, "changes"),
            (Counter::PollsReset, "any"),
            (Counter::PollsFailed, "failed"),
        ];
        let poll = self.host.callouts_to("/v1/changes").pop().unwrap();
        self.refreshes.retain(|other| *other != poll.token);
        let before = kinds.map(|(counter, _)| self.host.counted(counter));
        let lines = self.host.log.len();
        let host = &mut self.host;
        host.answers(&mut self.engine, poll.token, &headers, body.as_bytes(), now);
        self.engine.flush(&mut self.host, now);
        let mut counted = kinds.iter().zip(before);
        let counted = counted.find(|((counter, _), before)| self.host.counted(*counter) > *before);
        let ((_, kind), _) = counted.unwrap();
        let is_change = |line: &str| kind == &"failed" || line.ends_with("answered again");
        let logged = self.host.log[lines..].iter().any(|(_, line)| {
            line.starts_with("keystile: change feed of cluster ") && is_change(line)
        });
        format!("{kind}{}", if logged { ", logged" } else { "" })
    }
}
