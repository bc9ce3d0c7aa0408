//! The counts since the last report to the host.

#![forbid(unsafe_code)]

use crate::decision::outcome::Outcome;
use crate::engine::stats::Counter;

/// Counts that are not yet reported to the host: a report costs more than counting.
#[derive(Debug)]
pub struct Unreported {
    /// By [`Counter::place`].
    counts: [u64; Counter::PLACES],
}

impl Default for Unreported {
    fn default() -> Self {
        Self {
            counts: [0; Counter::PLACES],
        }
    }
}

impl Unreported {
    /// Adds `events` to a counter.
    pub fn add(&mut self, counter: Counter, events: u64) {
        if let Some(count) = self.counts.get_mut(counter.place()) {
            *count = count.saturating_add(events);
        }
    }

    /// Returns the counts since the last call, without zeros. Outcomes with the same name are added
    /// up only here, because finding their counter takes longer than counting.
    pub fn take_counts(&mut self) -> impl Iterator<Item = (Counter, u64)> {
        for outcome in Outcome::all() {
            let (counted, counter) = (Counter::Requests(outcome), Counter::of_request(outcome));
            if counted != counter {
                let events = self.counts.get_mut(counted.place()).map(std::mem::take);
                self.add(counter, events.unwrap_or_default());
            }
        }
        let counts = std::mem::replace(&mut self.counts, [0; Counter::PLACES]);
        Counter::all()
            .map(move |counter| (counter, counts.get(counter.place()).copied().unwrap_or(0)))
            .filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests;
