//! The proxy-wasm host's callbacks: what it tells of a request, of an answer and of time.
//!
//! [`plugin`] has what follows from them, [`calls`] each call back to the host,
//! [`capabilities`] whether these are allowed, `pausing` what a pause is. Nothing outside of this
//! module knows of proxy-wasm.

mod calls;
mod capabilities;
#[cfg(feature = "die-on-demand")]
mod dying;
#[cfg(target_family = "wasm")]
mod pausing;
mod plugin;

use std::cell::Cell;
use std::rc::Rc;

use log::error;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel, MapType};

use crate::auth::answer::{Answer, Cause, Source, Verdict};
use crate::clock::Moment;
use crate::config;
use crate::decision::denial::Denial;
use crate::decision::outcome::Outcome;
use crate::decision::reply::ReplyFormat;
use crate::decision::{self, Settled, State, Step};
use crate::engine::inflight::FlightId;
use crate::engine::stats::Counter;
use crate::engine::verdicts::Asked;
use crate::request::headers::Request;
use crate::request::key_hash::KeyHash;

use plugin::{Held, Plugin, Rules};

#[cfg(target_family = "wasm")]
#[global_allocator]
static ALLOCATOR: talc::wasm::WasmDynamicTalc = talc::wasm::new_wasm_dynamic_allocator();

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|context_id| {
        Box::new(Root {
            context_id,
            plugin: Rc::default(),
            lookups: Vec::new(),
            poll: None,
        })
    });
}}

/// One plugin on one worker.
struct Root {
    context_id: u32,
    plugin: Rc<Plugin>,
    /// Its own lookups, each with the callout's token. They are few.
    lookups: Vec<(u32, KeyHash, FlightId)>,
    /// The token of its poll of the feed.
    poll: Option<u32>,
}

impl RootContext for Root {
    /// Runs once on the main thread and once on each worker. Only what is wrong with the bytes
    /// may refuse here: Envoy would run a worker that alone refuses without the filter.
    fn on_configure(&mut self, size: usize) -> bool {
        #[cfg(feature = "die-on-demand")]
        dying::here("on_configure");
        if !capabilities::are_all_allowed() {
            error!(
                "keystile: capability_restriction_config.allowed_capabilities: lacks what is named above"
            );
            return false;
        }
        let bytes = calls::plugin_configuration();
        let rules = match config::parse(&bytes) {
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
        self.plugin = Rc::new(Plugin::new(rules));
        self.lookups.clear();
        self.poll = None;
        true
    }

    fn on_tick(&mut self) {
        #[cfg(feature = "die-on-demand")]
        dying::here("on_tick");
        let plugin = Rc::clone(&self.plugin);
        if let Some(rules) = &plugin.rules {
            let now = plugin.now();
            self.make_lookups(rules, now);
            self.poll_feed(rules, now);
            plugin.give_up(rules, now);
            plugin.settle_decided(rules, self.context_id, now);
            plugin.tick_in_time(rules, now);
        }
        plugin.flush();
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, context_id: u32) -> Option<Box<dyn HttpContext>> {
        #[cfg(feature = "die-on-demand")]
        dying::here("create_http_context");
        Some(Box::new(Stream {
            plugin: Rc::clone(&self.plugin),
            context_id,
            phase: Phase::New,
        }))
    }
}

impl Context for Root {
    fn on_http_call_response(&mut self, token: u32, headers: usize, body_size: usize, _: usize) {
        let plugin = Rc::clone(&self.plugin);
        let now = plugin.now();
        if let Some(rules) = &plugin.rules
            && self.poll.take_if(|poll| *poll == token).is_some()
        {
            #[cfg(feature = "die-on-demand")]
            dying::here("root's on_http_call_response, of the feed");
            plugin.polled(rules, calls::read_page(headers, body_size), now);
            return;
        }
        let mut lookups = self.lookups.iter();
        let Some(at) = lookups.position(|(other, _, _)| *other == token) else {
            return;
        };
        #[cfg(feature = "die-on-demand")]
        dying::here("root's on_http_call_response, of a lookup");
        let (_, hash, id) = self.lookups.swap_remove(at);
        if let Some(rules) = &plugin.rules {
            let answer = calls::read_answer(&hash, headers, body_size);
            plugin.land(rules, &hash, id, answer, now);
            plugin.settle_decided(rules, self.context_id, now);
            plugin.wake_root(rules);
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
            let callout = callout.unwrap_or_else(|| {
                rules.config.lookup.callout(
                    &hash,
                    &Request::default(),
                    &rules.config.policy.credential,
                )
            });
            let lookup = &rules.config.lookup;
            match calls::dispatch(&lookup.cluster, lookup, &callout) {
                Ok(token) => self.lookups.push((token, hash, id)),
                Err(reason) => {
                    let answer = Answer::none(Cause::NotSent(reason));
                    self.plugin.land(rules, &hash, id, answer, now);
                }
            }
        }
    }

