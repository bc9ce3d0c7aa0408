//! The change feed: which keys have changed since their verdicts were made.
//!
//! Each worker polls it by itself. Whatever was looked up before a change was read is forgotten
//! then, so a kept verdict is right as of the last poll that was answered, however long ago it was made. While that poll is too long ago the feed is *stale*, and
//! verdicts have to show for themselves again.
//!
//! | answer | means |
//! |---|---|
//! | 204 | nothing has changed |
//! | 200, `{"cursor":"…","changes":[{"key_hash":"…"}],"reset":false}` | these have |
//! | 200, `"reset":true` | any may have |
//! | the first 200 of all, whatever it says | any may have: there was no cursor to ask with |
//! | anything else | nobody knows: the poll failed |

#![forbid(unsafe_code)]

use std::fmt::Write;
use std::time::Duration;

use crate::auth::answer::{Cause, parse_status};
use crate::auth::lookup::{Callout, PathTemplate};
use crate::clock::ms;
use crate::json::{Fields, Object};
use crate::request::key_hash::KeyHash;

/// The largest page that is read, in bytes.
pub const MAX_PAGE: usize = 1024 * 1024;

/// The longest cursor, in bytes.
const MAX_CURSOR: usize = 512;

/// A page of so many changes may have more behind it, which are read at once. So pages must not be
/// shorter.
pub(crate) const LONG_PAGE: usize = 100;

/// The share of the interval, as a divisor, by which a poll may come early, so that workers and
/// proxies that started together do not go on together.
const JITTER: u64 = 5;

/// How the feed is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedRules {
    /// The Envoy cluster that is polled.
    pub cluster: String,
    /// The path at the auth cluster, with a place for the cursor.
    pub path: PathTemplate,
    /// The longest time from one poll to the next.
    pub interval: Duration,
    /// How long after the last poll that was answered the feed counts as stale.
    pub stale_after: Duration,
    /// How long an active record is fresh while the feed is stale.
    pub allow_ttl_when_stale: Duration,
}

/// The feed as one worker knows it. Times are of the monotonic clock.
#[derive(Debug)]
pub struct Feed {
    rules: FeedRules,
    cursor: Option<String>,
    /// When the poll that is in flight was made.
    in_flight: Option<Duration>,
    next: Duration,
    complete_until: Option<Duration>,
    /// Whether the last poll failed.
    failing: bool,
    /// How many of the last polls said that any key may have changed.
    resets: u32,
}

/// What a poll was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Page {
    /// Nothing new.
    Current,
    /// Where to go on, and what has changed.
    News {
        /// What to ask with next.
        cursor: String,
        /// What has changed.
        changed: Changed,
    },
}

/// Which keys have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// Those of these hashes.
    Keys(Vec<KeyHash>),
    /// There is no telling.
    Any,
}

/// What has become of a poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Polled {
    /// Which keys have changed; where the poll failed, why.
    pub changes: Result<Changed, String>,
    /// Whether the poll before it ended the other way, so that it is worth a line in the log.
    pub changed: bool,
    /// How many of the last polls, this one included, said that any key may have changed.
    pub resets: u32,
}

/// What kept verdicts are worth, by the feed. Without a feed: the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freshness {
    /// Until when, on the monotonic clock, all changes are known.
    pub complete_until: Option<Duration>,
    /// For how long at most an active record is fresh.
    pub allow_limit: Option<Duration>,
}

impl Page {
    /// Reads an answer. `status` is its `:status`, `None` where there is none; `body` is called
    /// only for a body that is worth reading.
    ///
    /// # Errors
    /// What would be right, without what the answer says.
    pub fn read(
        status: Option<&[u8]>,
        body_size: usize,
        body: impl FnOnce() -> Vec<u8>,
    ) -> Result<Self, String> {
        match status.and_then(parse_status) {
            None => Err(Cause::NoAnswer.to_string()),
            Some(204) => Ok(Self::Current),
            Some(200) if body_size > MAX_PAGE => Err(format!(
                "an answer of {body_size} bytes, over the limit of {MAX_PAGE}"
            )),
            Some(200) => Self::parse(&body())
                .map_err(|problem| format!("answer 200, but not a page of changes: {problem}")),
            Some(503) => Err(Cause::Status(503).to_string()),
            Some(504) => {
                Err("answer 504: none came in time, or the auth cluster said so".to_owned())
            }
            Some(status) => Err(format!("answer {status}; expected 200 or 204")),
        }
    }

