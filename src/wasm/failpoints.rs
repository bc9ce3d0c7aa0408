//! Failpoints, only with the feature `failpoints`: they test what is left when a VM dies. A request's
//! header names the point at which the VM ends, the next time that point is reached.
//!
//! | point | reached |
//! |---|---|
//! | `keystile_on_tick` and the other callbacks | when Envoy calls it |
//! | `keystile_on_http_call_response PATH` | when Envoy calls it with the answer to a callout whose path begins with `PATH` |
//! | `proxy_continue_stream` | when a paused request has been resumed |

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use crate::auth::cause::Unsent;
use crate::decision::reply::LocalReply;
use crate::engine::host::{Host, Level, Part, Token};
use crate::engine::stats::Counter;
use crate::request::headers::Request;

const HEADER: &str = "x-test-failpoint";
const ON_REQUEST_HEADERS: &str = "keystile_on_request_headers";
const ON_ANSWER: &str = "keystile_on_http_call_response";

thread_local! {
    /// Deliberately in the VM and not in a filter: it is the VM that dies, with everything in it.
    static ARMED: RefCell<String> = const { RefCell::new(String::new()) };
    /// The path of each callout that was sent, by its token.
    static PATHS: RefCell<HashMap<u64, String>> = RefCell::default();
}

/// Handles the call of a callback with these arguments.
pub(super) fn reached(callback: &str, arguments: &[u32]) {
    let path = match arguments {
        [_, token, ..] if callback == ON_ANSWER => {
            PATHS.with_borrow_mut(|paths| paths.remove(&u64::from(*token)))
        }
        _ => None,
    };
    hit(&format!("{callback} {}", path.unwrap_or_default()));
}

/// Ends the VM if this is the armed point.
fn hit(point: &str) {
    if ARMED.with_borrow(|armed| !armed.is_empty() && point.starts_with(armed.as_str())) {
        std::process::abort();
    }
}

/// A host that arms the failpoints that requests name, and that may end the VM.
#[derive(Debug, Default)]
pub(super) struct Failpoints<H>(H);

impl<H> Deref for Failpoints<H> {
    type Target = H;

    fn deref(&self) -> &H {
        &self.0
    }
}

impl<H> DerefMut for Failpoints<H> {
    fn deref_mut(&mut self) -> &mut H {
        &mut self.0
    }
}

impl<H: Host> Host for Failpoints<H> {
    type Stream = H::Stream;

    fn headers(&mut self, stream: H::Stream) -> Request {
        let request = self.0.headers(stream);
        if let Some(point) = request.first(HEADER) {
            ARMED.set(String::from_utf8_lossy(point).into_owned());
            // The request that names this point has reached it.
            hit(ON_REQUEST_HEADERS);
        }
        request
    }

    fn trailers(&mut self, stream: H::Stream) -> Request {
        self.0.trailers(stream)
    }

    fn target(&mut self, stream: H::Stream) -> Vec<u8> {
        self.0.target(stream)
    }

    fn remove(&mut self, stream: H::Stream, part: Part, name: &[u8]) {
        self.0.remove(stream, part, name);
    }

    fn add_header(&mut self, stream: H::Stream, name: &str, value: &str) {
        self.0.add_header(stream, name, value);
    }

    fn is_over(&mut self, stream: H::Stream) -> bool {
        self.0.is_over(stream)
    }

    fn resume(&mut self, stream: H::Stream) {
        self.0.resume(stream);
        hit("proxy_continue_stream");
    }

    fn reply(&mut self, stream: H::Stream, reply: &LocalReply<'_>) {
        self.0.reply(stream, reply);
    }

    fn log_entry(&mut self, stream: H::Stream, entry: &str) {
        self.0.log_entry(stream, entry);
    }

    fn dispatch(
        &mut self,
        cluster: &str,
        headers: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<Token, Unsent> {
        let token = self.0.dispatch(cluster, headers, timeout)?;
        let path = headers.iter().find(|(name, _)| *name == ":path");
        let path = path.map_or_else(String::new, |(_, path)| (*path).to_owned());
        PATHS.with_borrow_mut(|paths| paths.insert(token.0, path));
        Ok(token)
    }

    fn tick_every(&mut self, period: Duration) {
        self.0.tick_every(period);
    }

    fn wall_time(&mut self) -> Duration {
        self.0.wall_time()
    }

    fn random(&mut self, bytes: &mut [u8]) -> bool {
        self.0.random(bytes)
    }

    fn log(&mut self, level: Level, line: &str) {
        self.0.log(level, line);
    }

    fn count(&mut self, counter: Counter, events: u64) {
        self.0.count(counter, events);
    }

    fn observe_lookup(&mut self, ms: u64) {
        self.0.observe_lookup(ms);
    }
}
