//! The filter on one worker: its paused requests, in-flight lookups, cached verdicts and statistics.
//!
//! [`Engine`] makes every decision; a [`Host`] only carries them out. Time is passed in, as read from
//! a monotonic clock that starts some time before the first callback.

#![forbid(unsafe_code)]

mod backoff;
pub mod cache;
pub mod host;
mod inflight;
mod lookups;
mod notices;
mod polls;
mod reachability;
pub mod refuse_all;
mod reporter;
mod sending;
mod session;
pub mod settings;
pub mod stats;
mod ticks;
mod verdicts;

#[cfg(any(test, feature = "fake-host"))]
pub mod fake_host;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use crate::auth::answer::{Source, Verdict};
use crate::auth::cause::Cause;
use crate::auth::response::Response;
use crate::decision::outcome::Outcome;
use crate::decision::reply::ReplyFormat;
use crate::decision::{self, Next};
use crate::engine::backoff::Backoff;
use crate::engine::cache::Seed;
use crate::engine::host::{Flow, Host, Part, Token};
use crate::engine::inflight::{Answered, InFlight};
use crate::engine::notices::Notices;
use crate::engine::reporter::Reporter;
use crate::engine::session::{Decided, Session, Sessions, Subject};
use crate::engine::settings::Settings;
use crate::engine::verdicts::Verdicts;

/// The longest tick period: how often counts are reported to the host.
const MAX_TICK: Duration = Duration::from_millis(500);

/// The shortest tick period, for work that is left over from one callback for the next.
const MIN_TICK: Duration = Duration::from_millis(1);

/// How many paused requests are resolved in one callback. Envoy acts on them only after the callback
/// has returned. It then sends each reply from within the previous one, because each reply calls into
/// the VM: V8's stack ends at about 300.
const MAX_RESOLVED_PER_CALLBACK: usize = 64;

/// The filter on one worker. It has no static state: several filters, and the old and the new
/// configuration of one filter, can live in the same process or VM.
#[derive(Debug)]
pub struct Engine<H: Host> {
    settings: Settings,
    verdicts: Verdicts,
    inflight: InFlight<H::Stream>,
    backoff: Backoff,
    notices: Notices,
    sessions: Sessions<H::Stream>,
    /// Paused requests that have their verdict. Each callback resolves up to
    /// [`MAX_RESOLVED_PER_CALLBACK`] of them.
    decided: VecDeque<H::Stream>,
    /// The in-flight poll of the feed.
    poll: Option<Token>,
    reporter: Reporter,
    /// When counts were last reported.
    flushed: Option<Duration>,
    /// The current tick period.
    period: Duration,
}

impl<H: Host> Engine<H> {
    /// Starts a worker with an empty cache, and its ticks.
    pub fn start(host: &mut H, settings: Settings) -> Self {
        let mut random = [0; 8];
        // Without randomness, the seed is predictable.
        host.random(&mut random);
        let seed = Seed::new(u64::from_le_bytes(random));
        // Poll the feed soon: its first answer discards everything that was looked up before.
        let period = if settings.feed.is_some() {
            MIN_TICK
        } else {
            MAX_TICK
        };
        host.tick_every(period);
        let lookup = &settings.lookup;
        Self {
            verdicts: Verdicts::new(&settings, seed),
            inflight: InFlight::new(lookup.timeout, lookup.max_concurrent, seed),
            backoff: Backoff::default(),
            notices: Notices::new(&lookup.cluster, lookup.require_key_hash, seed),
            sessions: Sessions::new(seed),
            decided: VecDeque::new(),
            poll: None,
            reporter: Reporter::new(settings.replies.clone(), &lookup.cluster),
            flushed: None,
            period,
            settings,
        }
    }

    /// Handles a request's headers; `ends` says whether the request ends with them.
    pub fn on_request(
        &mut self,
        host: &mut H,
        stream: H::Stream,
        ends: bool,
        now: Duration,
    ) -> Flow {
        let request = host.headers(stream).ending_with_headers(ends);
        let remove = |name: &[u8]| host.remove(stream, Part::Headers, name);
        match decision::begin(&self.settings.policy, &request, remove) {
            Next::Forward => {
                let exempt = Outcome::Exempt;
                self.reporter.forwarded(host, stream, exempt, None, None);
                Flow::Continue
            }
            Next::Refuse(denial) => {
                let format = ReplyFormat::of(&request);
                let refusal = denial.into();
                self.reporter
                    .refuse(host, stream, format, None, &refusal, None);
                Flow::Pause
            }
            Next::Ask {
                hash,
                introspects: false,
            } => self.ask(host, stream, hash, &request, now),
            Next::Ask {
                hash,
                introspects: true,
            } => self.ask_uncached(host, stream, hash, &request, now),
        }
    }

