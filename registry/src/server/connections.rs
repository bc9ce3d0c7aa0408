//! The open connections of a listener: how many there may be, which one is closed to make room for
//! another, and the watchdog that closes those that exceed a limit.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::warn;

use super::activity::{Activity, Order, Rank};
use super::counters::{Counters, Port, Reason};
use super::limits::Limits;
use super::memory::Memory;
use super::since::{Clock, Moment};

/// How long to wait for a connection that was told to close.
const ROOM: Duration = Duration::from_millis(250);

/// The shortest time between two log lines about the limit of connections.
const WARNING: Duration = Duration::from_secs(60);

/// How long the watchdog pauses between checks while too much memory is held.
const RELIEF: Duration = Duration::from_millis(5);

/// For how many milliseconds a client may take nothing of its response while more memory is held
/// than allowed.
pub(super) const PATIENCE: u64 = 1000;

/// The same while more than twice as much is held, for a client that has never taken a response.
const SHORT_PATIENCE: u64 = 50;

/// If there are this many times as many idle connections as new ones, the idle ones are the flood.
const CROWD: usize = 8;

/// The open connections of a listener.
#[derive(Debug)]
pub(super) struct Connections {
    pub(super) port: Port,
    pub(super) limits: Limits,
    counters: Counters,
    count: Gauge,
    memory: Arc<Memory>,
    clock: Clock,
    slots: Arc<Semaphore>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    /// Keyed by the order in which they were accepted.
    by_number: BTreeMap<u64, Arc<Activity>>,
    next: u64,
    /// When the log last said that the limit was reached.
    warned: Option<Instant>,
}

/// The place of one connection. It is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) connections: Arc<Connections>,
    pub(super) activity: Arc<Activity>,
    number: u64,
    _slot: OwnedSemaphorePermit,
}

impl Connections {
    pub(super) fn new(port: Port, limits: Limits, counters: Counters) -> Self {
        Self {
            port,
            limits,
            count: counters.open(port),
            counters,
            memory: Arc::new(Memory::new(&limits)),
            clock: Clock::default(),
            slots: Arc::new(Semaphore::new(limits.connections)),
            open: Mutex::default(),
        }
    }

    /// Returns a place for a new connection. If all are taken, closes a connection that is not
    /// busy. Returns `None` if no place becomes free.
    pub(super) async fn place(self: &Arc<Self>) -> Option<Place> {
        let slots = Arc::clone(&self.slots);
        let slot = match Arc::clone(&slots).try_acquire_owned() {
            Ok(slot) => Some(slot),
            Err(_) if self.make_room() => {
                let slot = timeout(ROOM, slots.acquire_owned()).await;
                slot.ok().and_then(Result::ok)
            }
            Err(_) => None,
        };
        let Some(slot) = slot else {
            self.closed(Reason::Refused);
            return None;
        };
        let activity = Arc::new(Activity::new(Arc::clone(&self.memory)));
        let mut open = self.open();
        let number = open.next;
        open.next += 1;
        open.by_number.insert(number, Arc::clone(&activity));
        drop(open);
        self.count.inc();
        Some(Place {
            connections: Arc::clone(self),
            activity,
            number,
            _slot: slot,
        })
    }

    /// Closes the least valuable connection. If there may be many connections, closes a few more of the
    /// same rank, because each search looks at all of them. Returns whether any is being closed.
    pub(super) fn make_room(&self) -> bool {
        let now = self.clock.now();
        let mut open = self.open();
        if open.warned.is_none_or(|last| last.elapsed() >= WARNING) {
            open.warned = Some(Instant::now());
            let (listener, limit) = (self.port.as_str(), self.limits.connections);
            warn!(
                listener,
                limit,
                "connection limit reached: closing idle connections to make room for new ones"
            );
        }
        let ranked = open.by_number.iter().filter_map(|(number, activity)| {
            let (rank, lasts) = activity.rank(now)?;
            Some((rank, std::cmp::Reverse(lasts), *number))
        });
        let mut ranked: Vec<_> = ranked.collect();
        let Some(&(mut worst, ..)) = ranked.iter().min() else {
            return false;
        };
        let count = |of| ranked.iter().filter(|(rank, ..)| *rank == of).count();
        if worst == Rank::Starting && count(Rank::Idle) / CROWD >= count(Rank::Starting) {
            // A flood of connections that have each had a request: close these rather than new
            // ones, which are about to have their first.
            worst = Rank::Idle;
        }
        ranked.retain(|(rank, ..)| *rank == worst);
        let enough = (self.limits.connections / 128).clamp(1, ranked.len());
        ranked.select_nth_unstable(enough - 1);
        for (rank, _, number) in &ranked[..enough] {
            let Some(activity) = open.by_number.get(number) else {
                continue;
            };
            let reason = match rank {
                Rank::Stalled => Reason::Unread,
                _ => Reason::Evicted,
            };
            self.tell(activity, Order::Close, reason);
        }
        true
    }

