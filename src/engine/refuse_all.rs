//! A filter without a configuration to enforce: it refuses every request with 503.

#![forbid(unsafe_code)]

use crate::auth::cause::Cause;
use crate::decision::Refusal;
use crate::decision::reply::{Replies, ReplyFormat};
use crate::engine::MAX_TICK;
use crate::engine::host::{Flow, Host};
use crate::engine::reporter::Reporter;

/// Refuses all requests on one worker.
#[derive(Debug)]
pub struct RefuseAll(Reporter);

impl RefuseAll {
    /// Creates a filter that sends these replies.
    pub fn new(replies: Replies) -> Self {
        Self(Reporter::new(replies, ""))
    }

    /// Like [`Self::new`], and asks the host to call [`Self::on_tick`].
    pub fn start<H: Host>(host: &mut H, replies: Replies) -> Self {
        host.tick_every(MAX_TICK);
        Self::new(replies)
    }

    /// Refuses a request when its headers arrive.
    pub fn on_request<H: Host>(&mut self, host: &mut H, stream: H::Stream) -> Flow {
        let format = ReplyFormat::of(&host.headers(stream));
        let refusal = Refusal::undecided(Cause::NotConfigured);
        self.0.refuse(host, stream, format, None, &refusal, None);
        Flow::Pause
    }

    /// Reports the counts.
    pub fn on_tick<H: Host>(&mut self, host: &mut H) {
        self.0.flush(host);
    }
}
