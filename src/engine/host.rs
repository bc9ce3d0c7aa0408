//! The interface that the engine needs from a proxy.

#![forbid(unsafe_code)]

use std::fmt::Debug;
use std::hash::Hash;
use std::time::Duration;

use crate::auth::cause::Unsent;
use crate::decision::reply::LocalReply;
use crate::engine::stats::Counter;
use crate::request::headers::Request;

/// Identifies a callout until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub u64);

/// Whether a request's headers or its trailers are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The headers before the body.
    Headers,
    /// The trailers after the body.
    Trailers,
}

/// What the proxy does with a request when a callback returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// The request goes on to the next filter.
    Continue,
    /// The request, with its body and trailers, stays until it is resumed or answered.
    Pause,
}

/// The severity of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something that operators may want to know.
    Info,
    /// Something that operators should look at.
    Warn,
}

/// A proxy, as the engine of one worker sees it. A host decides nothing: it does what it is told, or
/// nothing if it cannot.
pub trait Host {
    /// Identifies a request until the engine is told that it is gone. Values are not reused.
    type Stream: Copy + Debug + Eq + Hash;

    /// Returns a request's headers, in the callback that delivers them.
    fn headers(&mut self, stream: Self::Stream) -> Request;

    /// Returns a request's trailers, in the callback that delivers them.
    fn trailers(&mut self, stream: Self::Stream) -> Request;

    /// Returns the target (`:path`, with its query) of a paused request; empty if there is none.
    fn target(&mut self, stream: Self::Stream) -> Vec<u8>;

    /// Removes a header or trailer with all its repeats. Its name may be any bytes.
    fn remove(&mut self, stream: Self::Stream, part: Part, name: &[u8]);

    /// Adds a header to a request that has not been forwarded yet.
    fn add_header(&mut self, stream: Self::Stream, name: &str, value: &str);

    /// Returns true if this paused request needs no answer any more: it is gone, or the proxy has
    /// answered it by itself, for example at a timeout.
    fn is_over(&mut self, stream: Self::Stream) -> bool;

    /// Resumes a paused request. Its headers are not accessible afterwards.
    fn resume(&mut self, stream: Self::Stream);

    /// Answers a request. Its headers are not accessible afterwards.
    fn reply(&mut self, stream: Self::Stream, reply: &LocalReply<'_>);

    /// Sets the request's entry for the access log, in logfmt.
    fn log_entry(&mut self, stream: Self::Stream, entry: &str);

    /// Sends a `GET` without a body to a cluster; `headers` includes the pseudo-headers. The answer
    /// comes with the token.
    ///
    /// # Errors
    /// Returns why the callout was not sent. No answer follows then.
    fn dispatch(
        &mut self,
        cluster: &str,
        headers: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<Token, Unsent>;

    /// Calls the engine's [`on_tick`](crate::engine::Engine::on_tick) every `period` from now on,
    /// which is at least 1 ms.
    fn tick_every(&mut self, period: Duration);

    /// Returns the time since the Unix epoch. If it is not known, returns the largest value, at which
    /// every key that can expire has expired. A separate call, because it is seldom needed.
    fn wall_time(&mut self) -> Duration;

    /// Fills `bytes` with random bytes; returns `false` if there are none.
    fn random(&mut self, bytes: &mut [u8]) -> bool;

    /// Writes a line to the proxy's log.
    fn log(&mut self, level: Level, line: &str);

    /// Adds to a counter.
    fn count(&mut self, counter: Counter, events: u64);

    /// Records the duration of a lookup, in ms.
    fn observe_lookup(&mut self, ms: u64);
}
