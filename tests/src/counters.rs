//! The counters of a case: how its requests ended, and how many leaked to the upstream.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::client::DEADLINE;
use crate::load::Outcomes;
use crate::recording_upstream::Counts;
use crate::traffic::Seen;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// With a complete response of this status.
    Answered(u16),
    /// Without a response: the connection or the stream was reset or closed.
    Reset,
    /// The client did not wait for the response.
    Left,
    /// Not at all before the deadline.
    Hung,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered(status) => write!(f, "{status}"),
            Self::Reset => f.write_str("reset"),
            Self::Left => f.write_str("left"),
            Self::Hung => f.write_str("unanswered"),
        }
    }
}

/// Counts requests by kind and end. Clones share their counts.
#[derive(Clone, Default)]
pub struct Counters(Arc<Mutex<Ends>>);

#[derive(Default)]
struct Ends {
    counts: BTreeMap<(String, End), u64>,
    /// The error of the first request of each kind that was reset.
    reasons: BTreeMap<String, String>,
}

impl Counters {
    /// Counts one request of a kind.
    pub fn count(&self, kind: &str, end: End) {
        self.count_many(kind, end, 1);
    }

    /// Counts a number of requests of a kind.
    pub fn count_many(&self, kind: &str, end: End, requests: u64) {
        let mut ends = self.ends_so_far();
        *ends.counts.entry((kind.to_owned(), end)).or_default() += requests;
    }

    fn ends_so_far(&self) -> MutexGuard<'_, Ends> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the outcomes of a load of a kind. Failed requests count as unanswered, because nothing
    /// resets them.
    pub fn loaded(&self, kind: &str, outcomes: &Outcomes) {
        for (status, requests) in &outcomes.by_status {
            self.count_many(kind, End::Answered(*status), *requests as u64);
        }
        if outcomes.failed > 0 {
            self.count_many(kind, End::Hung, outcomes.failed as u64);
        }
    }

    /// Counts the results of steady traffic of a kind.
    pub fn seen(&self, kind: &str, all: &[Seen]) {
        for seen in all {
            self.count(
                kind,
                match seen.status {
                    Some(status) => End::Answered(status),
                    None if seen.hung() => End::Hung,
                    None => End::Reset,
                },
            );
        }
    }

    /// Waits for a request's status until the common deadline, and counts how the request ended.
    pub async fn watch<E: fmt::Display>(
        &self,
        kind: &str,
        answer: impl Future<Output = Result<u16, E>>,
    ) -> End {
        self.watch_for(DEADLINE, kind, answer).await
    }

    /// Does the same with the case's own deadline.
    pub async fn watch_for<E: fmt::Display>(
        &self,
        deadline: Duration,
        kind: &str,
        answer: impl Future<Output = Result<u16, E>>,
    ) -> End {
        let end = match tokio::time::timeout(deadline, answer).await {
            Ok(Ok(status)) => End::Answered(status),
            Ok(Err(reason)) => {
                let mut ends = self.ends_so_far();
                let reasons = ends.reasons.entry(kind.to_owned());
                reasons.or_insert_with(|| format!("{reason:#}"));
                End::Reset
            }
            Err(_) => End::Hung,
        };
        self.count(kind, end);
        end
    }

    /// Returns how often the requests of this kind ended in each way.
    pub fn ends(&self, kind: &str) -> BTreeMap<End, u64> {
        let ends = self.ends_so_far();
        let of_kind = ends.counts.iter().filter(|((other, _), _)| other == kind);
        of_kind.map(|((_, end), count)| (*end, *count)).collect()
    }

    /// Returns the case's summary: the counts here and at the upstream.
    pub fn summary(&self, at_upstream: &Counts) -> Summary {
        let ends = self.ends_so_far();
        let sum = |is: fn(End) -> bool| {
            let some = ends.counts.iter().filter(|((_, end), _)| is(*end));
            some.map(|(_, count)| count).sum()
        };
        let mut details = String::new();
        let mut last = "";
        for ((kind, end), count) in &ends.counts {
            let start = match (last == kind, last) {
                (true, _) => ", ".to_owned(),
                (false, "") => format!("{kind}: "),
                (false, _) => format!("; {kind}: "),
            };
            details.push_str(&format!("{start}{count} x {end}"));
            if *end == End::Reset
                && let Some(reason) = ends.reasons.get(kind)
            {
                details.push_str(&format!(" ({reason})"));
            }
            last = kind;
        }
        Summary {
            sent: sum(|_| true),
            answered: sum(|end| matches!(end, End::Answered(_))),
            leaked: at_upstream.leaked,
            hung: sum(|end| end == End::Hung),
            leaks: at_upstream.leaks.clone(),
            details,
        }
    }
}

/// The counters of a case.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Requests sent.
    pub sent: u64,
    /// Requests that got a response of any status.
    pub answered: u64,
    /// Requests that reached the upstream without a valid key.
    pub leaked: u64,
    /// Requests that neither got a response nor ended before the deadline.
    pub hung: u64,
    leaks: Vec<String>,
    details: String,
}

impl Summary {
    /// Checks what holds for every case: something was sent, nothing leaked and nothing hung.
    ///
    /// # Errors
    /// When it does not hold.
    pub fn check(&self) -> Result<()> {
        ensure!(self.sent > 0, "nothing was sent");
        ensure!(
            self.leaked == 0,
            "reached the upstream without a valid key: {:#?}",
            self.leaks
        );
        ensure!(self.hung == 0, "unanswered past the deadline: {self}");
        Ok(())
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "sent {}, answered {}, without a valid key at the upstream {}, unanswered {} ({})",
            self.sent, self.answered, self.leaked, self.hung, self.details
        )
    }
}
