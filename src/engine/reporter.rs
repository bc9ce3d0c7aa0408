//! What is told of a request's outcome: to statistics, access log, the proxy's log and, where it is
//! answered here, its client.

#![forbid(unsafe_code)]

use std::time::Duration;

use crate::auth::answer::{Cause, Source};
use crate::auth::record::Record;
use crate::clock::ms;
use crate::decision::Refusal;
use crate::decision::log_entry::write_log_entry;
use crate::decision::outcome::Outcome;
use crate::decision::reply::{self, Replies, ReplyFormat, RequestId};
use crate::engine::host::{Host, Level};
use crate::engine::stats::{Counter, Gauge, Stats};
use crate::throttle::Throttle;

/// How many numbers or durations go to or come from the host at once: one call costs more than they
/// do.
const AT_ONCE: usize = 64;

/// Reports the outcomes of one worker's requests.
#[derive(Debug)]
pub(crate) struct Reporter {
    replies: Replies,
    /// The cluster of the lookups, for the log.
    cluster: String,
    stats: Stats,
    /// How long lookups took, in ms; not yet reported to the host.
    observed: Vec<u64>,
    warnings: Throttle,
    /// For request IDs, drawn before they are needed.
    random: Vec<u128>,
    /// Where entries for the access log are written, one after the other.
    entry: String,
}

impl Reporter {
    /// Has nothing to report yet. `cluster` is that of the lookups, if there are any.
    pub(crate) fn new(replies: Replies, cluster: &str) -> Self {
        Self {
            replies,
            cluster: cluster.to_owned(),
            stats: Stats::default(),
            observed: Vec::new(),
            warnings: Throttle::default(),
            random: Vec::new(),
            entry: String::new(),
        }
    }

    /// Reports the outcome of a request that is not answered here.
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

    /// Answers a request with a refusal.
    #[inline(never)]
    pub(crate) fn refuse<H: Host>(
        &mut self,
        host: &mut H,
        stream: H::Stream,
        format: ReplyFormat,
        source: Option<Source>,
        refusal: &Refusal,
    ) {
        let wall = host.wall_time();
        let id = self.request_id(host, wall);
        if let Some(cause) = &refusal.cause {
            self.warn(host, id, cause, wall);
        }
        let outcome = Outcome::Refused(refusal.denial);
        let record = refusal.record.as_deref();
        self.record(host, stream, outcome, source, record, Some(id));
        let reply = self.replies.render(refusal.denial, format, id, wall);
        host.reply(stream, &reply);
    }

    /// Counts an event.
    pub(crate) fn count(&mut self, counter: Counter) {
        self.stats.add(counter, 1);
    }

    /// Counts so many events.
    pub(crate) fn add(&mut self, counter: Counter, events: u64) {
        self.stats.add(counter, events);
    }

    /// Remembers how long a lookup took.
    pub(crate) fn observe_lookup<H: Host>(&mut self, host: &mut H, took: Duration) {
        self.observed.push(ms(took));
        if self.observed.len() >= AT_ONCE {
            self.report_durations(host);
        }
    }

    /// Tells the host what was counted since the last time, and how its gauges change now that
    /// `gauges` has their values on this worker.
    pub(crate) fn flush<H: Host>(&mut self, host: &mut H, gauges: impl Fn(Gauge) -> usize) {
        for (gauge, change) in self.stats.take_changes(gauges) {
            host.change(gauge, change);
        }
        self.report_durations(host);
        for (counter, events) in self.stats.take_counts() {
            host.count(counter, events);
        }
    }

    fn report_durations<H: Host>(&mut self, host: &mut H) {
        for took in self.observed.drain(..) {
            host.observe_lookup(took);
        }
    }

    /// Counts an outcome, and leaves it to the access log.
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

    /// A name for a request that is answered here. Without randomness, the names of one
    /// millisecond are the same.
    fn request_id<H: Host>(&mut self, host: &mut H, wall: Duration) -> RequestId {
        if self.random.is_empty() {
            let mut bytes = [0; AT_ONCE * size_of::<u128>()];
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
             ({suppressed} more since the last such line)"
        );
        host.log(Level::Warn, &line);
    }
}
