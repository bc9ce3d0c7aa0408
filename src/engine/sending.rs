//! Sends lookups, within the limits on them, and records what each answer says about the auth
//! cluster.

#![forbid(unsafe_code)]

use std::time::Duration;

use crate::auth::answer::{Answer, Verdict};
use crate::auth::cause::{Cause, Unsent};
use crate::auth::lookup::Callout;
use crate::engine::Engine;
use crate::engine::host::{Host, Token};
use crate::engine::inflight::Purpose;
use crate::engine::stats::Counter;
use crate::request::headers::Request;
use crate::request::key_hash::KeyHash;

impl<H: Host> Engine<H> {
    /// Returns the callout that asks about a hash on behalf of a request. An empty request stands for
    /// none.
    pub(super) fn callout(&self, hash: &KeyHash, request: &Request) -> Callout {
        let credential = &self.settings.policy.credential;
        self.settings.lookup.callout(hash, request, credential)
    }

    /// Sends a lookup, unless too many are in flight or too many have failed.
    pub(super) fn send(
        &mut self,
        host: &mut H,
        hash: &KeyHash,
        callout: &Callout,
        purpose: Purpose,
        now: Duration,
    ) -> Result<Token, Unsent> {
        if !self.inflight.has_room(purpose) {
            self.reporter.count(Counter::LookupsOverLimit);
            return Err(Unsent::TooManyInFlight);
        }
        if let Err(reason) = self.backoff.permit(hash, now) {
            self.reporter.count(Counter::LookupsHeldBack);
            return Err(reason);
        }
        let lookup = &self.settings.lookup;
        let headers = lookup.headers(callout);
        host.dispatch(&lookup.cluster, &headers, callout.timeout)
            .inspect_err(|reason| {
                self.reporter.count(Counter::LookupsIndeterminate);
                self.note_failure(hash, &Cause::NotSent(*reason), now);
            })
    }

    /// Records what the answer to a lookup that was sent at `since` says about its key and about the
    /// auth cluster.
    pub(super) fn answered(
        &mut self,
        host: &mut H,
        hash: &KeyHash,
        answer: &mut Answer,
        since: Duration,
        now: Duration,
    ) {
        self.reporter.count(Counter::of_lookup(&answer.verdict));
        self.verdicts.answered(answer, now);
        if let Some(retry_after) = answer.retry_after {
            self.backoff.wait(retry_after, now);
        }
        match &answer.verdict {
            Verdict::Indeterminate(cause) => self.note_failure(hash, cause, now),
            verdict => {
                self.backoff.succeeded(hash, since);
                self.notices.about(host, hash, verdict, answer.names_hash);
            }
        }
    }

    /// Notes that a lookup failed. A full circuit breaker is no failure, because anybody can fill it.
    pub(super) fn note_failure(&mut self, hash: &KeyHash, cause: &Cause, now: Duration) {
        let others = self.inflight.any();
        if !self.verdicts.is_overflow(cause, others, now) {
            self.backoff.failed(hash, cause, now);
        }
    }
}
