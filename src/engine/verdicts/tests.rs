//! Tables over time: what happens when, and what must come of it.
//!
//! Requests are letters. All are about one key, unless a row names another.
//!
//! | event | means |
//! |---|---|
//! | `A asks`, `A asks about k2` | a request comes, and makes the callout where it is to |
//! | `A asks in vain` | the same, but its callout is not accepted, for whatever reason |
//! | `A asks in overflow` | the same, as the circuit breaker is full |
//! | `A gets active, max-age=7` | the answer to A's callout |
//! | `A leaves` | its client is gone |
//! | `root asks` | the root context makes what it has to make |
//! | `root gets nothing` | the answer to the oldest of those |
//! | `tick` | who has waited too long is answered |
//! | `feed polls` | the feed is polled, if it is time |
//! | `feed gets k1 k2, cursor 7` | changes of these keys; `any`: a reset; `current`: 204 |
//! | `feed fails` | the poll was answered otherwise |
//! | `live active` | a lookup beside these came to a verdict |

#![allow(
    clippy::arithmetic_side_effects,
    reason = "a test that overflows fails, as it should"
)]

mod feed;
mod overflow;

use std::collections::HashMap;
use std::fmt::Write;
use std::rc::Rc;

use super::*;
use crate::auth::record::{Fields, Record};
use crate::config;
use crate::engine::inflight::{MAX_WAITING, MAX_WAITING_FOR_ONE};
use crate::engine::settings::Settings;
use crate::request::headers::Request;
use crate::request::key_hash::KeyHasher;

/// In ms since the Unix epoch, by the wall clock: when each table begins.
const EPOCH: u64 = 1_800_000_000_000;

const TIMEOUT: Duration = Duration::from_millis(250);

struct Scene {
    verdicts: Verdicts<char>,
    /// Of those who lead or joined.
    lookups: HashMap<char, (KeyHash, FlightId)>,
    of_root: Vec<(KeyHash, FlightId)>,
    /// How often a callout was made.
    callouts: usize,
    config: Settings,
}

fn hash(key: &str) -> KeyHash {
    KeyHasher::default().hash(key.as_bytes())
}

fn at(ms: u64) -> Moment {
    Moment {
        wall: Duration::from_millis(EPOCH + ms),
        steady: Duration::from_millis(7_000_000 + ms),
    }
}

fn callout() -> Callout {
    Callout::to("/lookup".to_owned(), TIMEOUT)
}

/// `active`, `active until 5000` (ms), `active in staging`, `active large staging` (more than is
/// kept), `revoked`, `revoked in staging`, `not_found`, `nothing` or `overflow`.
fn verdict(text: &str) -> Verdict {
    let mut words = text.split(' ');
    let kind = words.next();
    let long = ["/v1".repeat(2000)];
    let long = long.each_ref().map(String::as_str);
    let mut fields = Fields {
        key_id: "key_1",
        environment: Some("production"),
        ..Fields::default()
    };
    match (words.next(), words.next()) {
        (None, _) => {}
        (Some("until"), Some(ms)) => {
            fields.expires_at = Some(Duration::from_millis(EPOCH + ms.parse::<u64>().unwrap()));
        }
        (Some("in"), environment) => fields.environment = environment,
        (Some("large"), environment) => {
            fields.environment = environment;
            fields.endpoints = Some(&long);
        }
        _ => panic!("{text}"),
    }
    let record = || Rc::new(Record::new(fields).unwrap());
    match kind {
        Some("active") => Verdict::Active(record()),
        Some("revoked") => Verdict::Revoked(record()),
        Some("not_found") => Verdict::NotFound,
        Some("nothing") => Verdict::Indeterminate(Cause::NoAnswer),
        Some("overflow") => Verdict::Indeterminate(Cause::NotSent(Unsent::Overflow)),
        _ => panic!("{text}"),
    }
}

fn answer(text: &str) -> Answer {
    let (text, max_age) = match text.split_once(", max-age=") {
        None => (text, None),
        Some((text, seconds)) => (text, Some(Duration::from_secs(seconds.parse().unwrap()))),
    };
    Answer {
        verdict: verdict(text),
        max_age,
    }
}

fn shown(verdict: &Verdict, source: Option<Source>) -> String {
    let kind = match verdict {
        Verdict::Active(_) => "active",
        Verdict::Revoked(_) => "revoked",
        Verdict::NotFound => "not_found",
        Verdict::Indeterminate(_) => "nothing",
    };
    match source {
        Some(source) => format!("{kind} {}", source.name()),
        None => kind.to_owned(),
    }
}

