//! The proxy-wasm host, and nothing else that could be said without it.
//!
//! Only the `_bytes` variants of the SDK are used: the others panic on a header that is not
//! UTF-8, and a panic ends the VM for every request on its worker. Header edits come before
//! `resume_http_request` and `send_http_response`, as the maps are gone after them.
//!
//! A callout belongs to the context in whose callback it was made, and its answer is lost with
//! that context. So a request that leaves says so, and the root context asks again for those
//! that wait for the same answer. Whoever gets it settles them all, each in its own context.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use log::{error, warn};
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, BufferType, ContextType, LogLevel, MapType, MetricType, Status};

use crate::cache::{PoolName, Seed};
use crate::clock::Moment;
use crate::config::Config;
use crate::credential::KeyHash;
use crate::flights::FlightId;
use crate::flow::{self, Outcome, Settled, State, Step};
use crate::lookup::Callout;
use crate::reply::{Denial, Form, Replies, RequestId};
use crate::request::Request;
use crate::stats::{self, Counter, Stats};
use crate::throttle::Throttle;
use crate::verdict::{Answer, Cause, Source, Verdict};
use crate::verdicts::{Asked, Verdicts};

/// How often the host is told what was counted.
const FLUSH: Duration = Duration::from_millis(500);

/// How soon the root context makes lookups that nobody else can: the shortest that there is.
const SOON: Duration = Duration::from_millis(1);

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|context_id| {
        Box::new(Root {
            context_id,
            plugin: Rc::new(Plugin::new(None, Metrics::default())),
            lookups: Vec::new(),
        })
    });
}}

/// What the requests of one plugin on one worker share. Nothing of it is static: several plugins,
/// and the old and the new configuration of one, can live in the same VM.
struct Plugin {
    /// `None` when there is none to enforce; each request is refused then.
    rules: Option<Rules>,
    stats: RefCell<Stats>,
    metrics: Metrics,
    warnings: RefCell<Throttle>,
    /// Of the root context's tick.
    period: Cell<Duration>,
    /// Where the steady clock began.
    began: Instant,
}

struct Rules {
    config: Config,
    verdicts: RefCell<Verdicts<Rc<Held>>>,
}

/// A request that Envoy holds, and that any context's callback may settle.
struct Held {
    context_id: u32,
    state: RefCell<State>,
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.context_id == other.context_id
    }
}

/// Defined metrics; `None` where the host would not.
#[derive(Default)]
struct Metrics {
    /// In the order of [`Counter::ALL`].
    counters: Vec<Option<u32>>,
    /// In the order of [`PoolName::ALL`].
    entries: Vec<Option<u32>>,
    lookup_duration: Option<u32>,
}

struct Root {
    context_id: u32,
    plugin: Rc<Plugin>,
    /// Its own lookups, each with the callout's token. They are few.
    lookups: Vec<(u32, KeyHash, FlightId)>,
}

impl RootContext for Root {
    /// Runs once on the main thread and once on each worker. Only what is wrong with the bytes
    /// may refuse here: Envoy would run a worker that alone refuses without the filter.
    fn on_configure(&mut self, size: usize) -> bool {
        let bytes = self.get_plugin_configuration().unwrap_or_default();
        let rules = match Config::parse(&bytes) {
            Ok(config) => Some(Rules::new(config)),
            Err(_) if bytes.len() != size => {
                error!(
                    "keystile: Envoy did not hand over the configuration; refusing all requests"
                );
                None
            }
            Err(problem) => {
                error!("keystile: configuration refused: {problem}");
                return false;
            }
        };
        self.plugin = Rc::new(Plugin::new(rules, Metrics::define()));
        self.lookups.clear();
        self.plugin.tick_every(FLUSH);
        true
    }

    fn on_tick(&mut self) {
        let plugin = Rc::clone(&self.plugin);
        if let Some(rules) = &plugin.rules {
            let now = plugin.now();
            self.make_lookups(rules, now);
            plugin.settle_overdue(rules, now, self.context_id);
            plugin.tick_in_time(rules, now);
        }
        plugin.flush();
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream {
            plugin: Rc::clone(&self.plugin),
            context_id,
            phase: Phase::New,
        }))
    }
}

