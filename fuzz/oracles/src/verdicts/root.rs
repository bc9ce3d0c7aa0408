//! The root context of one worker, and time.

use keystile::auth::feed::{Changed, Page};
use keystile::engine::cache::PoolName;
use keystile::request::key_hash::KeyHash;

use super::answers::Kind;
use super::requests::{Call, Worker};
use super::{By, FORGOTTEN, KEYS, POLL_TIMEOUT, TICK, TIMEOUT};

impl Worker {
    /// Nothing more happens; what is under way comes to its end by itself.
    pub(super) fn ends(&mut self) {
        self.is_reachable = true;
        self.passes(2 * TIMEOUT + FORGOTTEN + 2 * TICK);
        let waiting: Vec<_> = self.held.keys().collect();
        assert!(waiting.is_empty(), "requests {waiting:?} wait for ever");
        assert!(
            self.calls.iter().all(|call| call.given_up),
            "a lookup is under way for ever"
        );
        assert!(!self.verdicts.needs_root(), "a lookup is never made");
    }

    /// The poll under way is answered.
    pub(super) fn is_polled(&mut self, kind: u8) {
        /// A page of so many changes may have more behind it.
        const LONG: usize = 100;

        let Some(made) = self.poll.take() else {
            return;
        };
        self.now.order += 1;
        let bits = match kind {
            b'0'..=b'7' => kind - b'0',
            _ => 1,
        };
        let named: Vec<_> = (0..KEYS).filter(|key| bits >> key & 1 == 1).collect();
        let mut hashes: Vec<_> = named.iter().map(|key| self.keys[*key].0).collect();
        if kind == b'l' {
            hashes.resize(LONG, KeyHash::from_hex(&[b'0'; 64]).expect("64 digits"));
        }
        let changed = match kind {
            b'r' => Changed::Any,
            _ => Changed::Keys(hashes),
        };
        let page = match kind {
            b'f' => Err("broken".to_owned()),
            b'c' => Ok(Page::Current),
            _ => Ok(Page::News {
                cursor: self.now.order.to_string(),
                changed,
            }),
        };
        let named = match kind {
            b'f' => None,
            b'c' if !self.model.has_cursor => None,
            b'c' => Some(Vec::new()),
            b'r' => Some((0..KEYS).collect()),
            _ if !self.model.has_cursor => Some((0..KEYS).collect()),
            _ => Some(named),
        };
        // More changes may be on the next page. Where any key may have changed, none can.
        let complete = kind != b'l' || !self.model.has_cursor;
        let polled = self.verdicts.polled(page, self.moment(), self.now.order);
        let polled = polled.expect("there is a feed");
        assert_eq!(
            polled.changed.is_ok(),
            named.is_some(),
            "{:?}",
            polled.changed
        );
        if let Some(named) = named {
            self.model
                .is_told(&named, complete.then_some(made), self.now);
        }
        self.ticks_in_time();
    }

    /// The root context runs.
    pub(super) fn ticks(&mut self) {
        while let Some((hash, id, _)) = self.verdicts.next_of_root(self.moment()) {
            self.now.order += 1;
            let key = self
                .keys
                .iter()
                .position(|(other, _)| *other == hash)
                .expect("a key");
            let twice = self
                .calls
                .iter()
                .any(|call| call.key == key && !call.given_up);
            assert!(!twice, "two lookups of key {key} at a time");
            self.calls.push(Call {
                key,
                id,
                leader: None,
                made: self.now,
                forgotten: false,
                given_up: false,
            });
            if !self.is_reachable {
                self.lands(self.calls.len() - 1, Kind::NotSent);
            }
        }
        if self.verdicts.poll(self.moment()).is_some() {
            assert!(self.poll.is_none(), "two polls at a time");
            self.poll = Some(self.now.ms);
            match (self.is_reachable, self.polls_are_answered) {
                (false, _) => self.is_polled(b'f'),
                (true, true) if self.model.has_cursor => self.is_polled(b'c'),
                (true, true) => self.is_polled(b'0'),
                (true, false) => {}
            }
        }
        self.gives_up();
        self.ticks_in_time();
        self.next_tick = self.now.ms + self.period;
    }

    /// Who has waited too long is settled.
    fn gives_up(&mut self) {
        self.now.order += 1;
        for call in &mut self.calls {
            call.given_up |= call.made.ms + TIMEOUT + FORGOTTEN <= self.now.ms;
        }
        for (waiter, verdict, source) in self.verdicts.overdue(self.moment()) {
            let held = self
                .held
                .remove(&waiter.request)
                .expect("settled twice, or gone");
            let mut calls = self.calls.iter();
            let given_up = calls.any(|call| call.id == held.id && call.given_up);
            assert!(
                given_up || held.deadline <= self.now.ms,
                "a request is given up too soon"
            );
            self.settles(held.key, held.state, &verdict, source, By::Failure);
        }
        for held in self.held.values() {
            assert!(held.deadline > self.now.ms, "a request is not given up");
            let given_up = self
                .calls
                .iter()
                .any(|call| call.id == held.id && call.given_up);
            assert!(!given_up, "a request waits for what is given up");
        }
    }

    pub(super) fn passes(&mut self, ms: u64) {
        let end = self.now.ms + ms;
        loop {
            let calls = self.calls.iter().filter(|call| !call.forgotten);
            let lands = calls.map(|call| call.made.ms + TIMEOUT).min();
            let is_polled = self.poll.map(|made| made + POLL_TIMEOUT);
            let next = [lands, is_polled]
                .into_iter()
                .flatten()
                .fold(self.next_tick, u64::min);
            if next > end {
                break;
            }
            self.now.ms = next.max(self.now.ms);
            self.now.order += 1;
            if lands == Some(next) {
                let calls = &mut self.calls.iter();
                let at = calls.position(|call| !call.forgotten && call.made.ms + TIMEOUT == next);
                self.lands(at.expect("the one that was found"), Kind::TimedOut);
            } else if is_polled == Some(next) {
                self.is_polled(b'f');
            } else {
                self.ticks();
            }
            self.in_time();
        }
        self.now.ms = end;
    }

    /// Whatever happened, nobody waits longer than is promised.
    pub(super) fn in_time(&self) {
        for (request, held) in &self.held {
            let latest = held.deadline + TICK;
            assert!(latest >= self.now.ms, "request {request} waits too long");
        }
        let is_stale = self.verdicts.is_feed_stale(self.moment());
        assert_eq!(
            is_stale,
            self.model.is_feed_stale(self.now.ms),
            "whether the feed is stale"
        );
        for pool in PoolName::ALL {
            assert!(
                self.verdicts.entries(pool) <= self.model.rules.entries(),
                "too many entries"
            );
        }
    }

    pub(super) fn wakes_root(&mut self) {
        if self.verdicts.needs_root() {
            self.ticks_every(1);
        }
    }

    fn ticks_in_time(&mut self) {
        let left = match self.verdicts.next_deadline().map(|end| end.as_millis()) {
            _ if self.verdicts.needs_root() => 1,
            Some(end) => u64::try_from(end)
                .unwrap_or(u64::MAX)
                .saturating_sub(self.now.ms),
            None => TICK,
        };
        self.ticks_every(left.clamp(1, TICK));
    }

    fn ticks_every(&mut self, period: u64) {
        if self.period != period {
            self.period = period;
            self.next_tick = self.now.ms + period;
        }
    }
}