    fn poll_feed(&mut self, rules: &Rules, now: Moment) {
        let Some(feed) = &rules.config.feed else {
            return;
        };
        let callout = rules.verdicts.borrow_mut().poll(now);
        let dispatch = |callout| calls::dispatch(&feed.cluster, &rules.config.lookup, &callout);
        match callout.map(dispatch) {
            None => {}
            Some(Ok(token)) => self.poll = Some(token),
            Some(Err(reason)) => {
                self.poll = None;
                self.plugin
                    .polled(rules, Err(format!("not polled: {reason}")), now);
            }
        }
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
    /// It is held for a lookup of its own, which no other request has to do with.
    Live { held: Rc<Held>, hash: KeyHash },
    /// It was settled at once.
    Settled(State),
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _num_headers: usize, ends: bool) -> Action {
        let plugin = Rc::clone(&self.plugin);
        let request = calls::headers_of(MapType::HttpRequestHeaders).ending_with_headers(ends);
        #[cfg(feature = "die-on-demand")]
        {
            dying::listen(&request);
            dying::here("on_http_request_headers");
        }
        let now = plugin.now();
        let Some(rules) = &plugin.rules else {
            return self.refuse_without_rules(&request, now);
        };
        let begun = decision::begin(&rules.config.policy, &request);
        for name in &begun.remove {
            calls::remove(MapType::HttpRequestHeaders, name);
        }
        match begun.step {
            Step::Ask(hash) => self.ask(rules, hash, begun.state, &request, now),
            Step::AskLive(hash) => self.ask_live(rules, hash, begun.state, &request, now),
            step => self.settled(begun.state, step, now),
        }
    }

    fn on_http_request_body(&mut self, _body_size: usize, _end_of_stream: bool) -> Action {
        #[cfg(feature = "die-on-demand")]
        dying::here("on_http_request_body");
        self.hold_or_continue()
    }

    fn on_http_request_trailers(&mut self, _num_trailers: usize) -> Action {
        #[cfg(feature = "die-on-demand")]
        dying::here("on_http_request_trailers");
        if let Some(rules) = &self.plugin.rules {
            let trailers = calls::headers_of(MapType::HttpRequestTrailers);
            for name in decision::kept_back(&rules.config.policy, &trailers) {
                calls::remove(MapType::HttpRequestTrailers, name);
            }
        }
        self.hold_or_continue()
    }
}

impl Context for Stream {
    fn on_http_call_response(&mut self, _token: u32, headers: usize, body_size: usize, _: usize) {
        #[cfg(feature = "die-on-demand")]
        dying::here("on_http_call_response");
        let plugin = Rc::clone(&self.plugin);
        let Some(rules) = &plugin.rules else {
            return;
        };
        let now = plugin.now();
        let answer = |hash| calls::read_answer(hash, headers, body_size);
        match &self.phase {
            Phase::Held { hash, lookup, .. } => {
                plugin.land(rules, hash, *lookup, answer(hash), now);
            }
            Phase::Live { held, hash } => plugin.land_live(rules, held, hash, answer(hash), now),
            Phase::New | Phase::Settled(_) => return,
        }
        plugin.settle_decided(rules, self.context_id, now);
        plugin.wake_root(rules);
    }
}

impl Stream {
    /// Gets a verdict on a hash, from wherever it can be had.
    fn ask(
        &mut self,
        rules: &Rules,
        hash: KeyHash,
        state: State,
        request: &Request,
        now: Moment,
    ) -> Action {
        let asked = rules.verdicts.borrow_mut().ask(&hash, now);
        let (verdict, source) = match asked {
            Asked::Known(verdict, source) => (verdict, Some(source)),
            Asked::Lookup { tests_outage } => {
                let callout =
                    rules
                        .config
                        .lookup
                        .callout(&hash, request, &rules.config.policy.credential);
                let lookup = &rules.config.lookup;
                match calls::dispatch(&lookup.cluster, lookup, &callout) {
                    Ok(_) => {
                        let held = self.held(state, now);
                        let lookup = rules.verdicts.borrow_mut().lead(
                            hash,
                            Rc::clone(&held),
                            callout,
                            tests_outage,
                            now,
                        );
                        return self.hold(held, hash, lookup);
                    }
                    Err(reason) => {
                        self.plugin.count(Counter::LookupsIndeterminate);
                        rules.verdicts.borrow_mut().not_sent(&hash, reason, now)
                    }
                }
            }
            Asked::Join => {
                let held = self.held(state, now);
                let joined = rules
                    .verdicts
                    .borrow_mut()
                    .join(&hash, Rc::clone(&held), now);
                match joined {
                    Ok(lookup) => return self.hold(held, hash, lookup),
                    Err(cause) => (Verdict::Indeterminate(cause), None),
                }
            }
        };
        self.plugin.wake_root(rules);
        self.settle(rules, state, verdict, source, request, now)
    }