impl Context for Root {
    fn on_http_call_response(&mut self, token: u32, headers: usize, body_size: usize, _: usize) {
        let mut lookups = self.lookups.iter();
        let Some(at) = lookups.position(|(other, _, _)| *other == token) else {
            return;
        };
        let (_, hash, id) = self.lookups.swap_remove(at);
        let plugin = Rc::clone(&self.plugin);
        if let Some(rules) = &plugin.rules {
            let answer = read_answer(headers, body_size);
            plugin.land(rules, &hash, id, answer, self.context_id);
        }
    }
}

impl Root {
    /// Makes the lookups that no request can make, or that were lost with theirs.
    fn make_lookups(&mut self, rules: &Rules, now: Moment) {
        loop {
            let next = rules.verdicts.borrow_mut().next_of_root(now);
            let Some((hash, id, callout)) = next else {
                return;
            };
            let callout =
                callout.unwrap_or_else(|| rules.config.lookup.callout(&hash, &Request::default()));
            match dispatch(&callout) {
                Ok(token) => self.lookups.push((token, hash, id)),
                Err(reason) => {
                    let answer = Answer::none(Cause::NotSent { reason });
                    self.plugin.land(rules, &hash, id, answer, self.context_id);
                }
            }
        }
    }
}

impl Rules {
    fn new(config: Config) -> Self {
        let verdicts = Verdicts::new(
            config.cache.clone(),
            config.environment.clone(),
            config.lookup.timeout,
            // Where there is no randomness, the seed is one that can be known.
            Seed::new(random().unwrap_or_default()),
        );
        Self {
            config,
            verdicts: RefCell::new(verdicts),
        }
    }
}

impl Plugin {
    fn new(rules: Option<Rules>, metrics: Metrics) -> Self {
        Self {
            rules,
            stats: RefCell::default(),
            metrics,
            warnings: RefCell::default(),
            period: Cell::default(),
            began: Instant::now(),
        }
    }

    fn now(&self) -> Moment {
        let wall = hostcalls::get_current_time().ok();
        Moment {
            wall: wall
                .and_then(|now| now.duration_since(UNIX_EPOCH).ok())
                .unwrap_or_default(),
            steady: self.began.elapsed(),
        }
    }

    /// An answer is here: whoever waited for it is settled. `active` is the context of the
    /// callback, and is effective again afterwards.
    fn land(&self, rules: &Rules, hash: &KeyHash, id: FlightId, answer: Answer, active: u32) {
        let now = self.now();
        self.count(Counter::of_lookup(&answer.verdict));
        let landed = rules.verdicts.borrow_mut().land(hash, id, answer, now);
        let Some(landed) = landed else {
            return;
        };
        if let Some(id) = self.metrics.lookup_duration {
            let ms = u64::try_from(landed.took.as_millis()).unwrap_or(u64::MAX);
            // A statistic that cannot be kept is no reason to treat a request otherwise.
            let _ = hostcalls::record_metric(id, ms);
        }
        for waiter in &landed.waiters {
            let source = landed.source(waiter);
            self.settle_held(rules, &waiter.request, landed.verdict.clone(), source, now);
        }
        let _ = hostcalls::set_effective_context(active);
    }

    /// Whoever has waited too long is settled.
    fn settle_overdue(&self, rules: &Rules, now: Moment, active: u32) {
        let overdue = rules.verdicts.borrow_mut().overdue(now);
        for (waiter, verdict, source) in overdue {
            self.settle_held(rules, &waiter.request, verdict, source, now);
        }
        let _ = hostcalls::set_effective_context(active);
    }

    /// Settles a request that Envoy holds, in its own context, which stays effective.
    fn settle_held(
        &self,
        rules: &Rules,
        held: &Held,
        verdict: Verdict,
        source: Option<Source>,
        now: Moment,
    ) {
        // A context that is gone has left its lookup, and there is nobody to answer.
        if hostcalls::set_effective_context(held.context_id).is_ok() {
            let step = held
                .state
                .borrow_mut()
                .settle(&rules.config, verdict, source, now.wall);
            let settled = held.state.borrow().settled();
            self.apply(settled, step, true, now);
        }
    }

