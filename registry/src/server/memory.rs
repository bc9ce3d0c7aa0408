//! How much memory the requests of a listener hold, and how old their responses are.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU8, AtomicUsize};

use tokio::sync::Notify;

use super::limits::Limits;

/// The memory that all connections of a listener hold.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The bytes that requests in progress hold, including responses that clients have not taken.
    held: AtomicUsize,
    /// The limit in bytes. Beyond it, [`Self::pressure`] is notified.
    pub(super) most: usize,
    pub(super) pressure: Notify,
    /// Counts the intervals of [`Limits::stall`], so that responses can be told apart by their age.
    generation: AtomicU8,
}

/// The number of generations in which responses are counted: the current one, the previous one, and
/// those that are too old.
pub(super) const GENERATIONS: u8 = 3;

impl Memory {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            most: limits.held,
            ..Self::default()
        }
    }

    pub(super) fn held(&self) -> usize {
        self.held.load(Relaxed)
    }

    pub(super) fn hold(&self, bytes: usize) {
        let before = self.held.fetch_add(bytes, Relaxed);
        if before.saturating_add(bytes) > self.most {
            self.pressure.notify_one();
        }
    }

    pub(super) fn release(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Relaxed);
    }

    pub(super) fn next_generation(&self) {
        let next = (self.generation() + 1) % GENERATIONS;
        self.generation.store(next, Relaxed);
    }

    pub(super) fn generation(&self) -> u8 {
        self.generation.load(Relaxed)
    }
}
