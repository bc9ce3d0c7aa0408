//! The default values and the fixed limits.

use std::time::Duration;

/// How long the feed keeps its changes, as [`crate::duration::Seconds`] reads it. A reader that was
/// away for longer has to start again, and all verdicts that it has kept are older than that.
pub(crate) const KEEP_CHANGES: &str = "24h";

/// How long a rotated key keeps working: a day to deploy the new one.
pub(crate) const GRACE: &str = "24h";

/// The most requests at once: more than the lookups that the proxies of one registry have in flight,
/// and few enough to keep in memory.
pub(crate) const CONCURRENCY: usize = 1024;

/// How long a request may take. The filter waits for 250 ms, or up to a minute if it is configured so.
pub(crate) const LONGEST_REQUEST: Duration = Duration::from_secs(10);

/// After how many seconds a 503 says to try again.
pub(crate) const RETRY_AFTER_SECONDS: &str = "1";

/// The most bytes of a request's body.
pub(crate) const LARGEST_BODY: usize = 64 * 1024;

/// The most keys in one page of the admin API.
pub(crate) const KEYS_AT_ONCE: u32 = 1000;

/// The most changes in one answer of the feed.
pub(crate) const CHANGES_AT_ONCE: u32 = 1000;

/// The fewest characters of a token: 128 bits, even where it is hex.
pub(crate) const SHORTEST_TOKEN: usize = 32;
