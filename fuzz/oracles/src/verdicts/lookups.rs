//! Answers to lookups and polls.

use keystile::engine::host::Token;
use serde_json::json;

use super::answers::{Given, Kind, Response};
use super::limit::Limit;
use super::worker::{Asked, Lookup, State, Worker};
use super::{DecidedBy, KEYS, MAX_RESOLVED_PER_CALLBACK, TIMEOUT};

impl Worker {
    /// Answers a lookup, by its number.
    pub(super) fn answer_lookup(&mut self, number: usize, kind: Kind) {
        let lookup = self.lookups.remove(number);
        let key = lookup.key;
        let given = Given::new(kind, key, lookup.made, self.wall());
        let number = self.model.add_answer(given);
        let response = given.response(number, &self.keys[key].hash);
        self.respond(lookup.token, &response);
        let sent = self.take_sent();
        if lookup.given_up {
            assert_eq!(sent, [], "the answer to an abandoned lookup was used");
            return;
        }
        self.counts.lookup(kind);
        self.note_limit(key, kind);
        self.model.note_reachability(kind, self.now.ms);
        if let Some(stream) = lookup.uncached {
            assert_eq!(sent, [], "an uncached lookup was sent again");
            self.counts.duration(self.now.ms - lookup.made.ms);
            let is_there = self.paused.contains_key(&stream);
            let by = if kind.is_verdict() {
                DecidedBy::Answer(number)
            } else {
                DecidedBy::NoVerdict
            };
            if is_there {
                self.decide(&[stream], by, false);
            }
            self.model.note_uncached(number, self.now);
        } else {
            self.answer_shared_lookup(&lookup, kind, number, &sent);
        }
        self.assert_resolved(MAX_RESOLVED_PER_CALLBACK);
    }

    /// Notes what an answer means for the limit on the lookups of its key.
    fn note_limit(&mut self, key: usize, kind: Kind) {
        match kind {
            kind if kind.is_verdict() => self.limits[key] = Limit::default(),
            Kind::Overflow => {}
            _ => self.limits[key].fail(self.now.ms),
        }
    }

    fn answer_shared_lookup(
        &mut self,
        lookup: &Lookup,
        kind: Kind,
        number: usize,
        sent: &[(Asked, Option<Token>)],
    ) {
        let key = lookup.key;
        let waiting = self.waiting(lookup.token);
        let outdated = self.model.is_outdated(key, lookup.made);
        if kind.is_verdict() && outdated && !waiting.is_empty() {
            let [(asked, token)] = sent else {
                panic!("expected one lookup to be sent again, not {sent:?}");
            };
            assert_eq!(*asked, Asked::Key(key));
            return match token {
                Some(token) => self.note_resent(lookup, *token, &waiting),
                None => {
                    let by = self.unsent_as(None);
                    if by == DecidedBy::Failure {
                        self.limits[key].fail(self.now.ms);
                    }
                    self.fail_lookup(key, by, &waiting);
                }
            };
        }
        assert_eq!(sent, [], "a lookup was sent after {kind:?}");
        self.counts.duration(self.now.ms - lookup.made.ms);
        if kind.is_verdict() {
            self.decide(&waiting, DecidedBy::Answer(number), false);
            if !outdated {
                self.model.keep(number);
            }
            return;
        }
        let by = if kind == Kind::Overflow {
            DecidedBy::Overflow
        } else {
            DecidedBy::Failure
        };
        self.fail_lookup(key, by, &waiting);
    }

    fn fail_lookup(&mut self, key: usize, by: DecidedBy, waiting: &[u32]) {
        let view = self.view(key);
        self.decide(waiting, by, false);
        self.model.note_failure(&view, by);
    }

    /// Notes that a lookup was sent again, because its key has changed. The requests wait again, at
    /// most once.
    fn note_resent(&mut self, lookup: &Lookup, token: Token, waiting: &[u32]) {
        self.lookups.push(Lookup {
            token,
            key: lookup.key,
            made: self.now,
            uncached: None,
            again: true,
            tests_outage: lookup.tests_outage,
            forgotten: false,
            given_up: false,
        });
        for stream in waiting {
            let paused = self.paused.get_mut(stream).expect("the request is paused");
            if let State::Waits {
                lookup: waits_for,
                deadline,
                ..
            } = &mut paused.state
            {
                *waits_for = token;
                if !lookup.again {
                    *deadline = self.now.ms + TIMEOUT;
                }
            }
        }
    }

    /// Answers the poll.
    pub(super) fn answer_poll(&mut self, kind: u8) {
        /// A page with this many changes may be followed by more.
        const LONG: usize = 100;

        let Some(poll) = self.poll.as_mut() else {
            return;
        };
        if kind == b'o' {
            poll.forgotten = true;
            return;
        }
        let (token, made) = (poll.token, poll.made);
        self.poll = None;
        self.schedule_poll(made);
        let bits = match kind {
            b'0'..=b'7' => kind - b'0',
            _ => 1,
        };
        let named: Vec<_> = (0..KEYS).filter(|key| bits >> key & 1 == 1).collect();
        let hashes = named.iter().map(|key| self.keys[*key].hash.clone());
        let mut hashes: Vec<_> = hashes.collect();
        if kind == b'l' {
            hashes.resize(LONG, "0".repeat(64));
        }
        let changes = hashes.iter().map(|hash| json!({"key_hash": hash}));
        let changes: Vec<_> = changes.collect();
        let cursor = self.now.order.to_string();
        let page = json!({"cursor": cursor, "changes": changes, "reset": kind == b'r'});
        let response = match kind {
            b'f' => Response::new("200", "no page".to_owned()),
            b'9' => Response::new("504", "timeout".to_owned()),
            b'c' => Response::new("204", String::new()),
            _ => Response::new("200", page.to_string()),
        };
        self.respond(token, &response);
        assert_eq!(self.take_sent(), [], "a page led to a lookup");
        self.assert_resolved(0);
        let first = self.model.cursor.is_none();
        let named = match kind {
            b'f' | b'9' => return self.counts.poll("failed"),
            b'c' if first => return self.counts.poll("failed"),
            b'c' => Vec::new(),
            _ => named,
        };
        if kind != b'c' {
            self.model.cursor = Some(cursor);
        }
        if kind == b'r' || first {
            self.counts.poll("reset");
            return self.model.apply_reset(made, self.now);
        }
        let is_current = named.is_empty();
        self.counts
            .poll(if is_current { "current" } else { "changes" });
        // The next page may list more changes.
        let complete = kind != b'l';
        self.model
            .apply_page(&named, complete.then_some(made), self.now);
    }
}
