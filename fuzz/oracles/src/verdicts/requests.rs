//! Requests of one worker, the answers that they wait for, and what becomes of them.

use std::collections::BTreeMap;
use std::time::Duration;

use keystile::auth::answer::{Source, Unsent, Verdict};
use keystile::auth::lookup::Callout;
use keystile::auth::record::Record;
use keystile::clock::Moment;
use keystile::decision::denial::Denial;
use keystile::decision::{self, State, Step};
use keystile::engine::cache::Seed;
use keystile::engine::inflight::FlightId;
use keystile::engine::settings::Settings;
use keystile::engine::verdicts::{Asked, Verdicts};
use keystile::request::headers::Request;
use keystile::request::key_hash::KeyHash;

use super::answers::{Given, Kind};
use super::model::{Model, Rules, WALL};
use super::{At, By, FORGOTTEN, KEYS, STEPS, TIMEOUT, WALLS, number};

/// A callout to the auth cluster that is under way.
pub(super) struct Call {
    pub(super) key: usize,
    pub(super) id: FlightId,
    pub(super) leader: Option<u32>,
    pub(super) made: At,
    /// The proxy will never answer it.
    pub(super) forgotten: bool,
    /// The filter has given it up.
    pub(super) given_up: bool,
}

/// A request that waits.
pub(super) struct Held {
    pub(super) key: usize,
    pub(super) id: FlightId,
    /// Whether the callout is its own, and so its answer.
    pub(super) leads: bool,
    /// By when it must be settled, but for the time to the next tick.
    pub(super) deadline: u64,
    pub(super) state: State,
}

/// A worker, with what goes on around it.
pub(super) struct Worker {
    pub(super) config: Settings,
    pub(super) verdicts: Verdicts<u32>,
    pub(super) keys: [(KeyHash, State); KEYS],
    pub(super) model: Model,
    pub(super) now: At,
    pub(super) wall: i64,
    pub(super) calls: Vec<Call>,
    pub(super) held: BTreeMap<u32, Held>,
    pub(super) requests: u32,
    /// Lookups that were made once more, as their keys had changed.
    pub(super) asked_again: Vec<FlightId>,
    /// When the poll under way was made.
    pub(super) poll: Option<u64>,
    pub(super) polls_are_answered: bool,
    pub(super) is_reachable: bool,
    pub(super) period: u64,
    pub(super) next_tick: u64,
}

impl Worker {
    pub(super) fn new(rules: &'static Rules) -> Self {
        let config = rules.config();
        let keys = std::array::from_fn(|key| {
            let key = format!("key-{key}");
            let headers: [(&str, &[u8]); 3] = [
                (":method", b"GET"),
                (":path", b"/v1/x"),
                ("x-api-key", key.as_bytes()),
            ];
            let request = Request::new(&headers);
            let begun = decision::begin(&config.policy, &request);
            match begun.step {
                Step::Ask(hash) => (hash, begun.state),
                _ => panic!("a key is asked about"),
            }
        });
        let mut worker = Self {
            verdicts: Verdicts::new(&config, Seed::new(7)),
            model: Model::new(rules),
            config,
            keys,
            now: At { ms: 0, order: 0 },
            wall: 0,
            calls: Vec::new(),
            held: BTreeMap::new(),
            requests: 0,
            asked_again: Vec::new(),
            poll: None,
            polls_are_answered: false,
            is_reachable: true,
            period: 1,
            next_tick: 1,
        };
        worker.ticks();
        worker
    }

    pub(super) fn happens(&mut self, event: u8, mut next: impl FnMut() -> u8) {
        self.now.order += 1;
        match event {
            b'a' => self.asks(number(next()) % KEYS, None),
            b'x' => self.asks(number(next()) % KEYS, Some(Unsent::NotAccepted)),
            b'y' => self.asks(number(next()) % KEYS, Some(Unsent::Overflow)),
            b'l' => {
                let (call, kind) = (number(next()), Kind::of(next()));
                if let Some(call) = self.under_way(call) {
                    self.lands(call, kind);
                }
            }
            b'o' => {
                if let Some(call) = self.under_way(number(next())) {
                    self.calls[call].forgotten = true;
                }
            }
            b'v' => self.leaves(number(next())),
            b't' => self.passes(STEPS[number(next()) % STEPS.len()]),
            b'p' => self.is_polled(next()),
            b'q' => self.polls_are_answered ^= true,
            b'r' => self.is_reachable ^= true,
            b'i' => self.learns(number(next()) % KEYS, Kind::of(next())),
            b'w' => self.wall = WALLS[number(next()) % WALLS.len()],
            _ => return,
        }
        self.in_time();
    }

