//! Lookups under way, one a hash, and the requests that wait for each. [`crate::engine::verdicts`] has
//! the rules by which they begin and end, and the tests.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::time::Duration;

use crate::auth::lookup::Callout;
use crate::clock::Moment;
use crate::engine::cache::Seed;
use crate::request::key_hash::KeyHash;

/// The most requests that wait for lookups of others, on one worker.
pub(crate) const MAX_WAITING: usize = 8192;

/// The most of them that wait for one lookup, so that one key leaves places for the others.
pub(crate) const MAX_WAITING_FOR_ONE: usize = 2048;

/// The most lookups at a time that nobody waits for, of each [`Kind`] that has such.
pub(crate) const MAX_UNATTENDED: usize = 64;

/// Tells one lookup from a later one of the same hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlightId(u64);

/// A request that waits for a verdict. `W` is what the host calls it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiter<W> {
    /// The request.
    pub request: W,
    /// Whether the lookup is its own.
    pub leads: bool,
    /// On the steady clock. An answer to a leader is the proxy's business until then and longer.
    deadline: Duration,
}

/// Who made the callout, and so gets its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Owner {
    /// The first waiter.
    Leader,
    /// The root context, as soon as it runs.
    Root,
}

/// What a lookup was begun for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// For requests that wait.
    Awaited,
    /// For requests that left, all of them.
    Abandoned,
    /// To know sooner than anybody asks.
    Refresh,
}

#[derive(Debug)]
pub(crate) struct Flight<W> {
    id: FlightId,
    kind: Kind,
    owner: Owner,
    /// When the callout was made.
    pub(crate) since: Moment,
    /// Whether it only asks if an outage is over, so that others need not wait for it.
    pub(crate) tests_outage: bool,
    /// Whether its key has changed since the callout was made.
    pub(crate) outdated: bool,
    /// Whether it is made again for that.
    asked_again: bool,
    pub(crate) waiters: Vec<Waiter<W>>,
    /// The leader's, for the root context to make again.
    callout: Option<Callout>,
}

/// All lookups under way on one worker.
#[derive(Debug)]
pub(crate) struct Flights<W> {
    flights: HashMap<KeyHash, Flight<W>, Seed>,
    /// Those that the root context has yet to make.
    unmade: Vec<(KeyHash, FlightId)>,
    timeout: Duration,
    last_id: u64,
    waiting: usize,
    abandoned: usize,
    refreshes: usize,
}

/// How much later than the others a leader is given up: its own timeout comes first, unless the
/// proxy forgot it.
pub(crate) const FORGOTTEN: Duration = Duration::from_secs(2);

impl<W: PartialEq> Flights<W> {
    /// None yet. Each may take `timeout`.
    pub(crate) fn new(timeout: Duration, seed: Seed) -> Self {
        Self {
            flights: HashMap::with_hasher(seed),
            unmade: Vec::new(),
            timeout,
            last_id: 0,
            waiting: 0,
            abandoned: 0,
            refreshes: 0,
        }
    }

    pub(crate) fn get(&self, hash: &KeyHash) -> Option<&Flight<W>> {
        self.flights.get(hash)
    }

    /// A request has made a callout. Where another lookup of its hash is under way, which is not
    /// how it should be, it waits for the first answer of the two.
    pub(crate) fn lead(
        &mut self,
        hash: KeyHash,
        request: W,
        callout: Callout,
        tests_outage: bool,
        now: Moment,
    ) -> FlightId {
        let deadline = now.steady.saturating_add(self.timeout);
        if let Some(flight) = self.flights.get_mut(&hash) {
            flight.waiters.push(Waiter {
                request,
                leads: false,
                deadline,
            });
            self.waiting = self.waiting.saturating_add(1);
            return flight.id;
        }
        let leader = Waiter {
            request,
            leads: true,
            deadline: deadline.saturating_add(FORGOTTEN),
        };
        let id = self.next_id();
        self.flights.insert(
            hash,
            Flight {
                id,
                kind: Kind::Awaited,
                owner: Owner::Leader,
                since: now,
                tests_outage,
                outdated: false,
                asked_again: false,
                waiters: vec![leader],
                callout: Some(callout),
            },
        );
        id
    }

    /// A request joins the lookup of its hash. Gives the request back when there is none, or when
    /// too many wait.
    pub(crate) fn join(&mut self, hash: &KeyHash, request: W, now: Moment) -> Result<FlightId, W> {
        let Some(flight) = self.flights.get_mut(hash) else {
            return Err(request);
        };
        if self.waiting >= MAX_WAITING || flight.waiters.len() >= MAX_WAITING_FOR_ONE {
            return Err(request);
        }
        flight.waiters.push(Waiter {
            request,
            leads: false,
            deadline: now.steady.saturating_add(self.timeout),
        });
        self.waiting = self.waiting.saturating_add(1);
        Ok(flight.id)
    }

    /// Asks the root context for a lookup that nobody waits for, unless it has enough of them, or
    /// this one already.
    pub(crate) fn refresh(&mut self, hash: KeyHash, tests_outage: bool, now: Moment) {
        if self.refreshes >= MAX_UNATTENDED || self.flights.contains_key(&hash) {
            return;
        }
        self.refreshes = self.refreshes.saturating_add(1);
        let id = self.next_id();
        self.flights.insert(
            hash,
            Flight {
                id,
                kind: Kind::Refresh,
                owner: Owner::Root,
                since: now,
                tests_outage,
                outdated: false,
                asked_again: false,
                waiters: Vec::new(),
                callout: None,
            },
        );
        self.unmade.push((hash, id));
    }

