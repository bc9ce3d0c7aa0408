//! Reports the outcomes of requests: to the statistics, the access log, the proxy's log and, if a
//! request is answered here, its client.

#![forbid(unsafe_code)]

use std::time::Duration;

use crate::auth::answer::Source;
use crate::auth::cause::Cause;
use crate::auth::record::Record;
use crate::clock::ms;
use crate::decision::Refusal;
use crate::decision::log_entry::write_log_entry;
use crate::decision::outcome::Outcome;
use crate::decision::reply::{self, Replies, ReplyFormat, RequestId};
use crate::engine::host::{Host, Level};
use crate::engine::stats::Counter;
use crate::engine::stats::unreported::Unreported;
use crate::throttle::Throttle;

/// How many durations are reported, or random numbers drawn, at once: a call to the host costs more
/// than they do.
const BATCH: usize = 64;

/// Reports the outcomes of one worker's requests.
#[derive(Debug)]
pub(crate) struct Reporter {
    replies: Replies,
    /// The cluster of the lookups, for the log.
    cluster: String,
    unreported: Unreported,
    /// The durations of lookups, in ms; not yet reported to the host.
    observed: Vec<u64>,
    warnings: Throttle,
    /// Random numbers for request IDs, drawn in advance.
    random: Vec<u128>,
    /// A buffer for entries of the access log, reused for each.
    entry: String,
}

impl Reporter {
    /// Starts with nothing to report. `cluster` is that of the lookups, or empty if there are none.
    pub(crate) fn new(replies: Replies, cluster: &str) -> Self {
        Self {
            replies,
            cluster: cluster.to_owned(),
            unreported: Unreported::default(),
            observed: Vec::new(),
            warnings: Throttle::default(),
            random: Vec::new(),
            entry: String::new(),
        }
    }

    /// Reports the outcome of a request that is forwarded.
    pub(crate) fn forwarded<H: Host>(
        &mut self,
        host: &mut H,
        stream: H::Stream,
        outcome: Outcome,
        source: Option<Source>,
        record: Option<&Record>,
    ) {
        self.record(host, stream, outcome, source, record, None);
    }

    /// Answers a request with the record of its key.
    pub(crate) fn describe<H: Host>(
        &mut self,
        host: &mut H,
        stream: H::Stream,
        source: Option<Source>,
        record: &Record,
    ) {
        let wall = host.wall_time();
        let id = self.request_id(host, wall);
        let outcome = Outcome::Introspected;
        self.record(host, stream, outcome, source, Some(record), Some(id));
        host.reply(stream, &reply::describe(record, id));
    }

    /// Answers a request with a refusal. `retry_after` is how long the auth cluster asks to wait, if
    /// it does.
    #[inline(never)]
    pub(crate) fn refuse<H: Host>(
        &mut self,
        host: &mut H,
        stream: H::Stream,
        format: ReplyFormat,
        source: Option<Source>,
        refusal: &Refusal,
        retry_after: Option<Duration>,
    ) {
        let wall = host.wall_time();
        let id = self.request_id(host, wall);
        if let Some(cause) = &refusal.cause {
            self.warn(host, id, cause, wall);
        }
        let outcome = Outcome::Refused(refusal.denial);
        let record = refusal.record.as_deref();
        self.record(host, stream, outcome, source, record, Some(id));
        let reply = self
            .replies
            .render(refusal.denial, format, id, wall, retry_after);
        host.reply(stream, &reply);
    }

    /// Counts an event.
    pub(crate) fn count(&mut self, counter: Counter) {
        self.unreported.add(counter, 1);
    }

    /// Adds `events` to a counter.
    pub(crate) fn add(&mut self, counter: Counter, events: u64) {
        self.unreported.add(counter, events);
    }

    /// Records the duration of a lookup.
    pub(crate) fn observe_lookup<H: Host>(&mut self, host: &mut H, took: Duration) {
        self.observed.push(ms(took));
        if self.observed.len() >= BATCH {
            self.report_durations(host);
        }
    }

    /// Reports the counts since the last flush.
    pub(crate) fn flush<H: Host>(&mut self, host: &mut H) {
        self.report_durations(host);
        for (counter, events) in self.unreported.take_counts() {
            host.count(counter, events);
        }
    }

    fn report_durations<H: Host>(&mut self, host: &mut H) {
        for took in self.observed.drain(..) {
            host.observe_lookup(took);
        }
    }

    /// Counts an outcome, and passes it to the access log.
    fn record<H: Host>(
        &mut self,
        host: &mut H,
        stream: H::Stream,
        outcome: Outcome,
        source: Option<Source>,
        record: Option<&Record>,
        reply: Option<RequestId>,
    ) {
        self.count(Counter::Requests(outcome));
        if let Some(source) = source {
            self.count(Counter::of_source(source));
        }
        self.entry.clear();
        write_log_entry(&mut self.entry, outcome, source, record, reply);
        host.log_entry(stream, &self.entry);
    }

    /// Returns an ID for a request that is answered here. Without randomness, all IDs of one
    /// millisecond are the same.
    fn request_id<H: Host>(&mut self, host: &mut H, wall: Duration) -> RequestId {
        if self.random.is_empty() {
            let mut bytes = [0; BATCH * size_of::<u128>()];
            if !host.random(&mut bytes) {
                bytes.fill(0);
            }
            let (numbers, _) = bytes.as_chunks();
            self.random
                .extend(numbers.iter().copied().map(u128::from_le_bytes));
        }
        RequestId::new(wall, self.random.pop().unwrap_or_default())
    }

    #[cold]
    fn warn<H: Host>(&mut self, host: &mut H, id: RequestId, cause: &Cause, wall: Duration) {
        let Some(suppressed) = self.warnings.permit(wall) else {
            return;
        };
        let cluster = &self.cluster;
        let line = format!(
            "keystile: {id} refused with 503, cluster {cluster:?}: {cause} \
             ({suppressed} similar lines suppressed)"
        );
        host.log(Level::Warn, &line);
    }
}