impl Scene {
    fn new(cache: &str) -> Self {
        let config = format!(
            r#"{{"lookup":{{"cluster":"auth"}},"environment":"production","cache":{cache}}}"#
        );
        let config = config::parse(config.as_bytes()).unwrap();
        Self {
            verdicts: Verdicts::new(&config, Seed::new(7)),
            lookups: HashMap::new(),
            of_root: Vec::new(),
            callouts: 0,
            config,
        }
    }

    /// What comes of an event.
    fn happens(&mut self, ms: u64, event: &str) -> String {
        let now = at(ms);
        let (who, what) = event.split_once(' ').unwrap_or((event, ""));
        let request = who.chars().next().unwrap();
        match (who, what) {
            ("tick", _) => {
                let overdue = self.verdicts.overdue(now);
                said(overdue.iter().map(|(w, v, source)| (w.request, v, *source)))
            }
            ("feed", what) => self.of_feed(what, now),
            ("live", what) => {
                self.verdicts.learn(&hash("key"), &mut verdict(what), now);
                String::new()
            }
            ("root", "asks") => {
                let before = self.of_root.len();
                while let Some((hash, id, _)) = self.verdicts.next_of_root(now) {
                    self.callouts += 1;
                    self.of_root.push((hash, id));
                }
                assert!(!self.verdicts.needs_root());
                format!("{} callouts", self.of_root.len() - before)
            }
            ("root", what) => {
                let (hash, id) = self.of_root.remove(0);
                self.lands(&hash, id, what.strip_prefix("gets ").unwrap(), now)
            }
            (_, "leaves") => {
                let (hash, id) = self.lookups[&request];
                match self.verdicts.leave(&hash, id, &request) {
                    true => "an answer is lost".to_owned(),
                    false => String::new(),
                }
            }
            (_, what) if what.starts_with("asks") => {
                let key = what.strip_prefix("asks about ").unwrap_or("key");
                let unsent = match what {
                    "asks in vain" => Some(Unsent::NotAccepted),
                    "asks in overflow" => Some(Unsent::Overflow),
                    _ => None,
                };
                self.asks(request, hash(key), unsent, now)
            }
            (_, what) => {
                let (hash, id) = self.lookups[&request];
                self.lands(&hash, id, what.strip_prefix("gets ").unwrap(), now)
            }
        }
    }

    fn of_feed(&mut self, what: &str, now: Moment) -> String {
        let page = match what.strip_prefix("gets ") {
            None if what == "polls" => {
                let Some(callout) = self.verdicts.poll(now) else {
                    return "not yet".to_owned();
                };
                return callout.path.replace("/v1/changes?after=", "after ");
            }
            None if what == "fails" => Err("no answer".to_owned()),
            None => panic!("{what}"),
            Some("current") => Ok(Page::Current),
            Some(news) => {
                let (keys, cursor) = news.split_once(", cursor ").unwrap();
                let changed = match keys {
                    "any" => Changed::Any,
                    keys => Changed::Keys(keys.split_whitespace().map(hash).collect()),
                };
                let cursor = cursor.to_owned();
                Ok(Page::News { cursor, changed })
            }
        };
        let polled = self.verdicts.polled(page, now, 0).unwrap();
        let turns = if polled.turns { ", at last" } else { "" };
        match polled.changed {
            Err(_) => format!("nobody knows{turns}"),
            Ok(Changed::Any) => format!("any{turns}"),
            Ok(Changed::Keys(hashes)) => format!("{} changed{turns}", hashes.len()),
        }
    }

    fn asks(
        &mut self,
        request: char,
        hash: KeyHash,
        unsent: Option<Unsent>,
        now: Moment,
    ) -> String {
        match (self.verdicts.ask(&hash, now), unsent) {
            (Asked::Known(verdict, source), _) => {
                let refresh = match self.verdicts.needs_root() {
                    true => ", refresh",
                    false => "",
                };
                shown(&verdict, Some(source)) + refresh
            }
            (Asked::Lookup { .. }, Some(unsent)) => {
                let (verdict, source) = self.verdicts.not_sent(&hash, unsent, now);
                shown(&verdict, source)
            }
            (Asked::Lookup { tests_outage }, None) => {
                self.callouts += 1;
                let id = self
                    .verdicts
                    .lead(hash, request, callout(), tests_outage, now);
                self.lookups.insert(request, (hash, id));
                "asks".to_owned()
            }
            (Asked::Join, _) => match self.verdicts.join(&hash, request, now) {
                Ok(id) => {
                    self.lookups.insert(request, (hash, id));
                    "waits".to_owned()
                }
                Err(cause) => cause.to_string(),
            },
        }
    }

