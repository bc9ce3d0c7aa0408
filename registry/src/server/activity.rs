//! What a connection is doing. Its own tasks write that down, and the listener's
//! [watchdog](super::connections::Connections::watch) reads it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize};

use tokio::sync::Notify;

use super::counters::Reason;
use super::limits::Limits;
use super::memory::{GENERATIONS, Memory};
use super::since::{Moment, Since};

/// After how long a client that takes nothing of its response counts as one that does not read. In
/// milliseconds.
const STALLED: u64 = 250;

/// From how many bytes on a response may take its client longer than that. Only pages of the admin
/// API are as large.
const LARGE: usize = 1 << 20;

/// After how long a connection without a request makes room ahead of those that are idle. In
/// milliseconds.
const SILENT: u64 = 1000;

/// After how long an idle connection makes room ahead of one that was just opened. In milliseconds.
const LONG_IDLE: u64 = 10_000;

/// What a connection's task is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Order {
    /// Go on.
    Serve = 0,
    /// Finish the requests in progress, and close.
    Drain = 1,
    /// Close now.
    Close = 2,
}

/// Which connection makes room for another, the first of these first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// It has been told to close as soon as it can.
    Leaving,
    /// It was opened a while ago, and never got a whole request through.
    Silent,
    /// Its client takes nothing of its response.
    Stalled,
    /// It has had no request for long.
    LongIdle,
    /// It was just opened, or its client has just got a response to take.
    Starting,
    /// It has just had a request.
    Idle,
}

/// What one connection is doing.
#[derive(Debug)]
pub(super) struct Activity {
    memory: Arc<Memory>,
    order: AtomicU8,
    told: Notify,
    /// Requests from when their head was read until their response was taken.
    requests: AtomicUsize,
    /// Whether a response was ever taken.
    answered: AtomicBool,
    /// Whether the client takes its responses, when the watchdog last looked.
    reads: AtomicBool,
    http2: AtomicBool,
    handshake: Since,
    /// Without a request: since the connection was opened, or the last response was taken.
    idle: Since,
    /// Part of a request's head was read. HTTP/1 only: HTTP/2 has frames that are no request.
    head: Since,
    /// The socket takes no more.
    blocked: Since,
    drain: Since,
    /// Responses that were not taken, by the generation that they are of.
    responses: [AtomicUsize; GENERATIONS as usize],
    /// The same in bytes.
    unread: AtomicUsize,
    /// The last time that the client took a response, or had none to take.
    taken: Since,
}

impl Activity {
    /// A connection that has just been opened.
    pub(super) fn new(memory: Arc<Memory>) -> Self {
        let idle = Since::default();
        idle.begin();
        Self {
            memory,
            order: AtomicU8::new(Order::Serve as u8),
            told: Notify::new(),
            requests: AtomicUsize::new(0),
            answered: AtomicBool::new(false),
            reads: AtomicBool::new(false),
            http2: AtomicBool::new(false),
            handshake: Since::default(),
            idle,
            head: Since::default(),
            blocked: Since::default(),
            drain: Since::default(),
            responses: Default::default(),
            unread: AtomicUsize::new(0),
            taken: Since::default(),
        }
    }

    /// Tells the connection's task; returns whether it was not told as much before.
    pub(super) fn tell(&self, order: Order) -> bool {
        let before = self.order.fetch_max(order as u8, Relaxed);
        if before >= order as u8 {
            return false;
        }
        self.drain.begin_once();
        self.told.notify_one();
        true
    }

    /// Waits for an order other than to serve.
    pub(super) async fn told(&self) -> Order {
        self.told.notified().await;
        self.order()
    }

    pub(super) fn order(&self) -> Order {
        match self.order.load(Relaxed) {
            0 => Order::Serve,
            1 => Order::Drain,
            _ => Order::Close,
        }
    }

    pub(super) fn handshake_begins(&self) {
        self.handshake.begin();
    }

    pub(super) fn handshake_ends(&self) {
        self.handshake.end();
        self.idle.begin();
    }

    /// The head of a request was read, which holds so many bytes until it ends.
    pub(super) fn request_begins(&self, http2: bool, bytes: usize) {
        self.requests.fetch_add(1, Relaxed);
        self.memory.hold(bytes);
        self.head.end();
        if http2 && !self.http2.load(Relaxed) {
            self.http2.store(true, Relaxed);
        }
    }

    /// A request has a response, whose `body` is held too; returns the generation that it is of.
    pub(super) fn response_begins(&self, request: usize, body: usize) -> u8 {
        let generation = self.memory.generation();
        self.responses[usize::from(generation)].fetch_add(1, Relaxed);
        if self.unread.fetch_add(request + body, Relaxed) == 0 {
            self.taken.begin();
        }
        self.memory.hold(body);
        generation
    }

