//! The proxy-wasm host, and nothing else that could be said without it.
//!
//! Only the `_bytes` variants of the SDK are used: the others panic on a header that is not
//! UTF-8, and a panic ends the VM for every request on its worker. Header edits come before
//! `resume_http_request` and `send_http_response`, as the maps are gone after them.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use log::{error, warn};
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel, MetricType, Status};

use crate::config::Config;
use crate::flow::{self, Outcome, State, Step};
use crate::lookup::{Callout, Cause, Verdict};
use crate::reply::{Denial, Form, Replies, RequestId};
use crate::request::Request;
use crate::stats::Counter;
use crate::throttle::Throttle;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::<Root>::default());
}}

/// What the requests of one plugin on one worker share. Nothing of it is static: several plugins,
/// and the old and the new configuration of one, can live in the same VM.
#[derive(Default)]
struct Plugin {
    /// `None` when there is none to enforce; each request is refused then.
    config: Option<Config>,
    /// One for each counter, in the order of [`Counter::ALL`].
    metrics: Vec<Option<u32>>,
    warnings: RefCell<Throttle>,
}

#[derive(Default)]
struct Root {
    plugin: Rc<Plugin>,
}

impl Context for Root {}

impl RootContext for Root {
    /// Runs once on the main thread and once on each worker. Only what is wrong with the bytes
    /// may refuse here: Envoy would run a worker that alone refuses without the filter.
    fn on_configure(&mut self, size: usize) -> bool {
        let bytes = self.get_plugin_configuration().unwrap_or_default();
        let config = match Config::parse(&bytes) {
            Ok(config) => Some(config),
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
        self.plugin = Rc::new(Plugin {
            config,
            metrics: Counter::ALL.into_iter().map(define).collect(),
            warnings: RefCell::default(),
        });
        true
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream {
            plugin: Rc::clone(&self.plugin),
            context_id,
            state: None,
            paused: false,
        }))
    }
}

fn define(counter: Counter) -> Option<u32> {
    let defined = hostcalls::define_metric(MetricType::Counter, counter.name());
    defined
        .inspect_err(|status| warn!("keystile: no statistic {}: {status:?}", counter.name()))
        .ok()
}

impl Plugin {
    fn count(&self, counter: Counter) {
        if let Some(Some(id)) = self.metrics.get(counter as usize) {
            // A statistic that cannot be counted is no reason to treat the request otherwise.
            let _ = hostcalls::increment_metric(*id, 1);
        }
    }

    fn warn(&self, now: Duration, id: RequestId, cause: &Cause) {
        let Some(suppressed) = self.warnings.borrow_mut().permit(now) else {
            return;
        };
        let cluster = self
            .config
            .as_ref()
            .map_or("", |config| &config.lookup.cluster);
        warn!(
            "keystile: {id} refused with 503, cluster {cluster:?}: {cause} \
             ({suppressed} more since the last such line)"
        );
    }
}

/// One request.
struct Stream {
    plugin: Rc<Plugin>,
    context_id: u32,
    /// `None` until the request's headers are there.
    state: Option<State>,
    /// Whether Envoy holds the request and must be told to go on.
    paused: bool,
}

impl Context for Stream {
    fn on_http_call_response(
        &mut self,
        _token_id: u32,
        num_headers: usize,
        body_size: usize,
        _num_trailers: usize,
    ) {
        // Without headers there is no map to ask: the call was reset, or its answer too large.
        let status = (num_headers > 0)
            .then(|| self.get_http_call_response_header_bytes(":status"))
            .flatten();
        let verdict = Verdict::of_answer(status.as_deref(), body_size, || {
            self.get_http_call_response_body(0, body_size)
                .unwrap_or_default()
        });
        self.settle(verdict);
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _num_headers: usize, _end_of_stream: bool) -> Action {
        let plugin = Rc::clone(&self.plugin);
        let request = Request::new(self.get_http_request_headers_bytes());
        let Some(config) = &plugin.config else {
            self.state = Some(State::Settled(Outcome::Refused(Denial::Internal)));
            return self.apply(Step::Refuse {
                denial: Denial::Internal,
                form: Form::of(&request),
                cause: Some(Cause::NotSent {
                    reason: "the filter has no configuration",
                }),
            });
        };
        let begun = flow::begin(config, &request);
        for name in &begun.remove {
            self.remove_http_request_header(name);
        }
        self.state = Some(begun.state);
        self.apply(begun.step)
    }

