//! Time, and what must happen in time.

use std::time::Duration;

use keystile::engine::Engine;
use keystile::engine::fake_host::FakeHost;

use super::answers::Kind;
use super::worker::{Asked, Poll, State, Worker};
use super::{DecidedBy, MAX_RESOLVED_PER_CALLBACK, MAX_TICK, MIN_TICK, TIMEOUT, TIMEOUT_MARGIN};

impl Worker {
    /// Ends a script: nothing more happens, and all waiting requests must end by themselves.
    pub(super) fn finish(mut self) {
        self.can_send = true;
        self.advance(2 * TIMEOUT + TIMEOUT_MARGIN + 2 * MAX_TICK);
        let waiting = self.paused.iter().filter(|(_, paused)| !paused.is_over);
        let waiting: Vec<_> = waiting.map(|(stream, _)| *stream).collect();
        assert!(
            waiting.is_empty(),
            "requests {waiting:?} were never resolved"
        );
        assert!(
            self.lookups.iter().all(|lookup| lookup.given_up),
            "a lookup was never given up"
        );
        self.close();
    }

    /// Removes the filter: all waiting requests are answered.
    pub(super) fn close(mut self) {
        let now = self.prepare_call(None);
        let fresh = Engine::start(&mut FakeHost::default(), self.model.rules.settings());
        std::mem::replace(&mut self.engine, fresh).close(&mut self.host, now);
        assert_eq!(self.take_sent(), [], "a callout was sent on closing");
        let waiting: Vec<_> = self.paused.keys().copied().collect();
        self.decide(&waiting, DecidedBy::NoVerdict, true);
        self.assert_resolved(usize::MAX);
        self.note_flush();
        self.counts
            .assert_reported(&self.host, self.model.rules.small);
        self.assert_no_key_logged();
    }

    /// Lets the timer run out.
    pub(super) fn tick(&mut self) {
        let now = self.prepare_call(None);
        self.engine.on_tick(&mut self.host, now);
        let sent = self.take_sent();
        assert!(sent.len() <= 1, "a tick sent more than a poll: {sent:?}");
        for (asked, token) in &sent {
            assert_eq!(*asked, Asked::Feed, "a tick sent a lookup");
            let old = self.poll.take();
            let is_there =
                old.is_some_and(|poll| self.now.ms < poll.made + poll.timeout + TIMEOUT_MARGIN);
            assert!(!is_there, "two polls are in flight");
            self.schedule_poll(self.now.ms);
            let mut callouts = self.host.callouts.iter();
            let callout = callouts.find(|callout| Some(callout.token) == *token);
            self.poll = callout.map(|callout| Poll {
                token: callout.token,
                made: self.now.ms,
                timeout: u64::try_from(callout.timeout.as_millis()).expect("a short time"),
                forgotten: false,
            });
        }
        self.give_up_overdue();
        self.assert_resolved(MAX_RESOLVED_PER_CALLBACK);
        self.note_flush();
        self.assert_reported();
        self.start_timer();
        if self.polls_are_answered && self.poll.is_some() && !sent.is_empty() {
            let first = self.model.cursor.is_none();
            self.answer_poll(if first { b'0' } else { b'c' });
        }
    }

    /// Sets when the next poll is due: one interval after the last was sent, but not while that is in
    /// flight.
    pub(super) fn schedule_poll(&mut self, made: u64) {
        let interval = self.model.rules.feed.as_ref().map(|feed| feed.interval);
        let next = interval.map(|interval| (made + interval).max(self.now.ms + MIN_TICK));
        self.next_poll = next;
    }

    /// Gives requests that have waited too long what may be used without an answer.
    fn give_up_overdue(&mut self) {
        let mut given_up = Vec::new();
        for lookup in &mut self.lookups {
            if !lookup.given_up && lookup.made.ms + TIMEOUT + TIMEOUT_MARGIN <= self.now.ms {
                lookup.given_up = true;
                self.limits[lookup.key].fail(self.now.ms);
                given_up.push((lookup.token, lookup.uncached.is_some()));
            }
        }
        for (token, is_uncached) in given_up {
            let by = if is_uncached {
                DecidedBy::NoVerdict
            } else {
                DecidedBy::Failure
            };
            self.decide(&self.waiting(token), by, true);
        }
        let overdue = self.paused.iter().filter(|(_, paused)| {
            matches!(paused.state, State::Waits { deadline, .. } if deadline <= self.now.ms)
        });
        let overdue: Vec<_> = overdue.map(|(stream, _)| *stream).collect();
        self.decide(&overdue, DecidedBy::Failure, true);
    }

    /// Notes that counts are reported.
    fn note_flush(&mut self) {
        let since = self.flushed.replace(self.now.ms).unwrap_or(self.now.ms);
        if self.view(0).is_feed_stale() {
            self.counts.stale_feed(self.now.ms - since);
        }
    }

    /// Checks what the proxy has been told after a tick.
    fn assert_reported(&self) {
        let rules = self.model.rules;
        self.counts.assert_reported(&self.host, rules.small);
    }

    pub(super) fn advance(&mut self, ms: u64) {
        let end = self.now.ms + ms;
        loop {
            let lookups = self.lookups.iter().filter(|lookup| !lookup.forgotten);
            let times_out = lookups.map(|lookup| lookup.made.ms + TIMEOUT).min();
            let poll = self.poll.as_ref().filter(|poll| !poll.forgotten);
            let poll_times_out = poll.map(|poll| poll.made + poll.timeout);
            let next = [times_out, poll_times_out]
                .into_iter()
                .flatten()
                .fold(self.next_tick, u64::min);
            if next > end {
                break;
            }
            self.now.ms = next.max(self.now.ms);
            if times_out == Some(next) {
                let mut lookups = self.lookups.iter();
                let at = lookups
                    .position(|lookup| !lookup.forgotten && lookup.made.ms + TIMEOUT == next);
                self.answer_lookup(at.expect("the one that was found"), Kind::TimedOut);
            } else if poll_times_out == Some(next) {
                self.answer_poll(b'9');
            } else {
                self.tick();
            }
            self.assert_in_time();
        }
        self.now.ms = end;
    }

    /// Checks that no request was resolved unexpectedly, and that none waits longer than promised.
    pub(super) fn assert_in_time(&self) {
        let is_uncached = |stream: &u32| {
            let mut lookups = self.lookups.iter();
            lookups.any(|lookup| lookup.uncached == Some(*stream))
        };
        for (stream, paused) in &self.paused {
            let is_there = self.host.streams[stream].end.is_none();
            assert!(is_there, "request {stream} was resolved without a verdict");
            if let State::Waits { deadline, .. } = paused.state {
                // Ticks are in time for all lookups except uncached ones.
                let late = if is_uncached(stream) {
                    MAX_TICK
                } else {
                    MIN_TICK
                };
                let latest = deadline + late;
                assert!(latest >= self.now.ms, "request {stream} waits too long");
            }
        }
        let latest = self.next_poll.filter(|_| self.poll.is_none());
        assert!(
            latest.is_none_or(|latest| latest >= self.now.ms),
            "the feed was not polled in time"
        );
        assert!(
            self.host.period <= Duration::from_millis(MAX_TICK),
            "the tick period is too long"
        );
    }
}