    /// Closes connections that exceed a limit, until the future is dropped.
    pub(super) async fn watch(&self) {
        let mut ticks = interval(self.limits.interval());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut last, mut generation) = (Instant::now(), self.clock.now());
        let mut advance = |expected| {
            self.clock.advance(last.elapsed(), expected);
            last = Instant::now();
            self.clock.now()
        };
        let stall = u64::try_from(self.limits.stall.as_millis()).unwrap_or(Moment::MAX);
        loop {
            let now = tokio::select! {
                _ = ticks.tick() => advance(self.limits.interval()),
                () = self.memory.pressure.notified() => {
                    self.relieve();
                    sleep(RELIEF).await;
                    advance(RELIEF);
                    continue;
                }
            };
            if now.saturating_sub(generation) >= stall {
                generation = now;
                self.memory.next_generation();
            }
            self.relieve();
            for activity in self.open().by_number.values() {
                activity.update(now);
                if let Some((order, reason)) = activity.overdue(now, &self.limits) {
                    self.tell(activity, order, reason);
                }
            }
        }
    }

    /// Closes connections whose requests and responses hold too much memory.
    pub(super) fn relieve(&self) {
        let now = self.clock.now();
        let most = self.limits.held;
        let all_held = self.memory.held();
        if all_held <= most {
            return;
        }
        let short = all_held > most.saturating_mul(2);
        let open = self.open();
        // What closing connections hold is freed soon, and is no reason to close others.
        let mut held = 0_usize;
        let mut stalled = Vec::new();
        let mut others = Vec::new();
        for activity in open.by_number.values() {
            if activity.order() == Order::Close {
                continue;
            }
            let bytes = activity.held();
            held = held.saturating_add(bytes);
            // A client that has taken responses may be waiting for the registry, which is busy.
            let patience = match short && !activity.has_taken_any() {
                true => SHORT_PATIENCE,
                false => PATIENCE,
            };
            match activity.unread_for(now) {
                Some(lasts) if lasts >= patience => stalled.push((lasts, bytes, activity)),
                _ if activity.requests() > 1 => others.push((bytes, activity)),
                // A single response may be large, and its client must get it.
                _ => {}
            }
        }
        stalled.sort_unstable_by_key(|(lasts, bytes, _)| std::cmp::Reverse((*lasts, *bytes)));
        for (_, bytes, activity) in stalled {
            if held <= most {
                return;
            }
            self.tell(activity, Order::Close, Reason::Unread);
            held = held.saturating_sub(bytes);
        }
        if held <= most.saturating_mul(2) {
            return;
        }
        // Clients that have taken responses come last: theirs may be waiting for the registry.
        others.sort_unstable_by_key(|(bytes, activity)| {
            (activity.has_taken_any(), std::cmp::Reverse(*bytes))
        });
        for (bytes, activity) in others {
            if held <= most {
                return;
            }
            self.tell(activity, Order::Close, Reason::Unread);
            held = held.saturating_sub(bytes);
        }
    }

    /// Tells all connections to finish their requests and close.
    pub(super) fn drain(&self) {
        for activity in self.open().by_number.values() {
            activity.tell(Order::Drain);
        }
    }

    /// Tells all connections to close, whatever they are doing.
    pub(super) fn close(&self) {
        for activity in self.open().by_number.values() {
            activity.tell(Order::Close);
        }
    }

    /// Waits until all connections are closed. None may be opened meanwhile.
    pub(super) async fn all_closed(&self) {
        let all = u32::try_from(self.limits.connections).unwrap_or(u32::MAX);
        // The semaphore is never closed, so this cannot fail.
        let _ = self.slots.acquire_many(all).await;
    }

    /// Counts a connection that was closed or refused.
    pub(super) fn closed(&self, reason: Reason) {
        self.counters.closed(self.port, reason).inc();
    }

    fn tell(&self, activity: &Activity, order: Order, reason: Reason) {
        let first = activity.order() == Order::Serve;
        if activity.tell(order) && first {
            self.closed(reason);
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.open().by_number.remove(&self.number);
        self.connections.count.dec();
    }
}
