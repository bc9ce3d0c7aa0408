//! Removes old changes from the feed, now and then. Any number of servers may do so at once.

use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::span::Span;
use crate::store::Store;
use crate::timestamp::Timestamp;

/// Prunes until it is dropped. A failure is logged, and tried again the next time.
pub(crate) async fn prune(store: Store, keep: Span) {
    let mut ticks = interval(pause(keep));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let before = OffsetDateTime::now_utc() - Duration::from(keep);
        let Some(before) = Timestamp::new(before) else {
            warn!("the system's clock is past the year 9999 or before the year 0");
            continue;
        };
        match store.prune(before).await {
            Ok(0) => {}
            Ok(count) => info!(count, "old changes are removed from the feed"),
            Err(cause) => warn!(%cause, "old changes could not be removed from the feed"),
        }
    }
}

/// Often enough that the feed is never much longer than it should be.
fn pause(keep: Span) -> Duration {
    (Duration::from(keep) / 20).clamp(Duration::from_secs(1), Duration::from_secs(10 * 60))
}
