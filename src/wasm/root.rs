//! One filter configuration in one VM: proxy-wasm's root context.

#![forbid(unsafe_code)]

use sha2::{Digest, Sha256};

use super::calls::{self, Calls};
use super::capabilities;
#[cfg(feature = "failpoints")]
use super::failpoints::Failpoints;
use crate::auth::response::Response;
use crate::config;
use crate::decision::reply::Replies;
use crate::engine::Engine;
use crate::engine::host::{Flow, Token};
use crate::engine::refuse_all::RefuseAll;

#[cfg(not(feature = "failpoints"))]
type Proxy = Calls;
#[cfg(feature = "failpoints")]
type Proxy = Failpoints<Calls>;

/// A root context.
pub(super) struct Root {
    pub(super) id: u32,
    proxy: Proxy,
    filter: Filter,
    /// The hash of the filter's configuration.
    configuration: Option<[u8; 32]>,
}

enum Filter {
    /// There is no configuration to enforce, at least not yet.
    RefuseAll(Box<RefuseAll>),
    Configured(Box<Engine<Proxy>>),
}

impl Root {
    /// Creates a root context that refuses every request until it is configured.
    pub(super) fn new(id: u32) -> Self {
        Self {
            id,
            proxy: Proxy::default(),
            filter: refuse_all(),
            configuration: None,
        }
    }

    /// Handles the configuration, once on the main thread and once on each worker. Returns `false`
    /// only if all of them do, for disabled host calls or wrong bytes: if a worker alone refused,
    /// Envoy would run it without the filter. `size` is how many bytes Envoy has to deliver.
    #[cold]
    pub(super) fn on_configure(&mut self, size: usize) -> bool {
        self.proxy.enter(self.id);
        if !capabilities::are_all_allowed() {
            calls::error(
                "capability_restriction_config.allowed_capabilities: the capabilities named above are missing",
            );
            return false;
        }
        let bytes = calls::plugin_configuration();
        let parsed = match config::parse(&bytes) {
            Err(_) if bytes.len() != size => {
                calls::error("Envoy did not deliver the configuration; refusing all requests");
                None
            }
            Err(problem) => {
                calls::error(&format!("configuration refused: {problem}"));
                return false;
            }
            Ok(settings) => Some(settings),
        };
        let hash = Sha256::digest(&bytes).into();
        if parsed.is_some() && self.configuration == Some(hash) {
            return true;
        }
        self.close();
        self.proxy.define_metrics();
        self.configuration = parsed.is_some().then_some(hash);
        self.filter = match parsed {
            Some(settings) => {
                Filter::Configured(Box::new(Engine::start(&mut self.proxy, settings)))
            }
            None => {
                let replies = Replies::default();
                Filter::RefuseAll(Box::new(RefuseAll::start(&mut self.proxy, replies)))
            }
        };
        true
    }

    /// Handles a request's headers; `ends` says whether the request ends with them.
    pub(super) fn on_request(&mut self, stream: u32, ends: bool) -> Flow {
        self.proxy.enter(stream);
        let now = calls::monotonic_time();
        match &mut self.filter {
            Filter::RefuseAll(filter) => filter.on_request(&mut self.proxy, stream),
            Filter::Configured(engine) => engine.on_request(&mut self.proxy, stream, ends, now),
        }
    }

    /// Handles a request's trailers.
    pub(super) fn on_trailers(&mut self, stream: u32) -> Flow {
        self.proxy.enter(stream);
        match &mut self.filter {
            Filter::RefuseAll(_) => Flow::Pause,
            Filter::Configured(engine) => engine.on_trailers(&mut self.proxy, stream),
        }
    }

    /// Handles the end of a request.
    pub(super) fn on_gone(&mut self, stream: u32) {
        if let Filter::Configured(engine) = &mut self.filter {
            engine.on_gone(stream);
        }
    }

    /// Handles the answer to a callout, or its failure.
    pub(super) fn on_answer(&mut self, token: u32, headers: usize, body_size: usize) {
        self.proxy.enter(self.id);
        let now = calls::monotonic_time();
        if let Filter::Configured(engine) = &mut self.filter {
            let response = Response {
                headers: calls::answer_headers(headers),
                body_size,
                body: &|| calls::answer_body(body_size),
            };
            engine.on_answer(&mut self.proxy, Token(token.into()), response, now);
        }
    }

    pub(super) fn on_tick(&mut self) {
        self.proxy.enter(self.id);
        let now = calls::monotonic_time();
        match &mut self.filter {
            Filter::RefuseAll(filter) => filter.on_tick(&mut self.proxy),
            Filter::Configured(engine) => engine.on_tick(&mut self.proxy, now),
        }
    }

    /// Shuts the filter down.
    pub(super) fn close(&mut self) {
        self.proxy.enter(self.id);
        let now = calls::monotonic_time();
        match std::mem::replace(&mut self.filter, refuse_all()) {
            Filter::RefuseAll(mut filter) => filter.on_tick(&mut self.proxy),
            Filter::Configured(engine) => engine.close(&mut self.proxy, now),
        }
    }
}

fn refuse_all() -> Filter {
    Filter::RefuseAll(Box::new(RefuseAll::new(Replies::default())))
}
