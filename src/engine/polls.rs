//! Polls of the change feed.

#![forbid(unsafe_code)]

use std::time::Duration;

use crate::auth::feed::Polled;
use crate::auth::feed::page::{Changed, Page};
use crate::engine::Engine;
use crate::engine::host::{Host, Level};
use crate::engine::stats::Counter;

impl<H: Host> Engine<H> {
    /// Polls the feed, if there is one and it is time.
    pub(super) fn poll_feed(&mut self, host: &mut H, now: Duration) {
        let Some(callout) = self.verdicts.poll(now) else {
            return;
        };
        let Some(feed) = &self.settings.feed else {
            return;
        };
        let headers = self.settings.lookup.headers(&callout);
        match host.dispatch(&feed.cluster, &headers, callout.timeout) {
            Ok(token) => self.poll = Some(token),
            Err(reason) => {
                // If the host forgot an earlier poll, its answer does not come any more.
                self.poll = None;
                self.polled(host, Err(format!("the poll was not sent: {reason}")), now);
            }
        }
    }

    /// Handles the result of a poll.
    pub(super) fn polled(&mut self, host: &mut H, page: Result<Page, String>, now: Duration) {
        let mut random = [0; 8];
        host.random(&mut random);
        let random = u64::from_le_bytes(random);
        let Some(polled) = self.verdicts.polled(page, now, random) else {
            return;
        };
        match &polled.changes {
            Ok(Changed::Any) => self.inflight.outdate_all(),
            Ok(Changed::Keys(hashes)) => {
                hashes.iter().for_each(|hash| self.inflight.outdate(hash));
            }
            Err(_) => {}
        }
        self.reporter.count(Counter::of_poll(&polled.changes));
        self.log_poll(host, polled);
        self.tick_in_time(host, now);
    }

    /// Logs the result of a poll if it differs from the one before.
    #[cold]
    fn log_poll(&self, host: &mut H, polled: Polled) {
        let Polled {
            changes,
            changed,
            resets,
        } = polled;
        let (level, what) = match changes {
            Err(problem) if changed => (Level::Warn, problem),
            Ok(Changed::Any) if resets == 1 => (Level::Info, "reset: all verdicts are looked up again".to_owned()),
            Ok(Changed::Any) if resets == 2 => (
                Level::Warn,
                "each answer is a reset, so no verdict stays cached; does feed.path pass the cursor \
                 in the way the auth cluster expects?"
                    .to_owned(),
            ),
            Ok(_) if changed => (Level::Info, "polls are answered again".to_owned()),
            _ => return,
        };
        let cluster = self.settings.feed.as_ref().map(|feed| &*feed.cluster);
        let cluster = cluster.unwrap_or_default();
        let line = format!("keystile: change feed of cluster {cluster}: {what}");
        host.log(level, &line);
    }
}