    /// Fields that are not known are ignored, `kind` among them: whatever happened to a key, its
    /// verdict is an old one.
    fn parse(body: &[u8]) -> Result<Self, String> {
        let fields = ["cursor", "changes", "reset"];
        let mut page = Object::read(body, Fields::With(&fields))?;
        let cursor = page.string("cursor")?.ok_or("cursor: is required")?;
        if !(1..=MAX_CURSOR).contains(&cursor.len()) {
            return Err(format!("cursor: must have 1 to {MAX_CURSOR} bytes"));
        }
        let changed = if page.bool("reset")?.unwrap_or(false) {
            Changed::Any
        } else {
            let changes = page.objects("changes", Fields::With(&["key_hash"]))?;
            let hashes = changes.ok_or("changes: is required")?.into_iter();
            let hashes = hashes.map(|mut change| {
                let hash = change.string("key_hash")?.unwrap_or_default();
                let problem = "changes: each key_hash must be 64 hex digits";
                KeyHash::from_hex(hash.as_bytes()).ok_or_else(|| problem.to_owned())
            });
            Changed::Keys(hashes.collect::<Result<_, String>>()?)
        };
        let cursor = cursor.into_owned();
        Ok(Self::News { cursor, changed })
    }
}

impl Feed {
    /// Knows nothing yet, and is stale until it does.
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

    /// The callout of the next poll, when it is time for it. What comes of it goes to
    /// [`Self::polled`]; a poll that was forgotten is made anew.
    pub fn poll(&mut self, now: Duration) -> Option<Callout> {
        if now < self.next_deadline() {
            return None;
        }
        self.in_flight = Some(now);
        let cursor = percent_encoded(self.cursor.as_deref().unwrap_or_default());
        let path = self.rules.path.fill(cursor);
        Some(Callout::to(path, self.timeout()))
    }

    /// When [`Self::poll`] has something to do next, on the monotonic clock.
    pub fn next_deadline(&self) -> Duration {
        /// How much later than its timeout a poll is given up.
        const FORGOTTEN: Duration = Duration::from_secs(2);

        match self.in_flight {
            Some(since) => since
                .saturating_add(self.timeout())
                .saturating_add(FORGOTTEN),
            None => self.next,
        }
    }

    /// A poll was answered, or failed for the reason that is given. `random` is any number.
    pub fn polled(&mut self, page: Result<Page, String>, now: Duration, random: u64) -> Polled {
        let since = self.in_flight.take();
        let begun = since.unwrap_or(now);
        self.next = begun.saturating_add(self.pause(random));
        let changes = page.and_then(|page| {
            // What was known when a poll was made that nobody remembers cannot be told.
            let since = since.ok_or("an answer to a poll that was given up")?;
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
                    "answer 204 to a poll without a cursor; expected 200 and one".to_owned(),
                );
            }
            Page::Current => (None, Changed::Keys(Vec::new())),
            Page::News { cursor, changed } => (Some(cursor), changed),
        };
        let changed = if self.cursor.is_none() {
            Changed::Any
        } else {
            changed
        };
        let moves = cursor.is_some() && cursor != self.cursor;
        match &changed {
            // A page that comes again and again is no reason to hurry, nor any news.
            Changed::Keys(hashes) if hashes.len() >= LONG_PAGE => {
                if moves {
                    self.next = now;
                }
            }
            // All that had changed when the poll was made is in its answer.
            _ => self.complete_until = Some(since),
        }
        self.cursor = cursor.or(self.cursor.take());
        Ok(changed)
    }

    /// What kept verdicts are worth now.
    pub fn freshness(&self, now: Duration) -> Freshness {
        let limit = self.rules.allow_ttl_when_stale;
        Freshness {
            complete_until: self.complete_until,
            allow_limit: self.is_stale(now).then_some(limit),
        }
    }

    /// Whether the last poll that was answered is too long ago.
    pub fn is_stale(&self, now: Duration) -> bool {
        self.complete_until
            .is_none_or(|known| now.saturating_sub(known) >= self.rules.stale_after)
    }

    /// Nobody waits for a poll, so it may take until the next one is due.
    fn timeout(&self) -> Duration {
        const SHORTEST: Duration = Duration::from_secs(1);
        const LONGEST: Duration = Duration::from_secs(10);

        self.rules.interval.clamp(SHORTEST, LONGEST)
    }

    /// From one poll to the next: the interval, or less.
    fn pause(&self, random: u64) -> Duration {
        let interval = self.rules.interval;
        let early = ms(interval) / JITTER;
        let early = random.checked_rem(early.saturating_add(1)).unwrap_or(0);
        interval.saturating_sub(Duration::from_millis(early))
    }
}

/// All but what RFC 3986 section 2.3 leaves as it is.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a text cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests;