    pub(super) fn moment(&self) -> Moment {
        let wall = WALL
            .saturating_add(self.now.ms)
            .saturating_add_signed(self.wall);
        Moment {
            wall: Duration::from_millis(wall),
            steady: Duration::from_millis(self.now.ms),
        }
    }

    /// The number of a callout, counted on from the oldest.
    fn under_way(&self, number: usize) -> Option<usize> {
        number.checked_rem(self.calls.len())
    }

    fn callout(&self, key: usize) -> Callout {
        self.config.lookup.callout(
            &self.keys[key].0,
            &Request::default(),
            &self.config.policy.credential,
        )
    }

    /// How a callout that was not made came to nothing.
    fn unsent(&self, unsent: Unsent) -> By {
        let under_way = self.calls.iter().any(|call| !call.given_up);
        let is_full = self.model.is_breaker_full(under_way, self.now.ms);
        if unsent == Unsent::Overflow || is_full {
            By::Overflow
        } else {
            By::Failure
        }
    }

    fn asks(&mut self, key: usize, unsent: Option<Unsent>) {
        let now = self.moment();
        let (hash, state) = self.keys[key];
        let request = self.requests;
        self.requests += 1;
        let mut under_way = self
            .calls
            .iter()
            .filter(|call| call.key == key && !call.given_up);
        let (id, leads) = match (self.verdicts.ask(&hash, now), unsent) {
            (Asked::Known(verdict, source), _) => {
                self.settles(key, state, &verdict, Some(source), By::Asking);
                return self.wakes_root();
            }
            (Asked::Lookup { .. }, Some(unsent)) => {
                let by = self.unsent(unsent);
                self.model.fails(key, by, self.now.ms, now.wall);
                let (verdict, source) = self.verdicts.not_sent(&hash, unsent, now);
                self.settles(key, state, &verdict, source, by);
                return self.wakes_root();
            }
            (Asked::Lookup { tests_outage }, None) => {
                assert!(
                    under_way.next().is_none(),
                    "two lookups of key {key} at a time"
                );
                self.model.has_nothing(key, self.now.ms, now.wall);
                let callout = self.callout(key);
                let id = self
                    .verdicts
                    .lead(hash, request, callout, tests_outage, now);
                self.calls.push(Call {
                    key,
                    id,
                    leader: Some(request),
                    made: self.now,
                    forgotten: false,
                    given_up: false,
                });
                (id, true)
            }
            (Asked::Join, _) => (
                self.verdicts.join(&hash, request, now).expect("few wait"),
                false,
            ),
        };
        let deadline = self.now.ms + TIMEOUT + if leads { FORGOTTEN } else { 0 };
        let held = Held {
            key,
            id,
            leads,
            deadline,
            state,
        };
        self.held.insert(request, held);
    }