    fn lands(&mut self, hash: &KeyHash, id: FlightId, text: &str, now: Moment) -> String {
        match self.verdicts.land(hash, id, answer(text), now) {
            None => "too late".to_owned(),
            Some(landed) => said(
                landed
                    .waiters
                    .iter()
                    .map(|waiter| (waiter.request, &landed.verdict, landed.source(waiter))),
            ),
        }
    }
}

/// `A: active lookup; B: active coalesced`
fn said<'a>(settled: impl Iterator<Item = (char, &'a Verdict, Option<Source>)>) -> String {
    let mut text = String::new();
    for (request, verdict, source) in settled {
        let separator = if text.is_empty() { "" } else { "; " };
        write!(text, "{separator}{request}: {}", shown(verdict, source)).unwrap();
    }
    text
}

/// Rows: ms, event, what must come of it.
type Rows<'a> = &'a [(u64, &'a str, &'a str)];

/// Exact times: nothing ends early, and nothing is refreshed.
const EXACT: &str = r#"{"jitter":0,"refresh_ahead":1}"#;

fn play(name: &str, cache: &str, rows: Rows<'_>) -> Scene {
    let mut scene = Scene::new(cache);
    for (ms, event, expected) in rows {
        let came = scene.happens(*ms, event);
        assert_eq!(came, *expected, "{name}: {event} at {ms} ms");
    }
    scene
}

fn all(tables: &[(&str, &str, Rows<'_>)]) {
    for (name, cache, rows) in tables {
        play(name, cache, rows);
    }
}

#[test]
fn a_verdict_is_fresh_for_its_time() {
    all(&[
        (
            "active: 60 s",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (10, "A gets active", "A: active lookup"),
                (11, "B asks", "active cache"),
                (59_999, "C asks", "active cache"),
                // Counted from the callout: what changed since is not in the answer.
                (60_000, "D asks", "asks"),
            ],
        ),
        (
            "not found: 5 s",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (10, "A gets not_found", "A: not_found lookup"),
                (4_999, "B asks", "not_found cache"),
                (5_000, "C asks", "asks"),
                (5_001, "C gets active", "C: active lookup"),
                (5_002, "D asks", "active cache"),
            ],
        ),
        (
            "revoked: 5 min",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (10, "A gets revoked", "A: revoked lookup"),
                (299_999, "B asks", "revoked cache"),
                (300_000, "C asks", "asks"),
            ],
        ),
        (
            "configured otherwise",
            r#"{"jitter":0,"allow_ttl":"2s","not_found_ttl":"1s","revoked_ttl":"3s"}"#,
            &[
                (0, "A asks about k1", "asks"),
                (0, "B asks about k2", "asks"),
                (0, "C asks about k3", "asks"),
                (0, "A gets active", "A: active lookup"),
                (0, "B gets not_found", "B: not_found lookup"),
                (0, "C gets revoked", "C: revoked lookup"),
                (999, "D asks about k2", "not_found cache"),
                (1_000, "D asks about k2", "asks"),
                (1_500, "E asks about k1", "active cache"),
                (2_000, "E asks about k1", "asks"),
                (2_999, "F asks about k3", "revoked cache"),
                (3_000, "F asks about k3", "asks"),
            ],
        ),
        (
            "0s: not kept",
            r#"{"allow_ttl":"0s","not_found_ttl":"0s","revoked_ttl":"0s"}"#,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active", "A: active lookup"),
                (0, "B asks", "asks"),
                // And so there is nothing for an outage either.
                (0, "B gets nothing", "B: nothing"),
                (0, "C asks", "asks"),
                (0, "C gets revoked", "C: revoked lookup"),
                (0, "D asks", "asks"),
                (0, "D gets not_found", "D: not_found lookup"),
                (0, "E asks", "asks"),
            ],
        ),
        (
            "less than a second: a good verdict is no outage",
            r#"{"jitter":0,"refresh_ahead":0.5,"allow_ttl":"400ms"}"#,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active", "A: active lookup"),
                (200, "B asks", "active cache, refresh"),
                (201, "root asks", "1 callouts"),
                (202, "root gets active", ""),
                (601, "C asks", "asks"),
                (602, "D asks", "waits"),
            ],
        ),
        (
            "slower than its own time",
            r#"{"jitter":0,"allow_ttl":"100ms","stale_if_error":"0s"}"#,
            &[
                (0, "A asks", "asks"),
                (150, "A gets active", "A: active lookup"),
                (150, "B asks", "asks"),
            ],
        ),
    ]);
}

