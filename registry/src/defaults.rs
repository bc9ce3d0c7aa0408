//! The default values and the fixed limits.

use std::time::Duration;

/// How long the feed keeps changes, in the format of [`crate::duration::Seconds`]. A reader that was
/// away for longer has to start again, and every verdict that it still holds is older than this.
pub(crate) const KEEP_CHANGES: &str = "24h";

/// How long a rotated key keeps working: a day to deploy the new one.
pub(crate) const GRACE: &str = "24h";

/// The most requests at once: more than the lookups that the proxies of one registry have in
/// flight, but few enough to fit in memory.
pub(crate) const CONCURRENCY: usize = 1024;

/// How long a request may take. The filter waits 250 ms by default, and at most a minute.
pub(crate) const LONGEST_REQUEST: Duration = Duration::from_secs(10);

/// The `retry-after` of a 503, in seconds.
pub(crate) const RETRY_AFTER_SECONDS: &str = "1";

/// The largest body of a request, in bytes.
pub(crate) const LARGEST_BODY: usize = 64 * 1024;

/// The most keys in one page of the admin API.
pub(crate) const KEYS_AT_ONCE: u32 = 1000;

/// The most changes in one answer of the feed.
pub(crate) const CHANGES_AT_ONCE: u32 = 1000;

/// The fewest characters that a token may have: 128 bits, even in hex.
pub(crate) const SHORTEST_TOKEN: usize = 32;
