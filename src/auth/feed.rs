//! The change feed: which keys have changed since their last lookup.
//!
//! Each worker polls the feed by itself. When a poll reports that a key has changed, the verdict of
//! earlier lookups of that key is forgotten. So a cached verdict is as current as the last answered
//! poll, no matter how old it is. If that poll is too long ago, the feed is *stale*, and active
//! verdicts are fresh only for `allow_ttl_when_stale`.
//!
//! | answer | meaning |
//! |---|---|
//! | 204 | nothing has changed |
//! | 200, `{"cursor":"…","changes":[{"key_hash":"…"}],"reset":false}` | these keys have changed |
//! | 200, `"reset":true` | any key may have changed |
//! | the first 200, whatever it says | any key may have changed, because the poll had no cursor |
//! | anything else, or a 204 before the first 200 | unknown, because the poll failed |

#![forbid(unsafe_code)]

pub mod page;

use std::fmt::Write;
use std::time::Duration;

use crate::auth::feed::page::{Changed, Page};
use crate::auth::lookup::{Callout, PathTemplate};
use crate::clock::ms;

/// A page with at least this many changes may be followed by more, so the next poll is made at
/// once. `feed.path` must not ask for shorter pages.
pub(crate) const LONG_PAGE: usize = 100;

/// The largest share of the interval, as a divisor, by which a poll may come early. It spreads the
/// polls of workers and proxies that started together.
const JITTER: u64 = 5;

/// How the feed is polled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedRules {
    /// The Envoy cluster that is polled.
    pub cluster: String,
    /// The path at the auth cluster, with a placeholder for the cursor.
    pub path: PathTemplate,
    /// The longest time between two polls.
    pub interval: Duration,
    /// How long after the last answered poll the feed becomes stale.
    pub stale_after: Duration,
    /// How long an active record is fresh while the feed is stale.
    pub allow_ttl_when_stale: Duration,
}

/// The feed as one worker knows it. Times are on the monotonic clock.
#[derive(Debug)]
pub struct Feed {
    rules: FeedRules,
    cursor: Option<String>,
    /// When the poll in flight was made.
    in_flight: Option<Duration>,
    next: Duration,
    complete_until: Option<Duration>,
    /// Whether the last poll failed.
    failing: bool,
    /// How many answered polls in a row said that any key may have changed.
    resets: u32,
}

/// The outcome of a poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Polled {
    /// Which keys have changed, or why the poll failed.
    pub changes: Result<Changed, String>,
    /// Whether this poll failed and the one before did not, or vice versa. Such a poll is logged.
    pub changed: bool,
    /// How many answered polls in a row, up to this one, said that any key may have changed.
    pub resets: u32,
}

/// How far the feed confirms cached verdicts. Without a feed, the default applies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freshness {
    /// The time up to which all changes are known, on the monotonic clock.
    pub complete_until: Option<Duration>,
    /// The longest time for which an active record is fresh, if the feed is stale.
    pub allow_limit: Option<Duration>,
}

impl Feed {
    /// Creates a feed without a cursor. It is stale until the first poll is answered.
    pub fn new(rules: FeedRules) -> Self {
        Self {
            rules,
            cursor: None,
            in_flight: None,
            next: Duration::ZERO,
            complete_until: None,
            failing: false,
            resets: 0,
        }
    }

    /// Returns the callout of the next poll, if one is due. Its outcome goes to [`Self::polled`]. A
    /// poll without an outcome is given up some time after its timeout, and made again.
    pub fn poll(&mut self, now: Duration) -> Option<Callout> {
        if now < self.next_deadline() {
            return None;
        }
        self.in_flight = Some(now);
        let cursor = percent_encoded(self.cursor.as_deref().unwrap_or_default());
        let path = self.rules.path.fill(cursor);
        Some(Callout::to(path, self.timeout()))
    }

    /// Returns when [`Self::poll`] is due next, on the monotonic clock.
    pub fn next_deadline(&self) -> Duration {
        /// How long after its timeout a poll is given up.
        const TIMEOUT_MARGIN: Duration = Duration::from_secs(2);

        match self.in_flight {
            Some(since) => since
                .saturating_add(self.timeout())
                .saturating_add(TIMEOUT_MARGIN),
            None => self.next,
        }
    }

    /// Takes the answer to a poll, or the reason why it failed. `random` is any number.
    pub fn polled(&mut self, page: Result<Page, String>, now: Duration, random: u64) -> Polled {
        let since = self.in_flight.take();
        let begun = since.unwrap_or(now);
        self.next = begun.saturating_add(self.pause(random));
        let changes = page.and_then(|page| {
            // The start of a poll that was given up is unknown, so its answer cannot be used.
            let since = since.ok_or("answered after the poll had been given up")?;
            self.read(page, since, now)
        });
        let failing = changes.is_err();
        let changed = failing != std::mem::replace(&mut self.failing, failing);
        match &changes {
            Ok(Changed::Any) => self.resets = self.resets.saturating_add(1),
            Ok(Changed::Keys(_)) => self.resets = 0,
            Err(_) => {}
        }
        Polled {
            changes,
            changed,
            resets: self.resets,
        }
    }

    fn read(&mut self, page: Page, since: Duration, now: Duration) -> Result<Changed, String> {
        let (cursor, changed) = match page {
            Page::Current if self.cursor.is_none() => {
                return Err(
                    "answer 204 to a poll without a cursor; expected 200 with a cursor".to_owned(),
                );
            }
            Page::Current => (None, Changed::Keys(Vec::new())),
            Page::Changes { cursor, changed } => (Some(cursor), changed),
        };
        let changed = if self.cursor.is_none() {
            Changed::Any
        } else {
            changed
        };
        let moves = cursor.is_some() && cursor != self.cursor;
        match &changed {
            // More changes may follow, so the feed is not complete. Poll at once, unless the same
            // page came again.
            Changed::Keys(hashes) if hashes.len() >= LONG_PAGE => {
                if moves {
                    self.next = now;
                }
            }
            // The answer contains all changes from before the poll was made.
            _ => self.complete_until = Some(since),
        }
        self.cursor = cursor.or(self.cursor.take());
        Ok(changed)
    }

    /// Returns how far cached verdicts are confirmed now.
    pub fn freshness(&self, now: Duration) -> Freshness {
        let limit = self.rules.allow_ttl_when_stale;
        Freshness {
            complete_until: self.complete_until,
            allow_limit: self.is_stale(now).then_some(limit),
        }
    }

    /// Returns whether the last answered poll is too long ago.
    pub fn is_stale(&self, now: Duration) -> bool {
        self.complete_until
            .is_none_or(|known| now.saturating_sub(known) >= self.rules.stale_after)
    }

    /// Returns the timeout of a poll: the interval, limited to 1 to 10 seconds. No request waits
    /// for a poll.
    fn timeout(&self) -> Duration {
        const SHORTEST: Duration = Duration::from_secs(1);
        const LONGEST: Duration = Duration::from_secs(10);

        self.rules.interval.clamp(SHORTEST, LONGEST)
    }

    /// Returns the time from one poll to the next: the interval, or up to a fifth less.
    fn pause(&self, random: u64) -> Duration {
        let interval = self.rules.interval;
        let early = ms(interval) / JITTER;
        let early = random.checked_rem(early.saturating_add(1)).unwrap_or(0);
        interval.saturating_sub(Duration::from_millis(early))
    }
}

/// Percent-encodes everything except unreserved characters (RFC 3986 section 2.3).
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a `String` cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests;