    /// The one place that resumes or answers, in the context that is effective. `held` is whether
    /// Envoy holds the request and must be told to go on. Gives the action for a callback that
    /// wants one.
    fn apply(&self, settled: Option<Settled>, step: Step, held: bool, now: Moment) -> Action {
        match step {
            Step::Forward { record } => {
                if let (Some(rules), Some(record)) = (&self.rules, &record) {
                    for (name, value) in flow::identity(&rules.config, record) {
                        // Names and values were checked when they were read.
                        let _ = hostcalls::add_map_value(MapType::HttpRequestHeaders, name, value);
                    }
                }
                self.record(settled, None);
                if held {
                    // The only status but Ok is one on which the SDK panics.
                    let _ = hostcalls::resume_http_request();
                }
                Action::Continue
            }
            Step::Refuse {
                denial,
                form,
                cause,
            } => {
                let id = RequestId::new(now.wall, request_randomness());
                if let Some(cause) = cause {
                    self.warn(now, id, &cause);
                }
                self.record(settled, Some(id));
                let reply = match &self.rules {
                    Some(rules) => rules.config.replies.render(denial, form, id, now.wall),
                    None => Replies::default().render(denial, form, id, now.wall),
                };
                let headers = reply
                    .headers
                    .iter()
                    .map(|(name, value)| (*name, value.as_str()))
                    .collect();
                let status = u32::from(reply.status);
                let _ = hostcalls::send_http_response(status, headers, Some(reply.body.as_bytes()));
                Action::Pause
            }
            Step::Ask(_) | Step::Ignore => Action::Pause,
        }
    }

    /// Counts the outcome, and leaves it to the access log as `wasm.keystile`.
    fn record(&self, settled: Option<Settled>, reply: Option<RequestId>) {
        let Some(settled) = settled else {
            return;
        };
        self.count(Counter::of_request(settled.outcome));
        if let Some(source) = settled.source {
            self.count(Counter::of_source(source));
        }
        let entry = settled.log_entry(reply);
        let _ = hostcalls::set_property(vec!["keystile"], Some(entry.as_bytes()));
    }

    fn count(&self, counter: Counter) {
        self.stats.borrow_mut().add(counter, 1);
    }

