//! What a connection is doing. Its own tasks record it, and the listener's
//! [watchdog](super::connections::Connections::watch) reads it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize};

use tokio::sync::Notify;

use super::connections::PATIENCE;
use super::counters::Reason;
use super::exchange::OVERHEAD;
use super::limits::Limits;
use super::memory::{GENERATIONS, Memory};
use super::since::{Moment, Since};

/// After how many milliseconds a client that takes nothing of its response counts as stalled.
const STALLED: u64 = 250;

/// From how many bytes on a client may take longer than that to read a response. Only pages of the
/// admin API are this large.
const LARGE: usize = 1 << 20;

/// After how many milliseconds a connection that has completed no request makes room before idle ones.
const SILENT: u64 = 1000;

/// After how many milliseconds an idle connection makes room before one that was just opened.
const LONG_IDLE: u64 = 10_000;

/// What a connection's task is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Order {
    /// Keep serving.
    Serve = 0,
    /// Finish the requests in progress, and close.
    Drain = 1,
    /// Close now.
    Close = 2,
}

/// The order in which connections are closed to make room for new ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// It has been told to close as soon as it can.
    Leaving,
    /// It was opened a while ago, and has never completed a request.
    Silent,
    /// Its client does not read its response.
    Stalled,
    /// It has had no request for a long time.
    LongIdle,
    /// It was just opened, or its client has just been sent a response.
    Starting,
    /// It had a request recently.
    Idle,
}

/// What one connection is doing.
#[derive(Debug)]
pub(super) struct Activity {
    memory: Arc<Memory>,
    order: AtomicU8,
    ordered: Notify,
    /// Requests in progress, from when their head was read until their response was taken.
    requests: AtomicUsize,
    /// Whether the client has ever taken a response.
    answered: AtomicBool,
    /// Whether the client was taking its responses when the watchdog last looked.
    reads: AtomicBool,
    http2: AtomicBool,
    handshake: Since,
    /// When the connection became idle: when it was opened, or when the last response was taken.
    idle: Since,
    /// When part of a request's head was read. HTTP/1 only: HTTP/2 has frames that are not requests.
    head: Since,
    /// When the socket stopped accepting bytes.
    blocked: Since,
    drain: Since,
    /// The number of responses that were not taken, by generation.
    responses: [AtomicUsize; GENERATIONS as usize],
    /// Their size in bytes.
    unread: AtomicUsize,
    /// The last time that the client took a response, or had none to take.
    taken: Since,
}

