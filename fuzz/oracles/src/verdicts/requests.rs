//! Requests: how they arrive, wait and leave.

use keystile::auth::answer::Source;
use keystile::auth::cause::Unsent;
use keystile::engine::host::{Flow, Token};

use super::ends::Decision;
use super::view::View;
use super::worker::{Asked, Lookup, Paused, State, Worker};
use super::{DecidedBy, MAX_WAITING, TIMEOUT, TIMEOUT_MARGIN};

impl Worker {
    /// Sends a request; `unsent` says why callouts cannot be sent meanwhile.
    pub(super) fn request(&mut self, key: usize, unsent: Option<Unsent>) {
        let view = self.view(key);
        let in_flight = self.in_flight(key);
        let held_back = self.limits[key].holds_back(self.now.ms) && in_flight.is_none();
        let full = in_flight.is_some_and(|token| self.waiting(token).len() >= MAX_WAITING);
        let (stream, sent) = self.send_request(key, "/v1/x", unsent);
        let is_paused = self.host.streams[&stream].end.is_none();
        if sent.is_some() {
            assert_eq!(in_flight, None, "two lookups of key {key} are in flight");
            self.note_attempt(key, held_back);
        }
        match sent {
            None if is_paused => {
                let lookup = in_flight.expect("no lookup to wait for");
                assert!(!full, "too many requests wait for one lookup");
                self.model.assert_lookup_needed(&view);
                let mut lookups = self.lookups.iter();
                let tests = lookups.any(|other| other.token == lookup && other.tests_outage);
                let spared = tests && self.model.is_in_grace(&view);
                assert!(
                    !spared,
                    "a request with a record in grace waits for a lookup that tests an outage"
                );
                self.note_waiting(stream, key, lookup, Source::Coalesced);
            }
            Some(Some(token)) if is_paused => {
                self.model.assert_lookup_needed(&view);
                self.note_sent(token, &view, None);
                self.note_waiting(stream, key, token, Source::Lookup);
            }
            _ => {
                let seen = self.finish_request(stream);
                let is_cached = seen.source == Some(Source::Cache);
                let by = self.unsent_as(unsent);
                let by = match sent {
                    _ if is_cached => DecidedBy::AtOnce {
                        lookup_in_flight: false,
                    },
                    Some(None) => by,
                    Some(Some(_)) => {
                        panic!("a lookup was sent, but the request did not wait for it: {seen:?}")
                    }
                    None if full && seen.decision == Decision::NoVerdict => DecidedBy::NoVerdict,
                    None if held_back
                        && (seen.decision == Decision::NoVerdict
                            || !view.surely_failed_recently()) =>
                    {
                        DecidedBy::Failure
                    }
                    None => DecidedBy::AtOnce {
                        lookup_in_flight: in_flight.is_some(),
                    },
                };
                if is_cached {
                    let may_be_sent = in_flight.is_none() && !held_back;
                    self.model
                        .assert_refresh(&view, sent.is_some(), may_be_sent);
                } else if sent.is_some() || by == DecidedBy::NoVerdict {
                    self.model.assert_lookup_needed(&view);
                }
                self.model.assert_end(&seen, &view, by, self.wall());
                match sent {
                    Some(Some(token)) => self.note_sent(token, &view, None),
                    Some(None) => self.note_unsent(&view, unsent),
                    None if held_back => self.model.note_held_back(&view, is_cached),
                    None => {}
                }
            }
        }
    }

    /// Sends an introspection request; returns its lookup. Does nothing if the cache is small,
    /// because the model cannot tell what the engine learns from the answer then.
    pub(super) fn introspect(&mut self, key: usize) -> Option<usize> {
        if self.model.rules.small {
            return None;
        }
        let held_back = self.limits[key].holds_back(self.now.ms);
        let (stream, sent) = self.send_request(key, "/v1/keys/me", None);
        if sent.is_some() {
            self.note_attempt(key, held_back);
        } else {
            assert!(held_back, "no lookup for an introspection request");
        }
        let Some(token) = sent.flatten() else {
            let seen = self.finish_request(stream);
            let view = self.view(key);
            self.model
                .assert_end(&seen, &view, DecidedBy::NoVerdict, self.wall());
            if sent.is_some() && self.unsent_as(None) == DecidedBy::Failure {
                self.limits[key].fail(self.now.ms);
            }
            return None;
        };
        self.note_sent(token, &self.view(key), Some(stream));
        self.note_waiting(stream, key, token, Source::Lookup);
        Some(self.lookups.len() - 1)
    }

    /// Sends a request. Returns its stream, the lookup of its key if the engine tried to send one,
    /// and that lookup's token if it was sent.
    fn send_request(
        &mut self,
        key: usize,
        path: &str,
        unsent: Option<Unsent>,
    ) -> (u32, Option<Option<Token>>) {
        let now = self.prepare_call(unsent);
        let headers: [(&str, &[u8]); 5] = [
            (":method", b"GET"),
            (":path", path.as_bytes()),
            ("x-api-key", self.keys[key].key.as_bytes()),
            ("x-keystile-key-id", b"somebody_else"),
            ("x-request-id", b"1"),
        ];
        let stream = self.host.request(&mut self.engine, &headers, true, now);
        let sent = self.take_sent();
        assert!(
            sent.len() <= 1,
            "more than one callout was sent for a request"
        );
        let mut sent = sent.into_iter();
        let sent = sent.next().map(|(asked, token)| {
            assert_eq!(asked, Asked::Key(key), "a lookup of another key");
            token
        });
        (stream, sent)
    }