#[test]
fn cache_control_shortens_and_never_lengthens() {
    all(&[
        (
            "shorter",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active, max-age=7", "A: active lookup"),
                (6_999, "B asks", "active cache"),
                (7_000, "C asks", "asks"),
            ],
        ),
        (
            "longer",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (0, "A gets not_found, max-age=3600", "A: not_found lookup"),
                (4_999, "B asks", "not_found cache"),
                (5_000, "C asks", "asks"),
            ],
        ),
        (
            "not at all, and what was known before goes too",
            r#"{"jitter":0,"refresh_ahead":0.5}"#,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active", "A: active lookup"),
                (30_000, "B asks", "active cache, refresh"),
                (30_001, "root asks", "1 callouts"),
                (30_002, "root gets active, max-age=0", ""),
                (30_003, "C asks", "asks"),
                (30_004, "C gets nothing", "C: nothing"),
            ],
        ),
        (
            "on nothing it has no say",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active", "A: active lookup"),
                (60_000, "B asks", "asks"),
                (60_000, "B gets nothing, max-age=0", "B: active stale"),
            ],
        ),
    ]);
}

#[test]
fn indeterminate_is_never_kept() {
    all(&[(
        "each asks again",
        EXACT,
        &[
            (0, "A asks", "asks"),
            (0, "A gets nothing", "A: nothing"),
            (0, "B asks", "asks"),
            (0, "B gets nothing", "B: nothing"),
            (0, "C asks in vain", "nothing"),
            (0, "D asks", "asks"),
            (0, "D gets active", "D: active lookup"),
        ],
    )]);
}

#[test]
fn an_outage_is_survived_in_grace() {
    all(&[
        (
            "fresh serves, then grace, then nothing",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active", "A: active lookup"),
                (59_999, "B asks", "active cache"),
                (60_000, "C asks", "asks"),
                (60_250, "C gets nothing", "C: active stale"),
                (60_251, "D asks", "active stale"),
                (599_998, "E asks", "asks"),
                (599_999, "E gets nothing", "E: active stale"),
                // Ten minutes after the last good verdict it is over.
                (600_000, "F asks", "asks"),
                (600_000, "F gets nothing", "F: nothing"),
            ],
        ),
        (
            "one lookup a second, and the first after the outage counts",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active", "A: active lookup"),
                (60_000, "B asks", "asks"),
                (60_250, "B gets nothing", "B: active stale"),
                (61_249, "C asks", "active stale"),
                (61_250, "D asks", "asks"),
                // Others need not wait for what D finds out.
                (61_251, "E asks", "active stale"),
                (61_500, "D gets nothing", "D: active stale"),
                (62_499, "F asks", "active stale"),
                (62_500, "G asks in vain", "active stale"),
                (63_499, "H asks", "active stale"),
                (63_500, "I asks", "asks"),
                (63_501, "I gets revoked", "I: revoked lookup"),
                (63_502, "J asks", "revoked cache"),
            ],
        ),
        (
            "an outage long ago is none: others wait",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active", "A: active lookup"),
                (60_000, "B asks in vain", "active stale"),
                (62_000, "C asks", "asks"),
                (62_001, "D asks", "waits"),
                (
                    62_002,
                    "C gets not_found",
                    "C: not_found lookup; D: not_found coalesced",
                ),
            ],
        ),
        (
            "the first lookup after the time is waited for",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active", "A: active lookup"),
                (60_000, "B asks", "asks"),
                (60_001, "C asks", "waits"),
                (60_250, "B gets nothing", "B: active stale; C: active stale"),
            ],
        ),
        (
            "a good verdict begins a new grace",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active", "A: active lookup"),
                (599_000, "B asks", "asks"),
                (599_000, "B gets active", "B: active lookup"),
                (1_198_999, "C asks", "asks"),
                (1_198_999, "C gets nothing", "C: active stale"),
                (1_199_000, "D asks in vain", "nothing"),
            ],
        ),
        (
            "off",
            r#"{"jitter":0,"refresh_ahead":1,"stale_if_error":"0s"}"#,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active", "A: active lookup"),
                (59_999, "B asks", "active cache"),
                (60_000, "C asks", "asks"),
                (60_000, "C gets nothing", "C: nothing"),
            ],
        ),
        (
            "shorter than the time itself: fresh serves all the same",
            r#"{"jitter":0,"refresh_ahead":1,"stale_if_error":"10s"}"#,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active", "A: active lookup"),
                (59_999, "B asks", "active cache"),
                (60_000, "C asks in vain", "nothing"),
            ],
        ),
    ]);
}