    /// The response of a request was taken, or there will be none; it held so many bytes.
    pub(super) fn request_ends(&self, response: Option<u8>, bytes: usize) {
        if let Some(generation) = response {
            self.responses[usize::from(generation)].fetch_sub(1, Relaxed);
            self.unread.fetch_sub(bytes, Relaxed);
            self.taken.begin();
            if !self.answered.load(Relaxed) {
                self.answered.store(true, Relaxed);
            }
        }
        self.memory.release(bytes);
        // Before the count, so that nobody sees a connection without requests and an old time.
        self.idle.begin();
        self.requests.fetch_sub(1, Relaxed);
    }

    /// Bytes were read.
    pub(super) fn received(&self) {
        if self.requests.load(Relaxed) == 0 {
            self.head.begin_once();
        }
    }

    /// The socket took bytes, or had none to take.
    pub(super) fn sent(&self) {
        self.blocked.end();
    }

    /// The socket takes no more for now.
    pub(super) fn blocked(&self) {
        self.blocked.begin_once();
    }

    /// Whether there is memory for another request, which was counted already. Half of it is for
    /// clients that take their responses.
    pub(super) fn may_go_on(&self) -> bool {
        let most = match self.reads.load(Relaxed) {
            true => self.memory.most.saturating_mul(4),
            false => self.memory.most.saturating_mul(2),
        };
        self.memory.held() <= most
    }

    /// What the client has not taken of its responses, in bytes.
    pub(super) fn unread(&self) -> usize {
        self.unread.load(Relaxed)
    }

    /// How many responses that is.
    pub(super) fn responses(&self) -> usize {
        self.responses.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// Sets the time of all that began since the last look, and what follows from it.
    pub(super) fn settle(&self, now: Moment) {
        for since in [
            &self.handshake,
            &self.idle,
            &self.head,
            &self.blocked,
            &self.drain,
            &self.taken,
        ] {
            since.settle(now);
        }
        let stalled = self.untaken(now).is_some_and(|lasts| lasts >= STALLED);
        let reads = self.answered.load(Relaxed) && !stalled;
        self.reads.store(reads, Relaxed);
    }

    /// What its task is to be told because a limit is exceeded, and which limit it is.
    pub(super) fn overdue(&self, now: Moment, limits: &Limits) -> Option<(Order, Reason)> {
        let exceeds = |since: &Since, limit: std::time::Duration| {
            since
                .lasts(now)
                .is_some_and(|lasts| u128::from(lasts) >= limit.as_millis())
        };
        let oldest = (self.memory.generation() + 1) % GENERATIONS;
        let close = |reason| Some((Order::Close, reason));
        if exceeds(&self.handshake, limits.handshake) {
            return close(Reason::Handshake);
        }
        if exceeds(&self.blocked, limits.stall)
            || self.responses[usize::from(oldest)].load(Relaxed) > 0
        {
            return close(Reason::Unread);
        }
        if self.requests.load(Relaxed) > 0 {
            return None;
        }
        if exceeds(&self.drain, limits.drain) {
            return close(Reason::Idle);
        }
        let first = !self.answered.load(Relaxed);
        let head = if first { &self.idle } else { &self.head };
        if (first || !self.http2.load(Relaxed)) && exceeds(head, limits.head) {
            return close(Reason::Head);
        }
        exceeds(&self.idle, limits.idle).then_some((Order::Drain, Reason::Idle))
    }

    /// Its place among those that make room for another, and for how long it has had it; `None` for
    /// a connection that is busy.
    pub(super) fn rank(&self, now: Moment) -> Option<(Rank, u64)> {
        if self.order() != Order::Serve && self.requests.load(Relaxed) == 0 {
            return Some((Rank::Leaving, self.drain.lasts(now).unwrap_or_default()));
        }
        match self.untaken(now) {
            Some(lasts) if lasts >= STALLED => return Some((Rank::Stalled, lasts)),
            Some(lasts) => return Some((Rank::Starting, lasts)),
            None if self.requests.load(Relaxed) > 0 => return None,
            None => {}
        }
        let lasts = self.idle.lasts(now).unwrap_or_default();
        let rank = match self.answered.load(Relaxed) {
            false if lasts >= SILENT => Rank::Silent,
            true if lasts >= LONG_IDLE => Rank::LongIdle,
            false => Rank::Starting,
            true => Rank::Idle,
        };
        Some((rank, lasts))
    }

    /// For how long its client has taken nothing, where there is something to take.
    pub(super) fn untaken(&self, now: Moment) -> Option<u64> {
        let unread = self.unread();
        let large = unread >= LARGE && self.responses() == 1;
        let responses = self.taken.lasts(now).filter(|_| unread > 0 && !large);
        [responses, self.blocked.lasts(now)]
            .into_iter()
            .flatten()
            .max()
    }
}