    /// Whether callouts are under way.
    pub(crate) fn any_under_way(&self) -> bool {
        let is_unmade = |hash: &KeyHash, id| self.unmade.contains(&(*hash, id));
        let mut flights = self.flights.iter();
        flights.any(|(hash, flight)| !is_unmade(hash, flight.id))
    }

    /// Whether the root context has anything to make.
    pub(crate) fn has_unmade(&self) -> bool {
        !self.unmade.is_empty()
    }

    /// The next lookup for the root context to make, with the callout where there was one before.
    pub(crate) fn next_unmade(
        &mut self,
        now: Moment,
    ) -> Option<(KeyHash, FlightId, Option<Callout>)> {
        while let Some((hash, id)) = self.unmade.pop() {
            if let Some(flight) = self.flights.get_mut(&hash)
                && flight.id == id
            {
                flight.since = now;
                flight.outdated = false;
                return Some((hash, id, flight.callout.take()));
            }
        }
        None
    }

    /// A request no longer waits. Where it had made the callout, the answer is lost with it, and
    /// the root context is to ask again: for those who still wait, and where nobody does, so that
    /// something comes of a key that impatient clients ask about again and again.
    /// Gives whether an answer was lost.
    pub(crate) fn leave(&mut self, hash: &KeyHash, id: FlightId, request: &W) -> bool {
        let Some(flight) = self.flights.get_mut(hash).filter(|flight| flight.id == id) else {
            return false;
        };
        let mut waiters = flight.waiters.iter();
        let Some(at) = waiters.position(|waiter| waiter.request == *request) else {
            return false;
        };
        if !flight.waiters.remove(at).leads {
            self.waiting = self.waiting.saturating_sub(1);
            return false;
        }
        if flight.waiters.is_empty() {
            if self.abandoned >= MAX_UNATTENDED {
                self.flights.remove(hash);
                return true;
            }
            self.abandoned = self.abandoned.saturating_add(1);
            flight.kind = Kind::Abandoned;
        }
        flight.owner = Owner::Root;
        self.unmade.push((*hash, id));
        true
    }

    /// A key has changed: the answer that is on its way may be of before.
    pub(crate) fn outdate(&mut self, hash: &KeyHash) {
        if let Some(flight) = self.flights.get_mut(hash) {
            flight.outdated = true;
        }
    }

    /// Any key may have changed.
    pub(crate) fn outdate_all(&mut self) {
        for flight in self.flights.values_mut() {
            flight.outdated = true;
        }
    }

    /// The lookup has ended. Where its answer may be of before a change and requests wait for
    /// one, the root context is to ask again; gives whether it is. They wait anew then, but not a
    /// third time, however often the key changes.
    pub(crate) fn ask_again(&mut self, hash: &KeyHash, id: FlightId, now: Moment) -> bool {
        let Some(flight) = self.flights.get_mut(hash) else {
            return false;
        };
        if flight.id != id || !flight.outdated || flight.waiters.is_empty() {
            return false;
        }
        if !std::mem::replace(&mut flight.asked_again, true) {
            for waiter in &mut flight.waiters {
                waiter.deadline = now.steady.saturating_add(self.timeout);
                // The answer that a leader gets now is not the proxy's business any more.
                if std::mem::take(&mut waiter.leads) {
                    self.waiting = self.waiting.saturating_add(1);
                }
            }
        }
        flight.owner = Owner::Root;
        self.unmade.push((*hash, id));
        true
    }

    /// The lookup has ended.
    pub(crate) fn land(&mut self, hash: &KeyHash, id: FlightId) -> Option<Flight<W>> {
        self.flights.get(hash).filter(|flight| flight.id == id)?;
        let flight = self.flights.remove(hash)?;
        let followers = flight.waiters.iter().filter(|waiter| !waiter.leads).count();
        self.waiting = self.waiting.saturating_sub(followers);
        self.ended(flight.kind);
        Some(flight)
    }

    /// Takes out the waiters whose time is over, and lookups that the proxy forgot.
    pub(crate) fn overdue(&mut self, now: Moment) -> Vec<(KeyHash, Waiter<W>)> {
        let mut overdue = Vec::new();
        let mut ended = Vec::new();
        let longest = self.timeout.saturating_add(FORGOTTEN);
        self.flights.retain(|hash, flight| {
            let late = flight
                .waiters
                .extract_if(.., |waiter| waiter.deadline <= now.steady);
            overdue.extend(late.map(|waiter| (*hash, waiter)));
            let forgotten = flight.since.steady.saturating_add(longest) <= now.steady;
            if forgotten {
                overdue.extend(flight.waiters.drain(..).map(|waiter| (*hash, waiter)));
                ended.push(flight.kind);
            }
            !forgotten
        });
        let followers = overdue.iter().filter(|(_, waiter)| !waiter.leads).count();
        self.waiting = self.waiting.saturating_sub(followers);
        for kind in ended {
            self.ended(kind);
        }
        overdue
    }

    /// When the first of those that wait for the root context must be answered, on the steady
    /// clock. For the others their leader's timeout comes first.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let flights = self.flights.values();
        flights
            .filter(|flight| flight.owner != Owner::Leader)
            .flat_map(|flight| &flight.waiters)
            .map(|waiter| waiter.deadline)
            .min()
    }

    fn next_id(&mut self) -> FlightId {
        self.last_id = self.last_id.wrapping_add(1);
        FlightId(self.last_id)
    }

    fn ended(&mut self, kind: Kind) {
        match kind {
            Kind::Awaited => {}
            Kind::Abandoned => self.abandoned = self.abandoned.saturating_sub(1),
            Kind::Refresh => self.refreshes = self.refreshes.saturating_sub(1),
        }
    }
}
