//! What the requests of one plugin on one worker share, and how they are settled.

#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use log::{info, warn};

use super::calls::{self, Metrics};
use crate::auth::answer::{Answer, Cause, Source, Verdict};
use crate::auth::feed::{Changed, Page, Polled};
use crate::auth::record::Record;
use crate::clock::{Moment, ms};
use crate::decision::reply::{self, Replies, RequestId};
use crate::decision::{self, Settled, State, Step};
use crate::engine::cache::{PoolName, Seed};
use crate::engine::inflight::{FORGOTTEN, FlightId};
use crate::engine::settings::Settings;
use crate::engine::stats::{Counter, Gauge, Stats};
use crate::engine::verdicts::Verdicts;
use crate::request::headers::without_query;
use crate::request::key_hash::KeyHash;
use crate::throttle::Throttle;

/// How often the host is told what was counted.
const FLUSH: Duration = Duration::from_millis(500);

/// How many held requests are settled in one call into the VM. Envoy puts off what becomes of
/// them until that call has returned, and then each reply is sent from within the one before, as
/// it calls into the VM itself: V8's stack ends at about 300.
const AT_A_TIME: usize = 64;

/// How soon the root context makes lookups that nobody else can: the shortest that there is.
const SOON: Duration = Duration::from_millis(1);

/// Nothing of it is static: several plugins, and the old and the new configuration of one, can
/// live in the same VM.
pub(super) struct Plugin {
    /// `None` when there is none to enforce; each request is refused then.
    pub(super) rules: Option<Rules>,
    stats: RefCell<Stats>,
    /// How long lookups took, in ms, as far as the host has not been told.
    observed: RefCell<Vec<u64>>,
    metrics: Metrics,
    warnings: RefCell<Throttle>,
    /// For request ids, drawn before they are needed.
    random: RefCell<Vec<u128>>,
    /// To be settled, [`AT_A_TIME`].
    decided: RefCell<VecDeque<Decided>>,
    /// Held for lookups that no other request has to do with, oldest first, with what they get if
    /// the proxy forgets them.
    live: RefCell<VecDeque<Decided>>,
    /// Of the root context's tick.
    period: Cell<Duration>,
    /// Where the steady clock began.
    began: Instant,
}

pub(super) struct Rules {
    pub(super) config: Settings,
    pub(super) verdicts: RefCell<Verdicts<Rc<Held>>>,
}

/// A request that Envoy holds, and that any context's callback may settle.
pub(super) struct Held {
    pub(super) context_id: u32,
    pub(super) state: Cell<State>,
    /// On the steady clock.
    pub(super) since: Duration,
    /// Its client has left.
    pub(super) gone: Cell<bool>,
}

/// A held request with its verdict.
struct Decided {
    held: Rc<Held>,
    verdict: Verdict,
    source: Option<Source>,
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.context_id == other.context_id
    }
}

impl Rules {
    pub(super) fn new(config: Settings) -> Self {
        // Where there is no randomness, the seed is one that can be known.
        let seed = Seed::new(u64::from_le_bytes(calls::random().unwrap_or_default()));
        let verdicts = Verdicts::new(&config, seed);
        Self {
            config,
            verdicts: RefCell::new(verdicts),
        }
    }
}

/// Before it is configured.
impl Default for Plugin {
    fn default() -> Self {
        Self::with(None, Metrics::default())
    }
}

impl Plugin {
    /// Starts the tick of the root context.
    pub(super) fn new(rules: Option<Rules>) -> Self {
        let reads_feed = rules
            .as_ref()
            .is_some_and(|rules| rules.config.feed.is_some());
        let plugin = Self::with(rules, Metrics::define());
        // What is looked up before the feed is first read is forgotten then.
        plugin.tick_every(if reads_feed { SOON } else { FLUSH });
        plugin
    }

    fn with(rules: Option<Rules>, metrics: Metrics) -> Self {
        Self {
            rules,
            stats: RefCell::default(),
            observed: RefCell::default(),
            metrics,
            warnings: RefCell::default(),
            random: RefCell::default(),
            decided: RefCell::default(),
            live: RefCell::default(),
            period: Cell::default(),
            began: Instant::now(),
        }
    }

    pub(super) fn now(&self) -> Moment {
        Moment {
            wall: calls::wall_time(),
            steady: self.began.elapsed(),
        }
    }

    /// An answer is here: whoever waited for it is to be settled next.
    pub(super) fn land(
        &self,
        rules: &Rules,
        hash: &KeyHash,
        id: FlightId,
        answer: Answer,
        now: Moment,
    ) {
        self.count(Counter::of_lookup(&answer.verdict));
        let landed = rules.verdicts.borrow_mut().land(hash, id, answer, now);
        let Some(landed) = landed else {
            return;
        };
        self.observe_lookup(landed.took);
        let decided = landed.waiters.iter().map(|waiter| Decided {
            held: Rc::clone(&waiter.request),
            verdict: landed.verdict.clone(),
            source: landed.source(waiter),
        });
        self.decided.borrow_mut().extend(decided);
    }