    /// Tells the host what was counted since the last time.
    fn flush(&self) {
        let mut stats = self.stats.borrow_mut();
        for (pool, metric) in PoolName::ALL.into_iter().zip(&self.metrics.entries) {
            let (entries, evictions) = match &self.rules {
                Some(rules) => {
                    let mut verdicts = rules.verdicts.borrow_mut();
                    (verdicts.entries(pool), verdicts.take_evictions(pool))
                }
                None => (0, 0),
            };
            stats.add(Counter::of_evictions(pool), evictions);
            increment(*metric, stats.take_change(pool, entries));
        }
        for (counter, count) in stats.take_counts() {
            let metric = self.metrics.counters.get(counter as usize);
            increment(metric.copied().flatten(), count);
        }
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

    /// Lets the root context run soon, if it has lookups to make.
    fn wake_root(&self, rules: &Rules) {
        if rules.verdicts.borrow().needs_root() {
            self.tick_every(SOON);
        }
    }

    /// Lets the root context run when it is needed next.
    fn tick_in_time(&self, rules: &Rules, now: Moment) {
        let verdicts = rules.verdicts.borrow();
        let left = match verdicts.next_deadline() {
            _ if verdicts.needs_root() => SOON,
            Some(deadline) => deadline.saturating_sub(now.steady),
            None => FLUSH,
        };
        self.tick_every(left.clamp(SOON, FLUSH));
    }

    fn tick_every(&self, period: Duration) {
        if self.period.replace(period) != period {
            // The host counts whole milliseconds, and the SDK cuts the rest.
            let _ = hostcalls::set_tick_period(period);
        }
    }
}

impl Drop for Plugin {
    /// The last request of a configuration is over: its counts are told, its gauges go back.
    fn drop(&mut self) {
        self.rules = None;
        self.flush();
    }
}

impl Metrics {
    fn define() -> Self {
        let define = |kind, name| {
            hostcalls::define_metric(kind, name)
                .inspect_err(|status| warn!("keystile: no statistic {name}: {status:?}"))
                .ok()
        };
        Self {
            counters: Counter::ALL
                .map(|counter| define(MetricType::Counter, counter.name()))
                .to_vec(),
            entries: PoolName::ALL
                .map(|pool| define(MetricType::Gauge, stats::entries(pool)))
                .to_vec(),
            lookup_duration: define(MetricType::Histogram, stats::LOOKUP_DURATION),
        }
    }
}

fn increment(metric: Option<u32>, change: i64) {
    if let Some(id) = metric.filter(|_| change != 0) {
        // A statistic that cannot be kept is no reason to treat a request otherwise.
        let _ = hostcalls::increment_metric(id, change);
    }
}

/// One request.
struct Stream {
    plugin: Rc<Plugin>,
    context_id: u32,
    phase: Phase,
}

enum Phase {
    /// Its headers are not there yet.
    New,
    /// It was held for a lookup, its own or another's.
    Held {
        held: Rc<Held>,
        hash: KeyHash,
        lookup: FlightId,
    },
    /// It was settled at once.
    Settled(State),
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _num_headers: usize, _end_of_stream: bool) -> Action {
        let plugin = Rc::clone(&self.plugin);
        let request = Request::new(headers_of(MapType::HttpRequestHeaders));
        let now = plugin.now();
        let Some(rules) = &plugin.rules else {
            return self.refuse_without_rules(&request, now);
        };
        let begun = flow::begin(&rules.config, &request);
        for name in &begun.remove {
            let _ = hostcalls::remove_map_value(MapType::HttpRequestHeaders, name);
        }
        match begun.step {
            Step::Ask(hash) => self.ask(rules, hash, begun.state, &request, now),
            step => self.settled(begun.state, step, now),
        }
    }

    fn on_http_request_body(&mut self, _body_size: usize, _end_of_stream: bool) -> Action {
        self.hold_or_continue()
    }

    fn on_http_request_trailers(&mut self, _num_trailers: usize) -> Action {
        if let Some(rules) = &self.plugin.rules {
            let trailers = Request::new(headers_of(MapType::HttpRequestTrailers));
            for name in flow::kept_back(&rules.config, &trailers) {
                let _ = hostcalls::remove_map_value(MapType::HttpRequestTrailers, &name);
            }
        }
        self.hold_or_continue()
    }
}

impl Context for Stream {
    fn on_http_call_response(&mut self, _token: u32, headers: usize, body_size: usize, _: usize) {
        let plugin = Rc::clone(&self.plugin);
        if let (Some(rules), Phase::Held { hash, lookup, .. }) = (&plugin.rules, &self.phase) {
            let answer = read_answer(headers, body_size);
            plugin.land(rules, hash, *lookup, answer, self.context_id);
        }
    }
}

impl Stream {
    /// Gets a verdict on a hash, from wherever it can be had.
    fn ask(
        &mut self,
        rules: &Rules,
        hash: KeyHash,
        mut state: State,
        request: &Request,
        now: Moment,
    ) -> Action {
        let asked = rules.verdicts.borrow_mut().ask(&hash, now);
        let (verdict, source) = match asked {
            Asked::Known(verdict, source) => (verdict, Some(source)),
            Asked::Lookup => {
                let callout = rules.config.lookup.callout(&hash, request);
                match dispatch(&callout) {
                    Ok(_) => {
                        let held = self.held(state);
                        let lookup =
                            rules
                                .verdicts
                                .borrow_mut()
                                .lead(hash, Rc::clone(&held), callout, now);
                        return self.hold(held, hash, lookup);
                    }
                    Err(reason) => {
                        self.plugin.count(Counter::LookupsIndeterminate);
                        rules.verdicts.borrow_mut().not_sent(&hash, reason, now)
                    }
                }
            }
            Asked::Join => {
                let held = self.held(state);
                let joined = rules
                    .verdicts
                    .borrow_mut()
                    .join(&hash, Rc::clone(&held), now);
                match joined {
                    Ok(lookup) => return self.hold(held, hash, lookup),
                    Err(cause) => {
                        state = held.state.borrow().clone();
                        (Verdict::Indeterminate(cause), None)
                    }
                }
            }
        };
        self.plugin.wake_root(rules);
        let step = state.settle(&rules.config, verdict, source, now.wall);
        self.settled(state, step, now)
    }

