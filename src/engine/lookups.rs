//! Where a request's verdict comes from: the cache, a new lookup, or one that is already in flight.
//!
//! | the cache has | and | then |
//! |---|---|---|
//! | a fresh verdict | | it is used; an active record that is about to become stale is also looked up again |
//! | an active record in grace | its lookup failed less than a second ago | it is used, as stale |
//! | | another request tests whether the outage is over | it is used, as stale |
//! | | a lookup is in flight | its answer is used, or the record if there is no verdict |
//! | | otherwise | a lookup is sent; its answer is used, or the record if there is no verdict |
//! | nothing usable | a lookup is in flight | its answer is used |
//! | | otherwise | a lookup is sent, and its answer is used |
//!
//! An indeterminate answer is never kept. If a key changes while its lookup is in flight and requests
//! wait for it, the lookup is sent again.

#![forbid(unsafe_code)]

use std::time::Duration;

use crate::auth::answer::{Answer, Source, Verdict};
use crate::auth::cause::{Cause, Unsent};
use crate::engine::Engine;
use crate::engine::cache::Found;
use crate::engine::host::{Flow, Host};
use crate::engine::inflight::{Answered, Lookup, Purpose, Uncached};
use crate::engine::session::{Pending, Session, Subject};
use crate::request::headers::Request;
use crate::request::key_hash::KeyHash;

/// The shortest time between two attempts to look up a key after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// How long a failed lookup counts as a sign of an outage.
const OUTAGE: Duration = Duration::from_secs(2);

impl<H: Host> Engine<H> {
    /// Gets a verdict on a request's key: from the cache, an in-flight lookup or a new one.
    pub(super) fn ask(
        &mut self,
        host: &mut H,
        stream: H::Stream,
        hash: KeyHash,
        request: &Request,
        now: Duration,
    ) -> Flow {
        let subject = Subject::Present {
            request,
            introspects: false,
        };
        let found = self.verdicts.find(&hash, now, || host.wall_time());
        let in_flight = self.inflight.get(&hash);
        let (verdict, source) = match found {
            Some(Found::Fresh {
                verdict,
                ends_soon,
                failed,
            }) => {
                if ends_soon && !within(failed, RETRY) {
                    self.refresh(host, hash, within(failed, OUTAGE), now);
                }
                (verdict, Some(Source::Cache))
            }
            Some(Found::Grace { record, failed, .. })
                if within(failed, RETRY) || in_flight.is_some_and(|other| other.tests_outage) =>
            {
                (Verdict::Active(record), Some(Source::Stale))
            }
            _ if in_flight.is_some() => {
                if self.sessions.has_room() && self.inflight.wait(&hash, stream) {
                    self.pause(stream, subject.pending(), hash, Source::Coalesced, now);
                    return Flow::Pause;
                }
                // Too many waiting requests are not an outage, so a record in grace is not used.
                (Verdict::Indeterminate(Cause::TooManyWait), None)
            }
            found => {
                let failed = match found {
                    Some(Found::Grace { failed, .. }) => failed,
                    _ => None,
                };
                let callout = self.callout(&hash, request);
                let purpose = Purpose::Request;
                match self.send(host, &hash, &callout, purpose, now) {
                    Ok(token) => {
                        let waiting = vec![stream];
                        let tests_outage = within(failed, OUTAGE);
                        let lookup = Lookup::new(purpose, callout, tests_outage, waiting, now);
                        self.inflight.sent(token, hash, lookup);
                        self.pause(stream, subject.pending(), hash, Source::Lookup, now);
                        return Flow::Pause;
                    }
                    Err(reason) => self.failed(host, &hash, Cause::NotSent(reason), now),
                }
            }
        };
        self.resolve(host, stream, &subject, verdict, source, now)
    }

    /// Gets a verdict on a request's key from a new lookup, for this request alone.
    pub(super) fn ask_uncached(
        &mut self,
        host: &mut H,
        stream: H::Stream,
        hash: KeyHash,
        request: &Request,
        now: Duration,
    ) -> Flow {
        let subject = Subject::Present {
            request,
            introspects: true,
        };
        let callout = self.callout(&hash, request);
        match self.send(host, &hash, &callout, Purpose::Request, now) {
            Ok(token) => {
                let lookup = Uncached {
                    hash,
                    since: now,
                    stream,
                };
                self.inflight.sent_uncached(token, lookup);
                self.sessions
                    .pause(stream, Session::Uncached(subject.pending()));
                Flow::Pause
            }
            Err(reason) => {
                let verdict = Verdict::Indeterminate(Cause::NotSent(reason));
                self.resolve(host, stream, &subject, verdict, None, now)
            }
        }
    }

    /// Handles the answer to a lookup. The requests waiting for it are resolved next, or it is sent
    /// again if its key has changed since.
    pub(super) fn complete(
        &mut self,
        host: &mut H,
        hash: KeyHash,
        lookup: Lookup<H::Stream>,
        mut answer: Answer,
        now: Duration,
    ) {
        self.answered(host, &hash, &mut answer, lookup.since, now);
        let is_verdict = !matches!(answer.verdict, Verdict::Indeterminate(_));
        if is_verdict && lookup.outdated && !lookup.waiting.is_empty() {
            self.send_again(host, hash, lookup, now);
            return;
        }
        let took = now.saturating_sub(lookup.since);
        self.reporter.observe_lookup(host, took);
        let (verdict, instead) = match answer.verdict {
            Verdict::Indeterminate(cause) => self.failed(host, &hash, cause, now),
            _ => {
                if !lookup.outdated {
                    self.verdicts.keep(hash, &answer, lookup.since);
                }
                (answer.verdict, None)
            }
        };
        self.decide(&lookup.waiting, &verdict, instead);
    }