    /// The answer to a request's own lookup is here: the request is to be settled next.
    pub(super) fn land_live(
        &self,
        rules: &Rules,
        held: &Rc<Held>,
        hash: &KeyHash,
        answer: Answer,
        now: Moment,
    ) {
        let mut verdict = answer.verdict;
        self.count(Counter::of_lookup(&verdict));
        self.observe_lookup(now.steady.saturating_sub(held.since));
        rules.verdicts.borrow_mut().learn(hash, &mut verdict, now);
        self.decided.borrow_mut().push_back(Decided {
            held: Rc::clone(held),
            source: Source::of_lookup(&verdict),
            verdict,
        });
    }

    /// The feed was polled.
    pub(super) fn polled(&self, rules: &Rules, page: Result<Page, String>, now: Moment) {
        let random = u64::from_le_bytes(calls::random().unwrap_or_default());
        let polled = rules.verdicts.borrow_mut().polled(page, now, random);
        let Some(polled) = polled else {
            return;
        };
        let Polled {
            changed,
            turns,
            resets,
        } = polled;
        self.count(Counter::of_poll(&changed));
        let cluster = rules.config.feed.as_ref().map_or("", |feed| &feed.cluster);
        match changed {
            Err(problem) if turns => {
                warn!("keystile: change feed of cluster {cluster}: {problem}");
            }
            Ok(Changed::Any) if resets == 1 => {
                info!("keystile: change feed of cluster {cluster}: read from anew");
            }
            Ok(Changed::Any) if resets == 2 => warn!(
                "keystile: change feed of cluster {cluster}: each answer is a reset, so nothing \
                 is kept; does feed.path hand the cursor over as the auth cluster expects it?"
            ),
            Ok(_) if turns => info!("keystile: change feed of cluster {cluster}: goes on"),
            _ => {}
        }
        self.tick_in_time(rules, now);
    }

    /// Whoever has waited too long is to be settled next.
    pub(super) fn give_up(&self, rules: &Rules, now: Moment) {
        let overdue = rules.verdicts.borrow_mut().overdue(now);
        let decided = overdue
            .into_iter()
            .map(|(waiter, verdict, source)| Decided {
                held: waiter.request,
                verdict,
                source,
            });
        let mut queue = self.decided.borrow_mut();
        queue.extend(decided);
        let longest = rules.config.lookup.timeout.saturating_add(FORGOTTEN);
        let mut live = self.live.borrow_mut();
        // Most have their answer by then, which is seen when they are settled.
        while let Some(forgotten) =
            live.pop_front_if(|live| live.held.since.saturating_add(longest) <= now.steady)
        {
            queue.push_back(forgotten);
        }
    }

    /// A request is held for a lookup of its own.
    pub(super) fn watch(&self, held: &Rc<Held>) {
        self.live.borrow_mut().push_back(Decided {
            held: Rc::clone(held),
            verdict: Verdict::Indeterminate(Cause::NoAnswer),
            source: None,
        });
    }

    /// Settles held requests that have a verdict, as many as one call into the VM may. `active`
    /// is the context of that call, and is effective before and afterwards.
    pub(super) fn settle_decided(&self, rules: &Rules, active: u32, now: Moment) {
        let mut settled = 0_usize;
        let mut effective = active;
        while settled < AT_A_TIME {
            let next = self.decided.borrow_mut().pop_front();
            let Some(next) = next else {
                break;
            };
            if self.settle_held(rules, next, &mut effective, now) {
                settled = settled.saturating_add(1);
            }
        }
        if effective != active {
            calls::act_for(active);
        }
    }

    /// Settles a held request in its own context, which stays effective; `false` when there is
    /// nobody left to answer.
    fn settle_held(
        &self,
        rules: &Rules,
        decided: Decided,
        effective: &mut u32,
        now: Moment,
    ) -> bool {
        let Decided {
            held,
            verdict,
            source,
        } = decided;
        if held.gone.get() {
            return false;
        }
        if *effective != held.context_id {
            if !calls::act_for(held.context_id) {
                return false;
            }
            *effective = held.context_id;
        }
        // Envoy may have answered by itself, as at a timeout, and only wait for the client to
        // take it.
        if calls::is_answered() {
            return false;
        }
        let mut state = held.state.get();
        let path = || {
            let mut target = calls::target();
            target.truncate(without_query(&target).len());
            target
        };
        let step = state.settle(&rules.config.policy, verdict, source, now.wall, path);
        held.state.set(state);
        self.apply(state.settled(), step, true, now);
        #[cfg(feature = "die-on-demand")]
        super::dying::here("while held requests are settled");
        true
    }

