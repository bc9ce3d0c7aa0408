//! Limits a log to one line a second, so that it stays readable in an outage.

#![forbid(unsafe_code)]

use std::time::Duration;

/// Lets one event through per second.
#[derive(Debug, Default)]
pub struct Throttle {
    last: Option<Duration>,
    suppressed: u64,
}

impl Throttle {
    /// Returns the number of events that were suppressed since the last one let through, or `None`
    /// to suppress this one too. `now` is the time since the Unix epoch. If the clock was set back,
    /// the next event is let through.
    pub fn permit(&mut self, now: Duration) -> Option<u64> {
        let too_soon = self.last.is_some_and(|last| {
            now.checked_sub(last)
                .is_some_and(|passed| passed < Duration::from_secs(1))
        });
        if too_soon {
            self.suppressed = self.suppressed.saturating_add(1);
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_one_event_a_second() {
        let mut throttle = Throttle::default();
        let events = [
            (10_000, Some(0)),
            (10_001, None),
            (10_999, None),
            (11_000, Some(2)),
            (11_001, None),
            (9_000, Some(1)),
            (9_500, None),
            (20_000, Some(1)),
        ];
        for (now, expected) in events {
            assert_eq!(
                throttle.permit(Duration::from_millis(now)),
                expected,
                "at {now} ms"
            );
        }
    }
}