/// Clients that leave before the lookup's timeout leave a note of the outage all the same.
#[test]
fn impatient_clients_are_served_in_grace_too() {
    all(&[(
        "the second is",
        EXACT,
        &[
            (0, "A asks", "asks"),
            (0, "A gets active", "A: active lookup"),
            (60_000, "B asks", "asks"),
            (60_100, "B leaves", "an answer is lost"),
            (60_101, "root asks", "1 callouts"),
            (60_150, "C asks", "waits"),
            (60_250, "C leaves", ""),
            (60_351, "root gets nothing", ""),
            (60_352, "D asks", "active stale"),
            (61_350, "E asks", "active stale"),
            (61_351, "F asks", "asks"),
            (61_400, "F leaves", "an answer is lost"),
            (61_400, "root asks", "1 callouts"),
            (61_400, "G asks", "active stale"),
        ],
    )]);
}

#[test]
fn grace_is_for_allows_alone() {
    all(&[
        (
            "not for denials",
            EXACT,
            &[
                (0, "A asks about k1", "asks"),
                (0, "A gets not_found", "A: not_found lookup"),
                (0, "B asks about k2", "asks"),
                (0, "B gets revoked", "B: revoked lookup"),
                (5_000, "C asks about k1", "asks"),
                (5_000, "C gets nothing", "C: nothing"),
                (300_000, "D asks about k2", "asks"),
                (300_000, "D gets nothing", "D: nothing"),
            ],
        ),
        (
            "not for a key known as revoked, or as gone",
            r#"{"jitter":0,"revoked_ttl":"0s","not_found_ttl":"0s"}"#,
            &[
                (0, "A asks about k1", "asks"),
                (0, "A gets active", "A: active lookup"),
                (0, "B asks about k2", "asks"),
                (0, "B gets active", "B: active lookup"),
                (60_000, "C asks about k1", "asks"),
                (60_000, "C gets revoked", "C: revoked lookup"),
                (60_000, "D asks about k2", "asks"),
                (60_000, "D gets not_found", "D: not_found lookup"),
                (60_001, "E asks about k1", "asks"),
                (60_001, "E gets nothing", "E: nothing"),
                (60_001, "F asks about k2", "asks"),
                (60_001, "F gets nothing", "F: nothing"),
            ],
        ),
        (
            "not past its expiry",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active until 90000", "A: active lookup"),
                (89_999, "B asks in vain", "active stale"),
                (90_000, "C asks", "asks"),
                (90_000, "C gets nothing", "C: nothing"),
            ],
        ),
        (
            "not for another environment, which is as good as unknown",
            EXACT,
            &[
                (0, "A asks about k1", "asks"),
                (0, "A gets active in staging", "A: not_found lookup"),
                (0, "B asks about k2", "asks"),
                (0, "B gets revoked in staging", "B: not_found lookup"),
                (0, "E asks about k3", "asks"),
                (0, "E gets active large staging", "E: not_found lookup"),
                (4_999, "C asks about k1", "not_found cache"),
                (4_999, "D asks about k2", "not_found cache"),
                (4_999, "E asks about k3", "not_found cache"),
                (5_000, "C asks about k1", "asks"),
                (5_000, "C gets nothing", "C: nothing"),
                (5_000, "D asks about k2", "asks"),
                (5_000, "D gets nothing", "D: nothing"),
            ],
        ),
    ]);
}

#[test]
fn concurrent_requests_share_a_lookup() {
    let three = "A: active lookup; B: active coalesced; C: active coalesced";
    all(&[
        (
            "one lookup for all",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (1, "B asks", "waits"),
                (2, "C asks", "waits"),
                (2, "D asks about k2", "asks"),
                (3, "A gets active", three),
                (3, "A gets active", "too late"),
                (4, "E asks", "active cache"),
            ],
        ),
        (
            "whatever comes of it",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (1, "B asks", "waits"),
                (
                    2,
                    "A gets not_found",
                    "A: not_found lookup; B: not_found coalesced",
                ),
                (5_000, "A asks", "asks"),
                (5_001, "B asks", "waits"),
                (5_002, "A gets nothing", "A: nothing; B: nothing"),
            ],
        ),
        (
            "a verdict that is not kept is shared all the same",
            r#"{"allow_ttl":"0s"}"#,
            &[
                (0, "A asks", "asks"),
                (1, "B asks", "waits"),
                (2, "C asks", "waits"),
                (3, "A gets active", three),
            ],
        ),
        (
            "a follower leaves",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (1, "B asks", "waits"),
                (2, "C asks", "waits"),
                (3, "B leaves", ""),
                (4, "A gets active", "A: active lookup; C: active coalesced"),
                (5, "B leaves", ""),
            ],
        ),
        (
            "the leader leaves alone, and something comes of it all the same",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (1, "A leaves", "an answer is lost"),
                (2, "B asks", "waits"),
                (2, "B leaves", ""),
                (2, "root asks", "1 callouts"),
                (3, "C asks", "waits"),
                (4, "root gets active", "C: active coalesced"),
                (5, "D asks", "active cache"),
            ],
        ),
        (
            "the leader leaves others",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (1, "B asks", "waits"),
                (100, "A leaves", "an answer is lost"),
                (100, "C asks", "waits"),
                (101, "root asks", "1 callouts"),
                (102, "D asks", "waits"),
                (
                    103,
                    "root gets active",
                    "B: active coalesced; C: active coalesced; D: active coalesced",
                ),
                (104, "root asks", "0 callouts"),
                (104, "E asks", "active cache"),
                // Counted from the second callout.
                (60_100, "F asks", "active cache"),
                (60_101, "F asks", "asks"),
            ],
        ),
        (
            "all leave",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (1, "B asks", "waits"),
                (2, "A leaves", "an answer is lost"),
                (3, "B leaves", ""),
                (4, "root asks", "1 callouts"),
                (5, "C asks", "waits"),
                (6, "root gets active", "C: active coalesced"),
            ],
        ),
        (
            "the answer to the root fails",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (1, "B asks", "waits"),
                (2, "A leaves", "an answer is lost"),
                (3, "root asks", "1 callouts"),
                (4, "root gets nothing", "B: nothing"),
                (5, "C asks", "asks"),
            ],
        ),
    ]);
}