    /// Gets a verdict on a hash by a lookup that is made now, for this request alone.
    fn ask_live(
        &mut self,
        rules: &Rules,
        hash: KeyHash,
        state: State,
        request: &Request,
        now: Moment,
    ) -> Action {
        let lookup = &rules.config.lookup;
        let callout = rules
            .config
            .lookup
            .callout(&hash, request, &rules.config.policy.credential);
        if let Err(reason) = calls::dispatch(&lookup.cluster, lookup, &callout) {
            self.plugin.count(Counter::LookupsIndeterminate);
            let verdict = Verdict::Indeterminate(Cause::NotSent(reason));
            return self.settle(rules, state, verdict, None, request, now);
        }
        let held = self.held(state, now);
        self.plugin.watch(&held);
        self.phase = Phase::Live { held, hash };
        Action::Pause
    }

    fn held(&self, state: State, now: Moment) -> Rc<Held> {
        Rc::new(Held {
            context_id: self.context_id,
            state: Cell::new(state),
            since: now.steady,
            gone: Cell::new(false),
        })
    }

    fn hold(&mut self, held: Rc<Held>, hash: KeyHash, lookup: FlightId) -> Action {
        self.phase = Phase::Held { held, hash, lookup };
        Action::Pause
    }

    /// Settles a request that is not held yet.
    fn settle(
        &mut self,
        rules: &Rules,
        mut state: State,
        verdict: Verdict,
        source: Option<Source>,
        request: &Request,
        now: Moment,
    ) -> Action {
        let path = || request.path();
        let step = state.settle(&rules.config.policy, verdict, source, now.wall, path);
        self.settled(state, step, now)
    }

    fn settled(&mut self, state: State, step: Step, now: Moment) -> Action {
        self.plugin.apply(state.settled(), step, false, now);
        self.phase = Phase::Settled(state);
        self.hold_or_continue()
    }

    fn refuse_without_rules(&mut self, request: &Request, now: Moment) -> Action {
        let state = State::Settled(Settled {
            outcome: Outcome::Refused(Denial::Internal),
            source: None,
        });
        let step = Step::Refuse {
            denial: Denial::Internal,
            form: ReplyFormat::of(request),
            cause: Some(Cause::NotConfigured),
            record: None,
        };
        self.settled(state, step, now)
    }

    fn hold_or_continue(&self) -> Action {
        let holds = match &self.phase {
            Phase::New => true,
            Phase::Held { held, .. } | Phase::Live { held, .. } => held.state.get().holds_body(),
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
        #[cfg(feature = "die-on-demand")]
        dying::here("on_delete");
        if let Phase::Live { held, .. } = &self.phase {
            held.gone.set(true);
            if held.state.get().settled().is_none() {
                self.plugin.count(Counter::LookupsLost);
            }
        }
        let Phase::Held { held, hash, lookup } = &self.phase else {
            return;
        };
        held.gone.set(true);
        if let Some(rules) = &self.plugin.rules {
            if rules.verdicts.borrow_mut().leave(hash, *lookup, held) {
                self.plugin.count(Counter::LookupsLost);
            }
            self.plugin.wake_root(rules);
        }
    }
}