    fn held(&self, state: State) -> Rc<Held> {
        Rc::new(Held {
            context_id: self.context_id,
            state: RefCell::new(state),
        })
    }

    fn hold(&mut self, held: Rc<Held>, hash: KeyHash, lookup: FlightId) -> Action {
        self.phase = Phase::Held { held, hash, lookup };
        Action::Pause
    }

    fn settled(&mut self, state: State, step: Step, now: Moment) -> Action {
        let action = self.plugin.apply(state.settled(), step, false, now);
        self.phase = Phase::Settled(state);
        action
    }

    fn refuse_without_rules(&mut self, request: &Request, now: Moment) -> Action {
        let state = State::Settled(Settled {
            outcome: Outcome::Refused(Denial::Internal),
            source: None,
        });
        let step = Step::Refuse {
            denial: Denial::Internal,
            form: Form::of(request),
            cause: Some(Cause::NotSent {
                reason: "the filter has no configuration",
            }),
        };
        self.settled(state, step, now)
    }

    fn hold_or_continue(&self) -> Action {
        let holds = match &self.phase {
            Phase::New => true,
            Phase::Held { held, .. } => held.state.borrow().holds_body(),
            Phase::Settled(state) => state.holds_body(),
        };
        if holds {
            Action::Pause
        } else {
            Action::Continue
        }
    }
}

impl Drop for Stream {
    /// A client that leaves while its lookup is under way must not take its answer along.
    fn drop(&mut self) {
        let Phase::Held { held, hash, lookup } = &self.phase else {
            return;
        };
        if let Some(rules) = &self.plugin.rules {
            rules.verdicts.borrow_mut().leave(hash, *lookup, held);
            self.plugin.wake_root(rules);
        }
    }
}

/// Makes a callout that belongs to the context of the callback. Gives its token.
fn dispatch(callout: &Callout) -> Result<u32, &'static str> {
    let headers = callout
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let sent =
        hostcalls::dispatch_http_call(&callout.cluster, headers, None, Vec::new(), callout.timeout);
    sent.map_err(|status| match status {
        Status::BadArgument => "Envoy knows no such cluster",
        _ => "Envoy could not send it: no healthy host, or a full circuit breaker",
    })
}

/// Reads the answer to a callout, in its callback.
fn read_answer(num_headers: usize, body_size: usize) -> Answer {
    // Without headers there is no map to ask: the call was reset, or its answer too large.
    if num_headers == 0 {
        return Answer::none(Cause::NoAnswer);
    }
    let headers = Request::new(headers_of(MapType::HttpCallResponseHeaders));
    Answer::read(
        headers.first(":status"),
        headers.values("cache-control"),
        body_size,
        || {
            hostcalls::get_buffer(BufferType::HttpCallResponseBody, 0, body_size)
                .ok()
                .flatten()
                .unwrap_or_default()
        },
    )
}

fn headers_of(map: MapType) -> Vec<(String, Vec<u8>)> {
    hostcalls::get_map_bytes(map).unwrap_or_default()
}

/// For request ids alone: without randomness, the ids of one millisecond are the same.
fn request_randomness() -> u128 {
    let low = u128::from(random().unwrap_or_default());
    let high = u128::from(random().unwrap_or_default());
    (high << 64) | low
}

fn random() -> Option<u64> {
    let mut bytes = [0_u8; 8];
    getrandom::fill(&mut bytes).ok()?;
    Some(u64::from_le_bytes(bytes))
}