#[test]
fn nobody_waits_longer_than_a_lookup_may_take() {
    all(&[
        (
            "each in its own time",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (10, "B asks", "waits"),
                (200, "C asks", "waits"),
                (240, "A leaves", "an answer is lost"),
                (241, "root asks", "1 callouts"),
                (259, "tick", ""),
                (260, "tick", "B: nothing"),
                (449, "tick", ""),
                (450, "tick", "C: nothing"),
                (470, "root gets active", ""),
                (471, "D asks", "active cache"),
            ],
        ),
        (
            "in grace, with what is known",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active", "A: active lookup"),
                (60_000, "B asks", "asks"),
                (60_001, "C asks", "waits"),
                (60_002, "B leaves", "an answer is lost"),
                (60_003, "root asks", "1 callouts"),
                (60_251, "tick", "C: active stale"),
            ],
        ),
        (
            "a leader gets what the proxy says, unless the proxy forgot it",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (1, "B asks", "waits"),
                (250, "tick", ""),
                (251, "tick", "B: nothing"),
                (2_249, "tick", ""),
                (2_250, "tick", "A: nothing"),
                (2_251, "A gets active", "too late"),
                (2_252, "C asks", "asks"),
            ],
        ),
        (
            "a root context that never gets its answer",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (0, "B asks", "waits"),
                (0, "A leaves", "an answer is lost"),
                (1, "root asks", "1 callouts"),
                (2_250, "C asks", "waits"),
                (2_251, "tick", "B: nothing; C: nothing"),
                (2_252, "root gets active", "too late"),
                (2_252, "D asks", "asks"),
            ],
        ),
        (
            "a root context that comes when all is over",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (0, "B asks", "waits"),
                (1, "A leaves", "an answer is lost"),
                (2_250, "tick", "B: nothing"),
                (2_251, "C asks", "asks"),
                // What it was to make is not C's lookup.
                (2_252, "root asks", "0 callouts"),
                (2_253, "C gets active", "C: active lookup"),
            ],
        ),
    ]);
}

#[test]
fn the_next_deadline_is_of_those_who_wait_for_root() {
    let mut scene = play(
        "deadlines",
        EXACT,
        &[
            (0, "A asks", "asks"),
            (10, "B asks", "waits"),
            (20, "C asks", "waits"),
        ],
    );
    assert_eq!(scene.verdicts.next_deadline(), None);
    scene.happens(30, "A leaves");
    assert_eq!(scene.verdicts.next_deadline(), Some(at(260).steady));
    scene.happens(31, "root asks");
    scene.happens(32, "B leaves");
    assert_eq!(scene.verdicts.next_deadline(), Some(at(270).steady));
    scene.happens(33, "root gets active");
    assert_eq!(scene.verdicts.next_deadline(), None);
}

/// Fills the places for one key, and gives its lookup.
fn fill(scene: &mut Scene, key: &str, places: usize) -> FlightId {
    let key = hash(key);
    let joined = (0..places).map(|_| scene.verdicts.join(&key, 'w', at(1)).unwrap());
    joined.last().unwrap()
}