impl Activity {
    /// Returns the activity of a connection that was just opened.
    pub(super) fn new(memory: Arc<Memory>) -> Self {
        let idle = Since::default();
        idle.begin();
        Self {
            memory,
            order: AtomicU8::new(Order::Serve as u8),
            ordered: Notify::new(),
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

    /// Gives the connection's task an order. Returns false if it already had this one or a stronger one.
    pub(super) fn tell(&self, order: Order) -> bool {
        let before = self.order.fetch_max(order as u8, Relaxed);
        if before >= order as u8 {
            return false;
        }
        self.drain.begin_once();
        self.ordered.notify_one();
        true
    }

    /// Waits for an order other than [`Order::Serve`], and returns it.
    pub(super) async fn next_order(&self) -> Order {
        self.ordered.notified().await;
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

    /// Records that the head of a request was read. The request holds this many bytes until it ends.
    pub(super) fn request_begins(&self, http2: bool, bytes: usize) {
        self.requests.fetch_add(1, Relaxed);
        self.memory.hold(bytes);
        self.head.end();
        if http2 && !self.http2.load(Relaxed) {
            self.http2.store(true, Relaxed);
        }
    }

    /// Records that a request has a response, whose `body` bytes are held too. Returns the
    /// response's generation.
    pub(super) fn response_begins(&self, request: usize, body: usize) -> u8 {
        let generation = self.memory.generation();
        self.responses[usize::from(generation)].fetch_add(1, Relaxed);
        if self.unread.fetch_add(request + body, Relaxed) == 0 {
            self.taken.begin();
        }
        self.memory.hold(body);
        generation
    }

    /// Records that the response of a request was taken, or that there will be none. The request
    /// held this many bytes.
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
        // Set before the count, so that the watchdog never sees a connection that has no requests
        // but an old time.
        self.idle.begin();
        self.requests.fetch_sub(1, Relaxed);
    }

    /// Records that bytes were read.
    pub(super) fn received(&self) {
        if self.requests.load(Relaxed) == 0 {
            self.head.begin_once();
        }
    }

    /// Records that the socket accepted bytes, or that there were none to write.
    pub(super) fn sent(&self) {
        self.blocked.end();
    }

    /// Records that the socket accepts no more bytes for now.
    pub(super) fn blocked(&self) {
        self.blocked.begin_once();
    }

    /// Returns whether there is memory for a request, which was already counted. Half of the memory
    /// is reserved for clients that take their responses.
    pub(super) fn may_go_on(&self) -> bool {
        let most = match self.reads.load(Relaxed) {
            true => self.memory.most.saturating_mul(4),
            false => self.memory.most.saturating_mul(2),
        };
        self.memory.held() <= most
    }

    /// Returns how much memory closing the connection would free, in bytes: that of its requests
    /// without a response, and of the responses that the client has not taken.
    pub(super) fn held(&self) -> usize {
        let unanswered = self.requests().saturating_sub(self.responses());
        self.unread() + unanswered * OVERHEAD as usize
    }

    /// Returns the size of the responses that the client has not taken, in bytes.
    fn unread(&self) -> usize {
        self.unread.load(Relaxed)
    }

    /// Returns whether the client has ever taken a response.
    pub(super) fn has_taken_any(&self) -> bool {
        self.answered.load(Relaxed)
    }

    /// Returns the number of requests in progress.
    pub(super) fn requests(&self) -> usize {
        self.requests.load(Relaxed)
    }

    /// Returns the number of responses that the client has not taken.
    fn responses(&self) -> usize {
        self.responses.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// Sets the time of everything that began since the last look, and updates whether the client
    /// takes its responses.
    pub(super) fn update(&self, now: Moment) {
        for since in [
            &self.handshake,
            &self.idle,
            &self.head,
            &self.blocked,
            &self.drain,
            &self.taken,
        ] {
            since.stamp(now);
        }
        let stalled = self.unread_for(now).is_some_and(|lasts| lasts >= PATIENCE);
        let reads = self.has_taken_any() && !stalled;
        self.reads.store(reads, Relaxed);
    }

    /// Returns the order for the connection's task, and the reason, if a limit is exceeded.
    pub(super) fn overdue(&self, now: Moment, limits: &Limits) -> Option<(Order, Reason)> {
        let exceeds = |since: &Since, limit: std::time::Duration| {
            since
                .elapsed(now)
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
        let first = !self.has_taken_any();
        let head = if first { &self.idle } else { &self.head };
        if (first || !self.http2.load(Relaxed)) && exceeds(head, limits.head) {
            return close(Reason::Head);
        }
        exceeds(&self.idle, limits.idle).then_some((Order::Drain, Reason::Idle))
    }

    /// Returns the connection's rank, and for how many milliseconds it has had it. Returns `None`
    /// if the connection is busy.
    pub(super) fn rank(&self, now: Moment) -> Option<(Rank, u64)> {
        if self.order() != Order::Serve && self.requests.load(Relaxed) == 0 {
            return Some((Rank::Leaving, self.drain.elapsed(now).unwrap_or_default()));
        }
        match self.unread_for(now) {
            Some(lasts) if lasts >= STALLED => return Some((Rank::Stalled, lasts)),
            Some(lasts) => return Some((Rank::Starting, lasts)),
            None if self.requests.load(Relaxed) > 0 => return None,
            None => {}
        }
        let lasts = self.idle.elapsed(now).unwrap_or_default();
        let rank = match self.has_taken_any() {
            false if lasts >= SILENT => Rank::Silent,
            true if lasts >= LONG_IDLE => Rank::LongIdle,
            false => Rank::Starting,
            true => Rank::Idle,
        };
        Some((rank, lasts))
    }

    /// Returns for how many milliseconds the client has taken nothing, if there is something to
    /// take. A single large response counts only while the socket is blocked.
    pub(super) fn unread_for(&self, now: Moment) -> Option<u64> {
        let unread = self.unread();
        let large = unread >= LARGE && self.responses() == 1;
        let responses = self.taken.elapsed(now).filter(|_| unread > 0 && !large);
        [responses, self.blocked.elapsed(now)]
            .into_iter()
            .flatten()
            .max()
    }
}