    /// An answer to a callout. The proxy gives that to a leader, or to the root context.
    pub(super) fn lands(&mut self, call: usize, kind: Kind) {
        let call = self.calls.remove(call);
        let (hash, _) = self.keys[call.key];
        let given = Given::new(kind, call.key, call.made, self.moment().wall);
        let number = self.model.is_given(given);
        let answer = given.answer(number);
        let by = match kind {
            Kind::NotSent => self.unsent(Unsent::NotAccepted),
            Kind::Overflow => self.unsent(Unsent::Overflow),
            kind if kind.is_verdict() => By::Answer(number),
            _ => By::Failure,
        };
        self.model.is_reached(kind, self.now.ms);
        let landed = self.verdicts.land(&hash, call.id, answer, self.moment());
        let outdated = self.model.is_outdated(call.key, call.made);
        let mut waiting = self.held.values_mut().filter(|held| held.id == call.id);
        let Some(landed) = landed else {
            if call.given_up {
                assert!(
                    waiting.next().is_none(),
                    "a request waits for what is given up"
                );
                return;
            }
            assert!(
                kind.is_verdict() && outdated,
                "an answer of {kind:?} is nobody's"
            );
            assert!(self.verdicts.needs_root(), "nobody asks again");
            let mut any = false;
            // They wait anew, but not a third time.
            let first = !self.asked_again.contains(&call.id);
            self.asked_again.push(call.id);
            for held in waiting {
                any = true;
                if first {
                    held.deadline = self.now.ms + TIMEOUT;
                    held.leads = false;
                }
            }
            assert!(any, "it is asked again for nobody");
            return self.wakes_root();
        };
        assert!(!call.given_up, "an answer to what was given up counts");
        assert_eq!(
            landed.took,
            Duration::from_millis(self.now.ms - call.made.ms)
        );
        if kind.is_verdict() {
            self.model.keeps(number, outdated);
        } else {
            let wall = self.moment().wall;
            self.model.fails(call.key, by, self.now.ms, wall);
        }
        for waiter in &landed.waiters {
            let held = self
                .held
                .remove(&waiter.request)
                .expect("settled twice, or gone");
            assert!(
                held.id == call.id && held.key == call.key,
                "settled by the answer to another"
            );
            let source = landed.source(waiter);
            if landed.instead.is_none() && kind.is_verdict() {
                let own = if held.leads {
                    Source::Lookup
                } else {
                    Source::Coalesced
                };
                assert_eq!(source, Some(own));
            }
            self.settles(held.key, held.state, &landed.verdict, source, by);
        }
        assert!(
            self.held.values().all(|held| held.id != call.id),
            "a request waits for what is over"
        );
        self.wakes_root();
    }

    /// The client of a request that waits is gone.
    fn leaves(&mut self, number: usize) {
        let Some(at) = number.checked_rem(self.held.len()) else {
            return;
        };
        let request = *self.held.keys().nth(at).expect("so many wait");
        let held = self.held.remove(&request).expect("it waits");
        let lost = self
            .verdicts
            .leave(&self.keys[held.key].0, held.id, &request);
        assert_eq!(lost, held.leads, "whether the answer to a callout is lost");
        if lost {
            // The proxy has nobody to give the answer to.
            self.calls.retain(|call| call.leader != Some(request));
            assert!(self.verdicts.needs_root(), "nobody asks again");
        }
        self.wakes_root();
    }

    /// A request came to its verdict: does it count, and what becomes of the request?
    pub(super) fn settles(
        &self,
        key: usize,
        mut state: State,
        verdict: &Verdict,
        source: Option<Source>,
        by: By,
    ) {
        let now = self.moment();
        let is_asked = self.verdicts.needs_root()
            || self
                .calls
                .iter()
                .any(|call| call.key == key && !call.given_up);
        self.model
            .counts(key, verdict, source, by, self.now, now.wall, is_asked);
        let step = state.settle(
            &self.config.policy,
            verdict.clone(),
            source,
            now.wall,
            || b"/v1/x",
        );
        let of_ours = |record: &Record| {
            let ours = self.config.policy.environment.as_deref();
            ours.is_none() || record.environment() == ours
        };
        match (step, verdict) {
            (
                Step::Forward {
                    record: Some(passed),
                },
                Verdict::Active(record),
            ) => {
                assert!(passed == *record && of_ours(record) && !record.has_expired(now.wall));
            }
            (Step::Refuse { denial, .. }, verdict) => {
                let expected = match verdict {
                    Verdict::Indeterminate(_) => Denial::Internal,
                    Verdict::NotFound => Denial::NotFound,
                    Verdict::Active(record) | Verdict::Revoked(record) if !of_ours(record) => {
                        Denial::NotFound
                    }
                    Verdict::Revoked(_) => Denial::Revoked,
                    Verdict::Active(_) => Denial::Expired,
                };
                assert_eq!(denial, expected);
            }
            (_, verdict) => panic!("{verdict:?} lets a request through"),
        }
    }

    /// A live lookup came to this.
    fn learns(&mut self, key: usize, kind: Kind) {
        let given = Given::new(kind, key, self.now, self.moment().wall);
        let number = self.model.is_given(given);
        let mut verdict = given.answer(number).verdict;
        if self.model.learns(number, self.now) {
            self.model.is_reached(kind, self.now.ms);
            let now = self.moment();
            self.verdicts.learn(&self.keys[key].0, &mut verdict, now);
        }
    }
}