#[test]
fn waiters_are_bounded() {
    let refused = Cause::TooManyWait.to_string();
    let mut scene = Scene::new(EXACT);
    // The leader takes a place of its key, but none of those for all.
    for key in ["k1", "k2", "k3", "k4"] {
        assert_eq!(scene.happens(0, &format!("A asks about {key}")), "asks");
        fill(&mut scene, key, MAX_WAITING_FOR_ONE - 1);
        assert_eq!(scene.happens(1, &format!("B asks about {key}")), refused);
    }
    assert_eq!(scene.happens(2, "C asks about k5"), "asks");
    let last = fill(
        &mut scene,
        "k5",
        MAX_WAITING - 4 * (MAX_WAITING_FOR_ONE - 1),
    );
    assert_eq!(scene.happens(3, "D asks about k5"), refused);
    // Each kind of end makes room again: leaving,
    scene.verdicts.leave(&hash("k5"), last, &'w');
    assert_eq!(scene.happens(4, "D asks about k5"), "waits");
    assert_eq!(scene.happens(4, "E asks about k5"), refused);
    // an answer,
    scene.happens(5, "A gets active");
    assert_eq!(scene.happens(5, "E asks about k5"), "waits");
    fill(&mut scene, "k5", MAX_WAITING_FOR_ONE - 6);
    assert_eq!(scene.happens(6, "F asks about k5"), refused);
    // and time.
    scene.verdicts.overdue(at(251));
    assert_eq!(scene.happens(252, "F asks about k5"), "waits");
    fill(&mut scene, "k5", MAX_WAITING_FOR_ONE - 4);
    assert_eq!(scene.happens(253, "G asks about k5"), refused);
}

#[test]
fn lookups_that_nobody_waits_for_are_bounded() {
    let mut scene = Scene::new(EXACT);
    for n in 0..100 {
        assert_eq!(scene.happens(0, &format!("A asks about k{n}")), "asks");
        assert_eq!(scene.happens(0, "A leaves"), "an answer is lost");
    }
    assert_eq!(scene.happens(1, "root asks"), "64 callouts");
    // What was beyond is forgotten, and asked about anew.
    assert_eq!(scene.happens(2, "B asks about k99"), "asks");
    assert_eq!(scene.happens(2, "C asks about k1"), "waits");
    // An end makes room.
    scene.happens(3, "root gets nothing");
    assert_eq!(scene.happens(4, "D asks about k98"), "asks");
    scene.happens(4, "D leaves");
    assert_eq!(scene.happens(5, "root asks"), "1 callouts");
    scene.verdicts.overdue(at(2_300));
    for n in 200..300 {
        scene.happens(2_301, &format!("A asks about k{n}"));
        scene.happens(2_301, "A leaves");
    }
    assert_eq!(scene.happens(2_302, "root asks"), "64 callouts");
}

#[test]
fn a_record_in_use_is_refreshed_ahead() {
    let early = r#"{"jitter":0,"refresh_ahead":0.8}"#;
    all(&[
        (
            "once, and nobody waits",
            early,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active", "A: active lookup"),
                (47_999, "B asks", "active cache"),
                (48_000, "C asks", "active cache, refresh"),
                (48_001, "root asks", "1 callouts"),
                (48_002, "D asks", "active cache"),
                (48_003, "root gets active", ""),
                (48_004, "E asks", "active cache"),
                // The new one counts from the root's callout.
                (96_000, "F asks", "active cache"),
                (96_001, "G asks", "active cache, refresh"),
            ],
        ),
        (
            "what it finds counts at once",
            early,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active", "A: active lookup"),
                (48_000, "B asks", "active cache, refresh"),
                (48_001, "root asks", "1 callouts"),
                (48_002, "root gets revoked", ""),
                (48_003, "C asks", "revoked cache"),
            ],
        ),
        (
            "where it fails, the record stays, and a second passes",
            early,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active", "A: active lookup"),
                (48_000, "B asks", "active cache, refresh"),
                (48_001, "root asks", "1 callouts"),
                (48_002, "root gets nothing", ""),
                (49_001, "C asks", "active cache"),
                (49_002, "D asks", "active cache, refresh"),
                (49_002, "root asks", "1 callouts"),
                (59_999, "root gets nothing", ""),
                (60_000, "E asks", "active stale"),
            ],
        ),
        (
            "one that is late is waited for, but not in a known outage",
            r#"{"jitter":0,"refresh_ahead":0.9}"#,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active", "A: active lookup"),
                (58_500, "B asks", "active cache, refresh"),
                (58_501, "root asks", "1 callouts"),
                (58_600, "root gets nothing", ""),
                (59_900, "C asks", "active cache, refresh"),
                (59_901, "root asks", "1 callouts"),
                (60_000, "D asks", "active stale"),
                (60_001, "root gets active", ""),
                (60_002, "E asks", "active cache"),
            ],
        ),
        (
            "one that is late is waited for",
            early,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active", "A: active lookup"),
                (59_900, "B asks", "active cache, refresh"),
                (59_901, "root asks", "1 callouts"),
                (60_000, "C asks", "waits"),
                (60_001, "root gets active", "C: active coalesced"),
            ],
        ),
        (
            "denials are not",
            early,
            &[
                (0, "A asks", "asks"),
                (0, "A gets not_found", "A: not_found lookup"),
                (4_999, "B asks", "not_found cache"),
            ],
        ),
        (
            "off",
            EXACT,
            &[
                (0, "A asks", "asks"),
                (0, "A gets active", "A: active lookup"),
                (59_999, "B asks", "active cache"),
            ],
        ),
    ]);
}

