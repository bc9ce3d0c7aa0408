//! What happens from time to time: counts are reported to the host, and the next tick is scheduled.

#![forbid(unsafe_code)]

use std::time::Duration;

use crate::clock::ms;
use crate::engine::cache::PoolName;
use crate::engine::host::Host;
use crate::engine::stats::Counter;
use crate::engine::{Engine, MAX_TICK, MIN_TICK};

impl<H: Host> Engine<H> {
    /// Reports the counts since the last flush.
    pub(super) fn flush(&mut self, host: &mut H, now: Duration) {
        for pool in PoolName::ALL {
            let (insertions, evictions) = self.verdicts.take_counts(pool);
            self.reporter.add(Counter::of_insertions(pool), insertions);
            self.reporter.add(Counter::of_evictions(pool), evictions);
        }
        let since = self.flushed.replace(now).unwrap_or(now);
        if self.verdicts.is_feed_stale(now) {
            let passed = ms(now.saturating_sub(since));
            self.reporter.add(Counter::FeedStale, passed);
        }
        self.reporter.flush(host);
    }

    /// Schedules the next tick for when it is needed.
    pub(super) fn tick_in_time(&mut self, host: &mut H, now: Duration) {
        let deadlines = [self.sessions.next_deadline(), self.verdicts.next_poll()];
        let left = match deadlines.into_iter().flatten().min() {
            _ if !self.decided.is_empty() => MIN_TICK,
            Some(deadline) => deadline.saturating_sub(now),
            None => MAX_TICK,
        };
        self.tick_every(host, left.clamp(MIN_TICK, MAX_TICK));
    }

    pub(super) fn tick_every(&mut self, host: &mut H, period: Duration) {
        if std::mem::replace(&mut self.period, period) != period {
            host.tick_every(period);
        }
    }
}
