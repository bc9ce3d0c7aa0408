//! A worker: the engine, its proxy, and the naive model of both.

use std::collections::BTreeMap;
use std::time::Duration;

use keystile::auth::answer::Source;
use keystile::auth::cause::Unsent;
use keystile::engine::Engine;
use keystile::engine::fake_host::FakeHost;
use keystile::engine::host::Token;
use keystile::request::key_hash::KeyHasher;

use super::answers::{Kind, Response};
use super::counts::Counts;
use super::limit::Limit;
use super::model::Model;
use super::rules::Rules;
use super::view::View;
use super::{At, DecidedBy, KEYS, MANY, STEPS, TIMEOUT, WALLS, number};

/// When scripts begin, in ms since the Unix epoch.
const WALL: u64 = 1_800_000_000_000;

/// The prefix of every key.
const PREFIX: &str = "aw_";

/// A lookup without an answer.
pub(super) struct Lookup {
    pub(super) token: Token,
    pub(super) key: usize,
    /// When it was sent.
    pub(super) made: At,
    /// The request that it was sent for, if it is an uncached one.
    pub(super) uncached: Option<u32>,
    /// Whether it was sent again, because its key has changed.
    pub(super) again: bool,
    /// Whether it certainly tests if an outage is over, so that no request with a record in grace
    /// waits for it.
    pub(super) tests_outage: bool,
    /// The proxy will not report its timeout.
    pub(super) forgotten: bool,
    /// The engine has given it up.
    pub(super) given_up: bool,
}

/// A paused request.
pub(super) struct Paused {
    pub(super) key: usize,
    pub(super) state: State,
    /// The proxy has answered it by itself.
    pub(super) is_over: bool,
}

pub(super) enum State {
    Waits {
        /// For this lookup.
        lookup: Token,
        /// Where a verdict of its lookup comes from, for this request.
        source: Source,
        /// When it has waited too long, in ms.
        deadline: u64,
    },
    /// It has its verdict.
    Decided {
        by: DecidedBy,
        view: View,
        /// Where a verdict of its lookup comes from, for this request.
        source: Source,
        /// Requests with a lower turn are resolved first.
        turn: (u64, u32),
    },
}

/// The in-flight poll of the feed.
pub(super) struct Poll {
    pub(super) token: Token,
    /// When it was sent, in ms.
    pub(super) made: u64,
    /// In ms.
    pub(super) timeout: u64,
    /// The proxy will never answer it.
    pub(super) forgotten: bool,
}

/// What a callout asks about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Asked {
    Key(usize),
    Feed,
}

/// A key, and its hash in hex.
pub(super) struct Key {
    pub(super) key: String,
    pub(super) hash: String,
}

pub(super) struct Worker {
    pub(super) engine: Engine<FakeHost>,
    pub(super) host: FakeHost,
    pub(super) keys: [Key; KEYS],
    pub(super) model: Model,
    pub(super) counts: Counts,
    pub(super) now: At,
    pub(super) wall: i64,
    pub(super) lookups: Vec<Lookup>,
    pub(super) limits: [Limit; KEYS],
    pub(super) paused: BTreeMap<u32, Paused>,
    pub(super) poll: Option<Poll>,
    /// When the feed must be polled next, in ms, unless a poll is in flight.
    pub(super) next_poll: Option<u64>,
    pub(super) polls_are_answered: bool,
    pub(super) can_send: bool,
    pub(super) period: Duration,
    pub(super) next_tick: u64,
    /// When counts were last reported, in ms.
    pub(super) flushed: Option<u64>,
    /// The last callout that [`Self::take_sent`] returned.
    last_sent: Token,
}

impl Worker {
    pub(super) fn new(rules: &'static Rules) -> Self {
        let keys = std::array::from_fn(|key| {
            let key = format!("{PREFIX}{key:040}");
            let hash = KeyHasher::default().hash(key.as_bytes()).to_string();
            Key { key, hash }
        });
        let mut host = FakeHost::default();
        let mut worker = Self {
            engine: Engine::start(&mut host, rules.settings()),
            host,
            keys,
            model: Model::new(rules),
            counts: Counts::default(),
            now: At { ms: 0, order: 0 },
            wall: 0,
            lookups: Vec::new(),
            limits: [Limit::default(); KEYS],
            paused: BTreeMap::new(),
            poll: None,
            next_poll: None,
            polls_are_answered: false,
            can_send: true,
            period: Duration::ZERO,
            next_tick: 0,
            flushed: None,
            last_sent: Token(0),
        };
        worker.tick();
        worker
    }