    fn on_http_request_body(&mut self, _body_size: usize, _end_of_stream: bool) -> Action {
        self.hold_or_continue()
    }

    fn on_http_request_trailers(&mut self, _num_trailers: usize) -> Action {
        if let Some(config) = &self.plugin.config {
            let trailers = Request::new(self.get_http_request_trailers_bytes());
            for name in flow::kept_back(config, &trailers) {
                self.remove_http_request_trailer(&name);
            }
        }
        self.hold_or_continue()
    }
}

impl Stream {
    fn settle(&mut self, verdict: Verdict) -> Action {
        let plugin = Rc::clone(&self.plugin);
        plugin.count(Counter::of_lookup(&verdict));
        let (Some(config), Some(state)) = (&plugin.config, self.state.take()) else {
            return Action::Pause;
        };
        let (state, step) = state.settle(config, verdict, self.now());
        self.state = Some(state);
        self.apply(step)
    }

    /// The one place that dispatches, resumes or answers. Gives the action for a callback that
    /// wants one.
    fn apply(&mut self, step: Step) -> Action {
        match step {
            Step::Lookup(callout) => match self.dispatch(&callout) {
                Ok(()) => {
                    self.paused = true;
                    Action::Pause
                }
                Err(reason) => self.settle(Verdict::Indeterminate(Cause::NotSent { reason })),
            },
            Step::Forward { set } => {
                for (name, value) in &set {
                    self.add_http_request_header(name, value);
                }
                self.record();
                if self.paused {
                    self.paused = false;
                    self.resume_http_request();
                }
                Action::Continue
            }
            Step::Refuse {
                denial,
                form,
                cause,
            } => {
                let now = self.now();
                let id = RequestId::new(now, self.random());
                if let Some(cause) = cause {
                    self.plugin.warn(now, id, &cause);
                }
                self.record();
                self.set_property(vec!["keystile_request_id"], Some(id.to_string().as_bytes()));
                let reply = match &self.plugin.config {
                    Some(config) => config.replies.render(denial, form, id, now),
                    None => Replies::default().render(denial, form, id, now),
                };
                let headers = reply
                    .headers
                    .iter()
                    .map(|(name, value)| (*name, value.as_str()))
                    .collect();
                self.send_http_response(
                    u32::from(reply.status),
                    headers,
                    Some(reply.body.as_bytes()),
                );
                Action::Pause
            }
            Step::Ignore => Action::Pause,
        }
    }

    fn dispatch(&self, callout: &Callout) -> Result<(), &'static str> {
        let headers = callout
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let cluster = &callout.cluster;
        match self.dispatch_http_call(cluster, headers, None, Vec::new(), callout.timeout) {
            Ok(_) => Ok(()),
            Err(Status::BadArgument) => Err("Envoy knows no such cluster"),
            Err(_) => Err("Envoy could not send it: no healthy host, or a full circuit breaker"),
        }
    }

    /// Counts the outcome, and leaves it to the access log as `wasm.keystile_outcome`.
    fn record(&self) {
        if let Some(State::Settled(outcome)) = &self.state {
            self.plugin.count(Counter::of_request(*outcome));
            self.set_property(vec!["keystile_outcome"], Some(outcome.name().as_bytes()));
        }
    }

    fn hold_or_continue(&self) -> Action {
        if self.state.as_ref().is_none_or(State::holds_body) {
            Action::Pause
        } else {
            Action::Continue
        }
    }

    fn now(&self) -> Duration {
        self.get_current_time()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
    }

    /// For request ids alone: where there is no randomness, ids within a millisecond still differ.
    fn random(&self) -> u128 {
        let mut bytes = [0_u8; 16];
        match getrandom::fill(&mut bytes) {
            Ok(()) => u128::from_le_bytes(bytes),
            Err(_) => u128::from(self.context_id),
        }
    }
}