    /// Notes an attempt to send a lookup.
    fn note_attempt(&mut self, key: usize, held_back: bool) {
        assert!(
            !held_back,
            "a lookup was sent, though those of key {key} fail"
        );
        self.limits[key].spend(self.now.ms);
    }

    /// Notes that a lookup could not be sent.
    fn note_unsent(&mut self, view: &View, unsent: Option<Unsent>) {
        let by = self.unsent_as(unsent);
        self.model.note_failure(view, by);
        if by == DecidedBy::Failure {
            self.limits[view.key].fail(self.now.ms);
        }
    }

    /// Notes that a lookup was sent; `view` shows its key as known before.
    fn note_sent(&mut self, token: Token, view: &View, uncached: Option<u32>) {
        self.lookups.push(Lookup {
            token,
            key: view.key,
            made: self.now,
            uncached,
            again: false,
            tests_outage: self.model.tests_outage(view),
            forgotten: false,
            given_up: false,
        });
    }

    fn note_waiting(&mut self, stream: u32, key: usize, lookup: Token, source: Source) {
        let state = State::Waits {
            lookup,
            source,
            deadline: self.now.ms + TIMEOUT + TIMEOUT_MARGIN,
        };
        let paused = Paused {
            key,
            state,
            is_over: false,
        };
        self.paused.insert(stream, paused);
    }

    /// Returns how a lookup that cannot be sent fails.
    pub(super) fn unsent_as(&self, unsent: Option<Unsent>) -> DecidedBy {
        let mut shared = self
            .lookups
            .iter()
            .filter(|lookup| lookup.uncached.is_none());
        let in_flight = shared.any(|lookup| !lookup.given_up);
        let is_full = self.model.is_breaker_full(in_flight, self.now.ms);
        if unsent == Some(Unsent::Overflow) || is_full {
            DecidedBy::Overflow
        } else {
            DecidedBy::Failure
        }
    }

    /// Lets the client of a paused request leave, for which nothing may be sent.
    pub(super) fn leave(&mut self, number: usize) {
        if let Some(stream) = self.nth_paused(number) {
            self.paused.remove(&stream);
            self.prepare_call(None);
            let left = self.host.leaves(&mut self.engine, stream);
            assert_eq!(left.end, None, "the request ended before its client left");
            assert_eq!(
                self.take_sent(),
                [],
                "a lookup was sent for a request that left"
            );
        }
    }

    /// Lets the proxy answer a paused request by itself, as at its own timeout.
    pub(super) fn answer_by_proxy(&mut self, number: usize) {
        if let Some(stream) = self.nth_paused(number) {
            let paused = self.paused.get_mut(&stream).expect("the request is paused");
            paused.is_over = true;
            let stream = self
                .host
                .streams
                .get_mut(&stream)
                .expect("the request exists");
            stream.is_over = true;
        }
    }

    /// Checks that the trailers of a paused request do not send it on.
    pub(super) fn assert_trailers_wait(&mut self, number: usize) {
        if let Some(stream) = self.nth_paused(number)
            && !self.paused[&stream].is_over
        {
            assert_eq!(
                self.send_trailers(stream),
                Flow::Pause,
                "a paused request was forwarded when its trailers arrived"
            );
        }
    }

    pub(super) fn send_trailers(&mut self, stream: u32) -> Flow {
        self.prepare_call(None);
        let trailers: [(&str, &[u8]); 2] = [("x-keystile-key-id", b"1"), ("x-other", b"1")];
        let flow = self.host.trailers(&mut self.engine, stream, &trailers);
        let request = &self.host.streams[&stream];
        assert!(
            !request.has_trailer("x-keystile-key-id"),
            "a client's identity header was forwarded to the upstream"
        );
        assert!(
            request.has_trailer("x-other"),
            "an unrelated trailer was removed"
        );
        assert_eq!(self.take_sent(), [], "a lookup was sent for trailers");
        flow
    }

    fn nth_paused(&self, number: usize) -> Option<u32> {
        let at = number.checked_rem(self.paused.len())?;
        self.paused.keys().nth(at).copied()
    }

    /// Returns the requests that wait for a lookup.
    pub(super) fn waiting(&self, token: Token) -> Vec<u32> {
        let waiting = self.paused.iter().filter(
            |(_, paused)| matches!(paused.state, State::Waits { lookup, .. } if lookup == token),
        );
        waiting.map(|(stream, _)| *stream).collect()
    }

    /// Returns the lookup of a key that requests may wait for.
    fn in_flight(&self, key: usize) -> Option<Token> {
        let mut lookups = self.lookups.iter();
        let found = lookups
            .find(|lookup| lookup.key == key && lookup.uncached.is_none() && !lookup.given_up);
        found.map(|lookup| lookup.token)
    }

    pub(super) fn view(&self, key: usize) -> View {
        self.model.view(key, self.now.ms, self.wall())
    }
}