#[test]
fn few_lookups_are_of_root_at_a_time() {
    let mut scene = Scene::new(r#"{"jitter":0,"refresh_ahead":0.5}"#);
    let keys: Vec<_> = (0..100).map(|n| format!("k{n}")).collect();
    for key in &keys {
        scene.happens(0, &format!("A asks about {key}"));
        scene.happens(0, "A gets active");
    }
    for key in &keys {
        let came = scene.happens(40_000, &format!("A asks about {key}"));
        assert!(came.starts_with("active cache"), "{key}: {came}");
    }
    assert_eq!(scene.happens(40_001, "root asks"), "64 callouts");
    for key in &keys {
        scene.happens(40_002, &format!("A asks about {key}"));
    }
    assert!(!scene.verdicts.needs_root());
    scene.happens(40_003, "root gets active");
    for key in &keys {
        scene.happens(40_004, &format!("A asks about {key}"));
    }
    assert_eq!(scene.happens(40_005, "root asks"), "1 callouts");
}

/// The root context makes a lost callout again as it was, with the leader's trace.
#[test]
fn a_lost_callout_is_made_again_as_it_was() {
    let mut scene = Scene::new(EXACT);
    let key = hash("key");
    let request = Request::new(&[("traceparent", b"00-1")]);
    let traced = scene
        .config
        .lookup
        .callout(&key, &request, &scene.config.policy.credential);
    assert_ne!(
        traced,
        scene
            .config
            .lookup
            .callout(&key, &Request::default(), &scene.config.policy.credential)
    );
    let id = scene.verdicts.lead(key, 'A', traced.clone(), false, at(0));
    scene.verdicts.join(&key, 'B', at(1)).unwrap();
    scene.verdicts.leave(&key, id, &'A');
    let next = scene.verdicts.next_of_root(at(2));
    assert_eq!(next, Some((key, id, Some(traced))));
    assert_eq!(scene.verdicts.next_of_root(at(2)), None);
}

/// The host does not do that; should it ever, nobody is left waiting.
#[test]
fn who_waits_stays_when_another_leads() {
    let mut scene = Scene::new(EXACT);
    let key = hash("key");
    scene.verdicts.lead(key, 'A', callout(), false, at(0));
    scene.verdicts.join(&key, 'B', at(1)).unwrap();
    let id = scene.verdicts.lead(key, 'C', callout(), false, at(2));
    let came = scene.lands(&key, id, "active", at(3));
    assert_eq!(
        came,
        "A: active lookup; B: active coalesced; C: active coalesced"
    );
}

#[test]
fn lookups_are_timed() {
    let mut scene = Scene::new(EXACT);
    let key = hash("key");
    let id = scene.verdicts.lead(key, 'A', callout(), false, at(0));
    let landed = scene.verdicts.land(&key, id, answer("active"), at(37));
    assert_eq!(landed.unwrap().took, Duration::from_millis(37));
}

#[test]
fn what_is_kept_and_given_up_is_counted() {
    let mut scene = Scene::new(r#"{"max_allow_entries":3,"max_deny_entries":2}"#);
    for n in 0..7 {
        scene.happens(n, &format!("A asks about k{n}"));
        scene.happens(n, "A gets active");
        scene.happens(n, &format!("B asks about j{n}"));
        scene.happens(n, "B gets not_found");
    }
    for (pool, entries) in [(PoolName::Allow, 3), (PoolName::Deny, 2)] {
        assert_eq!(scene.verdicts.entries(pool), entries, "{pool:?}");
        let evictions = scene.verdicts.take_evictions(pool);
        assert_eq!(evictions, 7 - entries as u64, "{pool:?}");
        assert_eq!(scene.verdicts.take_evictions(pool), 0, "{pool:?}");
    }
}