    /// Handles a request's trailers.
    pub fn on_trailers(&mut self, host: &mut H, stream: H::Stream) -> Flow {
        let trailers = host.trailers(stream);
        let remove = |name: &[u8]| host.remove(stream, Part::Trailers, name);
        decision::strip(&self.settings.policy, &trailers, remove);
        // The proxy holds back the trailers of a paused request by itself. If it does not, they must
        // not send the request on.
        if self.sessions.contains(stream) {
            Flow::Pause
        } else {
            Flow::Continue
        }
    }

    /// Handles the end of a request, which can be neither resumed nor answered from now on.
    pub fn on_gone(&mut self, stream: H::Stream) {
        if let Some(Session::Waiting { hash, .. }) = self.sessions.remove(stream) {
            self.inflight.leave(&hash, stream);
        }
    }

    /// Handles the answer to a callout, or its failure.
    pub fn on_answer(&mut self, host: &mut H, token: Token, response: Response<'_>, now: Duration) {
        if self.poll.take_if(|poll| *poll == token).is_some() {
            self.polled(host, response.page(), now);
            return;
        }
        match self.inflight.answered(token) {
            None => return,
            Some(Answered::Lookup(hash, lookup)) => {
                let answer = response.answer(&hash, self.settings.lookup.require_key_hash);
                self.complete(host, hash, lookup, answer, now);
            }
            Some(Answered::Uncached(lookup)) => {
                let answer = response.answer(&lookup.hash, self.settings.lookup.require_key_hash);
                self.complete_uncached(host, lookup, answer, now);
            }
        }
        self.resolve_decided(host, now);
        if !self.decided.is_empty() {
            self.tick_every(host, MIN_TICK);
        }
    }

    /// Handles a tick. At least the requested period has passed since the last one.
    pub fn on_tick(&mut self, host: &mut H, now: Duration) {
        self.poll_feed(host, now);
        self.give_up(host, now);
        self.resolve_decided(host, now);
        self.tick_in_time(host, now);
        self.flush(host, now);
    }

    /// Shuts down, because the filter is reconfigured or removed. All waiting requests are answered,
    /// and all counts are reported.
    pub fn close(mut self, host: &mut H, now: Duration) {
        for stream in self.sessions.streams() {
            let closed = Verdict::Indeterminate(Cause::Replaced);
            if self.sessions.decide(stream, &closed, None) {
                self.decided.push_back(stream);
            }
        }
        while !self.decided.is_empty() {
            self.resolve_decided(host, now);
        }
        self.flush(host, now);
    }

    /// Resolves paused requests that have their verdict, up to the limit for one callback.
    fn resolve_decided(&mut self, host: &mut H, now: Duration) {
        let mut resolved = 0_usize;
        while resolved < MAX_RESOLVED_PER_CALLBACK
            && let Some(stream) = self.decided.pop_front()
        {
            let Some(decided) = self.sessions.take_decided(stream) else {
                continue;
            };
            if host.is_over(stream) {
                continue;
            }
            let Decided {
                request,
                verdict,
                source,
            } = decided;
            let paused = Subject::Paused(request);
            if self.resolve(host, stream, &paused, verdict, source, now) == Flow::Continue {
                host.resume(stream);
            }
            resolved = resolved.saturating_add(1);
        }
    }

    /// Takes a request that has its verdict through the rest of the decision table.
    fn resolve(
        &mut self,
        host: &mut H,
        stream: H::Stream,
        subject: &Subject<'_>,
        verdict: Verdict,
        source: Option<Source>,
        now: Duration,
    ) -> Flow {
        let policy = &self.settings.policy;
        let introspects = subject.introspects();
        let judged = match decision::judge(policy, verdict, || host.wall_time()) {
            // Every key may introspect itself, whatever its endpoints.
            Ok(record) if !introspects => {
                decision::permit(record, || subject.path(|| host.target(stream)))
            }
            judged => judged,
        };
        match judged {
            Ok(record) if introspects => {
                self.reporter.describe(host, stream, source, &record);
                Flow::Pause
            }
            Ok(record) => {
                for (name, value) in policy.identity(&record) {
                    host.add_header(stream, name, value);
                }
                let (allowed, record) = (Outcome::Allowed, Some(&*record));
                self.reporter
                    .forwarded(host, stream, allowed, source, record);
                Flow::Continue
            }
            Err(refusal) => {
                let format = subject.format();
                let retry_after = self.backoff.remaining(now);
                self.reporter
                    .refuse(host, stream, format, source, &refusal, retry_after);
                Flow::Pause
            }
        }
    }
}