    /// The one place that resumes or answers, in the context that is effective. `held` is whether
    /// Envoy holds the request and must be told to go on.
    pub(super) fn apply(&self, settled: Option<Settled>, step: Step, held: bool, now: Moment) {
        match step {
            Step::Forward { record } => {
                if let (Some(rules), Some(record)) = (&self.rules, &record) {
                    for (name, value) in decision::identity(&rules.config.policy, record) {
                        calls::add_header(name, value);
                    }
                }
                self.record(settled, record.as_deref(), None);
                if held {
                    calls::resume();
                }
            }
            Step::Describe { record } => {
                let id = self.request_id(now);
                self.record(settled, Some(&record), Some(id));
                calls::reply(&reply::describe(&record, id));
            }
            Step::Refuse {
                denial,
                form,
                cause,
                record,
            } => {
                let id = self.request_id(now);
                if let Some(cause) = cause {
                    self.warn(now, id, &cause);
                }
                self.record(settled, record.as_deref(), Some(id));
                let default;
                let replies = match &self.rules {
                    Some(rules) => &rules.config.replies,
                    None => {
                        default = Replies::default();
                        &default
                    }
                };
                calls::reply(&replies.render(denial, form, id, now.wall));
            }
            Step::Ask(_) | Step::AskLive(_) | Step::Ignore => {}
        }
    }

    /// Counts the outcome, and leaves it to the access log.
    fn record(&self, settled: Option<Settled>, record: Option<&Record>, reply: Option<RequestId>) {
        let Some(settled) = settled else {
            return;
        };
        self.count(Counter::of_request(settled.outcome));
        if let Some(source) = settled.source {
            self.count(Counter::of_source(source));
        }
        calls::leave_log_entry(&settled.log_entry(record, reply));
    }

    /// Remembers how long a lookup took. The host is told of many at once: a call costs it less
    /// right behind another of its kind.
    fn observe_lookup(&self, took: Duration) {
        const MANY: usize = 64;

        let mut observed = self.observed.borrow_mut();
        observed.push(ms(took));
        if observed.len() >= MANY {
            self.metrics.observe_lookups(observed.drain(..));
        }
    }

    pub(super) fn count(&self, counter: Counter) {
        self.stats.borrow_mut().add(counter, 1);
    }

    /// Tells the host what was counted since the last time.
    pub(super) fn flush(&self) {
        let mut stats = self.stats.borrow_mut();
        let now = self.now();
        let rules = self.rules.as_ref();
        let mut verdicts = rules.map(|rules| rules.verdicts.borrow_mut());
        if let Some(verdicts) = &mut verdicts {
            for pool in PoolName::ALL {
                stats.add(Counter::of_evictions(pool), verdicts.take_evictions(pool));
            }
        }
        let value = |gauge| match (&verdicts, gauge) {
            (None, _) => 0,
            (Some(verdicts), Gauge::Entries(pool)) => verdicts.entries(pool),
            (Some(verdicts), Gauge::FeedStale) => usize::from(verdicts.is_feed_stale(now)),
        };
        for (gauge, change) in stats.take_changes(value) {
            self.metrics.change(gauge, change);
        }
        let mut observed = self.observed.borrow_mut();
        self.metrics.observe_lookups(observed.drain(..));
        for (counter, events) in stats.take_counts() {
            self.metrics.add(counter, events);
        }
    }

    /// A name for a request that is answered here. Without randomness, the names of one
    /// millisecond are the same.
    fn request_id(&self, now: Moment) -> RequestId {
        /// Drawn at once: a call to the host costs more than the numbers do.
        const MANY: usize = 64;

        let mut random = self.random.borrow_mut();
        if random.is_empty() {
            let bytes: [u8; MANY * size_of::<u128>()] = calls::random().unwrap_or([0; _]);
            let (numbers, _) = bytes.as_chunks();
            random.extend(numbers.iter().copied().map(u128::from_le_bytes));
        }
        RequestId::new(now.wall, random.pop().unwrap_or_default())
    }

    fn warn(&self, now: Moment, id: RequestId, cause: &Cause) {
        let Some(suppressed) = self.warnings.borrow_mut().permit(now.wall) else {
            return;
        };
        let cluster = self
            .rules
            .as_ref()
            .map_or("", |rules| &rules.config.lookup.cluster);
        warn!(
            "keystile: {id} refused with 503, cluster {cluster:?}: {cause} \
             ({suppressed} more since the last such line)"
        );
    }

    /// Lets the root context run soon, if it has something to do.
    pub(super) fn wake_root(&self, rules: &Rules) {
        if self.needs_root(rules) {
            self.tick_every(SOON);
        }
    }

    /// Whether there are lookups that only the root context can make, or requests that one call
    /// into the VM could not settle.
    fn needs_root(&self, rules: &Rules) -> bool {
        rules.verdicts.borrow().needs_root() || !self.decided.borrow().is_empty()
    }

    /// Lets the root context run when it is needed next.
    pub(super) fn tick_in_time(&self, rules: &Rules, now: Moment) {
        let left = match rules.verdicts.borrow().next_deadline() {
            _ if self.needs_root(rules) => SOON,
            Some(deadline) => deadline.saturating_sub(now.steady),
            None => FLUSH,
        };
        self.tick_every(left.clamp(SOON, FLUSH));
    }

    fn tick_every(&self, period: Duration) {
        if self.period.replace(period) != period {
            calls::tick_every(period);
        }
    }
}

impl Drop for Plugin {
    /// The last request of a configuration is over: its counts are told, its gauges go back.
    fn drop(&mut self) {
        self.flush();
        self.rules = None;
        self.flush();
    }
}
