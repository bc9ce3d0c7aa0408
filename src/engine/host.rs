//! What the engine asks of a proxy.

#![forbid(unsafe_code)]

use std::fmt::Debug;
use std::hash::Hash;
use std::time::Duration;

use crate::auth::answer::Unsent;
use crate::decision::reply::LocalReply;
use crate::engine::stats::{Counter, Gauge};
use crate::request::headers::Request;

/// Names a callout until its answer is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub u64);

/// Which headers of a request are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Those before its body.
    Headers,
    /// Those after its body.
    Trailers,
}

/// What the proxy does with a request when a callback returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// It goes on to the next filter.
    Continue,
    /// It stays, headers, body and trailers, until it is resumed or answered.
    Pause,
}

/// How much a line of the log matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something that operators may want to know.
    Info,
    /// Something that operators should look at.
    Warn,
}

/// A proxy, as the engine of one worker sees it. A host executes and decides nothing: where it
/// cannot do what it is asked, it does nothing.
pub trait Host {
    /// Names a request until the engine is told that it is gone. Names are not used again.
    type Stream: Copy + Debug + Eq + Hash;

    /// The headers of a request in the callback that brings them.
    fn headers(&mut self, stream: Self::Stream) -> Request;

    /// The trailers of a request in the callback that brings them.
    fn trailers(&mut self, stream: Self::Stream) -> Request;

    /// The target (`:path`, with its query) of a paused request; empty if there is none.
    fn target(&mut self, stream: Self::Stream) -> Vec<u8>;

    /// Removes a header or trailer with all its repeats.
    fn remove(&mut self, stream: Self::Stream, part: Part, name: &str);

    /// Adds a header to a request that has not gone on yet.
    fn add_header(&mut self, stream: Self::Stream, name: &str, value: &str);

    /// Whether nobody waits for this paused request any more: it is gone, or the proxy has answered
    /// it by itself, as at a timeout.
    fn is_over(&mut self, stream: Self::Stream) -> bool;

    /// Sends a paused request on. Its headers are out of reach afterwards.
    fn resume(&mut self, stream: Self::Stream);

    /// Answers a request. Its headers are out of reach afterwards.
    fn reply(&mut self, stream: Self::Stream, reply: &LocalReply<'_>);

    /// Leaves an entry for the access log, in logfmt.
    fn log_entry(&mut self, stream: Self::Stream, entry: &str);

    /// Sends a `GET` without a body to a cluster; pseudo-headers are among its headers. The answer
    /// comes with the token.
    ///
    /// # Errors
    /// Why it was not sent. There is no answer then.
    fn dispatch(
        &mut self,
        cluster: &str,
        headers: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<Token, Unsent>;

    /// Calls the engine's [`on_tick`](crate::engine::Engine::on_tick) each `period` from now on; at
    /// least 1 ms.
    fn tick_every(&mut self, period: Duration);

    /// The time since the Unix epoch; the end of time if it is not known, when every key that
    /// can expire has. A call of its own, as it is seldom needed.
    fn wall_time(&mut self) -> Duration;

    /// Fills in random bytes; `false` if there are none.
    fn random(&mut self, bytes: &mut [u8]) -> bool;

    /// Writes a line to the proxy's log.
    fn log(&mut self, level: Level, line: &str);

    /// Adds to a counter.
    fn count(&mut self, counter: Counter, events: u64);

    /// Adds to a gauge, or takes away from it. All workers share it.
    fn change(&mut self, gauge: Gauge, by: i64);

    /// Takes how long a lookup took, in ms.
    fn observe_lookup(&mut self, ms: u64);
}