    pub(super) fn play(&mut self, event: u8, mut next: impl FnMut() -> u8) {
        match event {
            b'a' => self.request(number(next()) % KEYS, None),
            b'm' => {
                let key = number(next()) % KEYS;
                (0..MANY).for_each(|_| self.request(key, None));
            }
            b'x' => self.request(number(next()) % KEYS, Some(Unsent::NotAccepted)),
            b'y' => self.request(number(next()) % KEYS, Some(Unsent::Overflow)),
            b'i' => {
                let (key, kind) = (number(next()) % KEYS, Kind::of(next()));
                if let Some(lookup) = self.introspect(key) {
                    self.answer_lookup(lookup, kind);
                }
            }
            b'j' => {
                self.introspect(number(next()) % KEYS);
            }
            b'l' => {
                let (lookup, kind) = (number(next()), Kind::of(next()));
                if let Some(lookup) = lookup.checked_rem(self.lookups.len()) {
                    self.answer_lookup(lookup, kind);
                }
            }
            b'o' => {
                if let Some(lookup) = number(next()).checked_rem(self.lookups.len()) {
                    self.lookups[lookup].forgotten = true;
                }
            }
            b'v' => self.leave(number(next())),
            b'g' => self.answer_by_proxy(number(next())),
            b'b' => self.assert_trailers_wait(number(next())),
            b't' => self.advance(STEPS[number(next()) % STEPS.len()]),
            b'p' => self.answer_poll(next()),
            b'q' => self.polls_are_answered ^= true,
            b'r' => self.can_send ^= true,
            b'w' => self.wall = WALLS[number(next()) % WALLS.len()],
            _ => return,
        }
        self.assert_in_time();
    }

    /// Returns the time since the Unix epoch.
    pub(super) fn wall(&self) -> Duration {
        let wall = WALL
            .saturating_add(self.now.ms)
            .saturating_add_signed(self.wall);
        Duration::from_millis(wall)
    }

    /// Prepares a call of the engine: sets the proxy's wall clock, and why it cannot send callouts.
    /// Returns the time of the monotonic clock.
    pub(super) fn prepare_call(&mut self, unsent: Option<Unsent>) -> Duration {
        self.now.order += 1;
        self.host.wall = self.wall();
        let all = (!self.can_send).then_some(Unsent::NotAccepted);
        self.host.unsent = unsent.or(all);
        Duration::from_millis(self.now.ms)
    }

    /// Answers a callout.
    pub(super) fn respond(&mut self, token: Token, response: &Response) {
        let headers = response.headers.iter();
        let headers: Vec<_> = headers
            .map(|(name, value)| (*name, value.as_bytes()))
            .collect();
        let now = self.prepare_call(None);
        let body = response.body.as_bytes();
        self.host
            .answers(&mut self.engine, token, &headers, body, now);
    }

    /// Returns the callouts that the engine has sent, or tried to send, since the last call.
    pub(super) fn take_sent(&mut self) -> Vec<(Asked, Option<Token>)> {
        self.now.order += 1;
        let asked = |path: &str| {
            let mut keys = self.keys.iter();
            match keys.position(|key| path.ends_with(&key.hash)) {
                Some(key) => Asked::Key(key),
                None => {
                    let cursor = self.model.cursor.as_deref().unwrap_or_default();
                    assert_eq!(path, format!("/v1/changes?after={cursor}"));
                    Asked::Feed
                }
            }
        };
        let callouts = self.host.callouts.iter();
        let new = callouts.filter(|callout| callout.token.0 > self.last_sent.0);
        let mut all = Vec::new();
        for callout in new {
            let mut values = callout.headers.iter().map(|(_, value)| value);
            assert!(
                values.all(|value| !value.contains(PREFIX)),
                "a callout contains a key"
            );
            let asked = asked(callout.path());
            if let Asked::Key(_) = asked {
                assert_eq!(callout.timeout, Duration::from_millis(TIMEOUT));
            }
            all.push((asked, Some(callout.token)));
        }
        let not_sent = self.host.not_sent.iter();
        all.extend(not_sent.map(|path| (asked(path), None)));
        self.host.not_sent.clear();
        let last = all.iter().filter_map(|(_, token)| *token).next_back();
        self.last_sent = last.unwrap_or(self.last_sent);
        let unsent = all.iter().filter(|(_, token)| token.is_none());
        for (asked, _) in unsent {
            match asked {
                Asked::Key(_) => self.counts.unsent_lookup(),
                Asked::Feed => self.counts.poll("failed"),
            }
        }
        self.sync_timer();
        all
    }

    /// Restarts the timer if its period was changed.
    fn sync_timer(&mut self) {
        if self.period != self.host.period {
            self.period = self.host.period;
            self.start_timer();
        }
    }

    pub(super) fn start_timer(&mut self) {
        let period = u64::try_from(self.period.as_millis()).expect("a short time");
        self.next_tick = self.now.ms + period;
    }

    /// Checks that the log contains no key.
    pub(super) fn assert_no_key_logged(&self) {
        let mut lines = self.host.log.iter().map(|(_, line)| line);
        assert!(
            lines.all(|line| !line.contains(PREFIX)),
            "the log contains a key"
        );
    }
}