    /// Handles the answer to an uncached lookup, whose request is resolved next.
    pub(super) fn complete_uncached(
        &mut self,
        host: &mut H,
        lookup: Uncached<H::Stream>,
        mut answer: Answer,
        now: Duration,
    ) {
        self.answered(host, &lookup.hash, &mut answer, lookup.since, now);
        let took = now.saturating_sub(lookup.since);
        self.reporter.observe_lookup(host, took);
        if self.verdicts.contradicts(&lookup.hash, &answer.verdict) {
            self.verdicts.forget(&lookup.hash);
            self.inflight.outdate(&lookup.hash);
        }
        self.decide(&[lookup.stream], &answer.verdict, None);
    }

    /// Gives up on forgotten lookups and on requests that have waited too long. These requests are
    /// resolved next.
    pub(super) fn give_up(&mut self, host: &mut H, now: Duration) {
        for forgotten in self.inflight.take_forgotten(now) {
            match forgotten {
                Answered::Lookup(hash, lookup) => {
                    self.note_failure(&hash, &Cause::NoAnswer, now);
                    let (verdict, source) = self.without_answer(host, &hash, now);
                    self.decide(&lookup.waiting, &verdict, source);
                }
                Answered::Uncached(lookup) => {
                    self.note_failure(&lookup.hash, &Cause::NoAnswer, now);
                    let verdict = Verdict::Indeterminate(Cause::NoAnswer);
                    self.decide(&[lookup.stream], &verdict, None);
                }
            }
        }
        for (stream, hash) in self.sessions.overdue(now) {
            self.inflight.leave(&hash, stream);
            let (verdict, source) = self.without_answer(host, &hash, now);
            self.decide(&[stream], &verdict, source);
        }
    }

    /// Looks up a key before its verdict becomes stale, unless too many refreshes are in flight.
    #[cold]
    fn refresh(&mut self, host: &mut H, hash: KeyHash, tests_outage: bool, now: Duration) {
        if self.inflight.get(&hash).is_some() {
            return;
        }
        let callout = self.callout(&hash, &Request::default());
        let purpose = Purpose::Refresh;
        match self.send(host, &hash, &callout, purpose, now) {
            Ok(token) => {
                let lookup = Lookup::new(purpose, callout, tests_outage, Vec::new(), now);
                self.inflight.sent(token, hash, lookup);
            }
            // The next request with this key tries again.
            Err(Unsent::TooManyInFlight) => {}
            Err(reason) => {
                self.failed(host, &hash, Cause::NotSent(reason), now);
            }
        }
    }

    /// Sends a lookup again, because its answer may predate a change. The requests waiting for it get
    /// more time, at most once.
    fn send_again(
        &mut self,
        host: &mut H,
        hash: KeyHash,
        mut lookup: Lookup<H::Stream>,
        now: Duration,
    ) {
        match self.send(host, &hash, &lookup.callout, lookup.purpose, now) {
            Ok(token) => {
                if !std::mem::replace(&mut lookup.sent_again, true) {
                    let deadline = now.saturating_add(self.settings.lookup.timeout);
                    self.sessions.extend(&lookup.waiting, deadline);
                }
                lookup.since = now;
                lookup.outdated = false;
                self.inflight.sent(token, hash, lookup);
                self.tick_in_time(host, now);
            }
            Err(reason) => {
                let (verdict, source) = self.failed(host, &hash, Cause::NotSent(reason), now);
                self.decide(&lookup.waiting, &verdict, source);
            }
        }
    }

    fn pause(
        &mut self,
        stream: H::Stream,
        request: Pending,
        hash: KeyHash,
        source: Source,
        now: Duration,
    ) {
        let session = Session::Waiting {
            request,
            hash,
            source,
            deadline: now.saturating_add(self.inflight.longest()),
        };
        self.sessions.pause(stream, session);
    }

    /// Gives these requests their verdict. They are resolved next.
    fn decide(&mut self, streams: &[H::Stream], verdict: &Verdict, instead: Option<Source>) {
        for stream in streams {
            if self.sessions.decide(*stream, verdict, instead) {
                self.decided.push_back(*stream);
            }
        }
    }

    fn failed(
        &mut self,
        host: &mut H,
        hash: &KeyHash,
        cause: Cause,
        now: Duration,
    ) -> (Verdict, Option<Source>) {
        let others = self.inflight.any();
        self.verdicts
            .failed(hash, cause, others, now, || host.wall_time())
    }

    fn without_answer(
        &mut self,
        host: &mut H,
        hash: &KeyHash,
        now: Duration,
    ) -> (Verdict, Option<Source>) {
        self.verdicts
            .without_answer(hash, Cause::WaitTimedOut, now, || host.wall_time())
    }
}

fn within(ago: Option<Duration>, limit: Duration) -> bool {
    ago.is_some_and(|ago| ago < limit)
}
