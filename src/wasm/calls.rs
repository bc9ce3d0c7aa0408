//! Each call to the proxy-wasm host, and nothing that could be said without it.
//!
//! Only the `_bytes` variants of the SDK are used: the others panic on a header that is not
//! UTF-8, and a panic ends the VM for every request on its worker. What the SDK gives as an error
//! is told apart where something follows from it; on all else it panics by itself.

use std::time::{Duration, UNIX_EPOCH};

use log::warn;
use proxy_wasm::hostcalls;
use proxy_wasm::types::{BufferType, MapType, MetricType, Status};

use crate::auth::answer::{Answer, Cause, Unsent};
use crate::auth::feed::Page;
use crate::auth::lookup::{self, Callout, Lookup};
use crate::decision::reply::LocalReply;
use crate::engine::stats::{self, Counter, Gauge};
use crate::request::headers::Request;
use crate::request::key_hash::KeyHash;

/// Defined metrics; `None` where the host would not.
#[derive(Default)]
pub(super) struct Metrics {
    /// In the order of [`Counter::ALL`].
    counters: Vec<Option<u32>>,
    gauges: Vec<(Gauge, Option<u32>)>,
    lookup_duration: Option<u32>,
}

/// A statistic that cannot be kept is no reason to treat a request otherwise, so what the host
/// says of it is left alone.
impl Metrics {
    pub(super) fn define() -> Self {
        let define = |kind, name| {
            hostcalls::define_metric(kind, name)
                .inspect_err(|status| warn!("keystile: no statistic {name}: {status:?}"))
                .ok()
        };
        Self {
            counters: Counter::ALL
                .map(|counter| define(MetricType::Counter, counter.name()))
                .to_vec(),
            gauges: Gauge::ALL
                .map(|gauge| (gauge, define(MetricType::Gauge, gauge.name())))
                .to_vec(),
            lookup_duration: define(MetricType::Histogram, stats::LOOKUP_DURATION),
        }
    }

    pub(super) fn add(&self, counter: Counter, events: i64) {
        increment(self.counters.get(counter as usize), events);
    }

    pub(super) fn change(&self, gauge: Gauge, change: i64) {
        let gauge = self.gauges.iter().find(|(other, _)| *other == gauge);
        increment(gauge.map(|(_, metric)| metric), change);
    }

    /// Takes how long lookups took, in ms.
    pub(super) fn observe_lookups(&self, took: impl Iterator<Item = u64>) {
        if let Some(id) = self.lookup_duration {
            for ms in took {
                let _ = hostcalls::record_metric(id, ms);
            }
        }
    }
}

fn increment(metric: Option<&Option<u32>>, change: i64) {
    // By nothing would be an error.
    if let Some(id) = metric.copied().flatten().filter(|_| change != 0) {
        let _ = hostcalls::increment_metric(id, change);
    }
}

/// The plugin's configuration as the operator wrote it.
pub(super) fn plugin_configuration() -> Vec<u8> {
    hostcalls::get_buffer(BufferType::PluginConfiguration, 0, usize::MAX)
        .ok()
        .flatten()
        .unwrap_or_default()
}

/// Makes a callout to a cluster, which belongs to the context of the callback. Gives its token, or
/// the reason why there is none.
pub(super) fn dispatch(cluster: &str, lookup: &Lookup, callout: &Callout) -> Result<u32, Unsent> {
    let headers = lookup.headers(callout);
    let sent = hostcalls::dispatch_http_call(cluster, headers, None, Vec::new(), callout.timeout);
    sent.map_err(|status| match status {
        Status::BadArgument => Unsent::NoCluster,
        _ => Unsent::NotAccepted,
    })
}

/// Reads the answer to the lookup of a hash, in its callback.
pub(super) fn read_answer(hash: &KeyHash, num_headers: usize, body_size: usize) -> Answer {
    let headers = answer_headers(num_headers);
    if lookup::is_overflow(&headers) {
        return Answer::none(Cause::NotSent(Unsent::Overflow));
    }
    let cache_control = headers.values("cache-control");
    let body = || answer_body(body_size);
    Answer::read(headers.first(":status"), cache_control, body_size, body)
        .about(hash, headers.values(lookup::KEY_HASH))
}

/// Reads the answer to a poll of the feed, in its callback.
pub(super) fn read_page(num_headers: usize, body_size: usize) -> Result<Page, String> {
    let headers = answer_headers(num_headers);
    Page::read(headers.first(":status"), body_size, || {
        answer_body(body_size)
    })
}

fn answer_headers(number: usize) -> Request {
    // Without headers there is no map to ask: the call was reset, or its answer too large.
    match number {
        0 => Request::default(),
        _ => headers_of(MapType::HttpCallResponseHeaders),
    }
}

fn answer_body(size: usize) -> Vec<u8> {
    hostcalls::get_buffer(BufferType::HttpCallResponseBody, 0, size)
        .ok()
        .flatten()
        .unwrap_or_default()
}

/// The headers or trailers of the effective context's request, or of an answer. The SDK has a call
/// for this that copies each name and each value by itself.
#[allow(
    unsafe_code,
    reason = "a host call of the proxy-wasm ABI 0.2.1, made as the SDK makes it"
)]
pub(super) fn headers_of(map: MapType) -> Request {
    const OK: u32 = 0;

    #[link(wasm_import_module = "env")]
    unsafe extern "C" {
        fn proxy_get_header_map_pairs(map: MapType, data: *mut *mut u8, size: *mut usize) -> u32;
    }

    let (mut data, mut size) = (std::ptr::null_mut(), 0);
    // SAFETY: both pointers are valid for the call. With `OK` and a pointer, the host hands over
    // `size` bytes in what `proxy_on_memory_allocate` gave it, which is a `Vec<u8>` of that size.
    let map = unsafe {
        match proxy_get_header_map_pairs(map, &mut data, &mut size) {
            OK if !data.is_null() => Vec::from_raw_parts(data, size, size),
            _ => Vec::new(),
        }
    };
    Request::from_map(map)
}

/// The target of the effective context's request, with its query.
pub(super) fn target() -> Vec<u8> {
    hostcalls::get_map_value_bytes(MapType::HttpRequestHeaders, ":path")
        .ok()
        .flatten()
        .unwrap_or_default()
}

/// Whether the effective context's request has its answer already, from whomever. Envoy's own
/// "100 Continue" is none.
pub(super) fn is_answered() -> bool {
    let status = hostcalls::get_property(vec!["response", "code"]);
    status
        .ok()
        .flatten()
        .and_then(|bytes| bytes.try_into().ok())
        .is_some_and(|bytes| i64::from_le_bytes(bytes) >= 200)
}

/// Removes a header or trailer with all its repeats.
pub(super) fn remove(map: MapType, name: &str) {
    let _ = hostcalls::remove_map_value(map, name);
}

/// Adds a header to the effective context's request, before it goes on.
pub(super) fn add_header(name: &str, value: &str) {
    let _ = hostcalls::add_map_value(MapType::HttpRequestHeaders, name, value);
}

/// Sends the effective context's request on. Its header maps are gone after this.
pub(super) fn resume() {
    let _ = hostcalls::resume_http_request();
}

/// Answers the effective context's request. Its header maps are gone after this.
pub(super) fn reply(reply: &LocalReply<'_>) {
    let headers = reply
        .headers
        .iter()
        .map(|(name, value)| (*name, &**value))
        .collect();
    let body = Some(reply.body.as_bytes());
    let _ = hostcalls::send_http_response(u32::from(reply.status), headers, body);
}

/// Leaves a text for the effective context's access log, as `wasm.keystile`.
pub(super) fn leave_log_entry(entry: &str) {
    let _ = hostcalls::set_property(vec!["keystile"], Some(entry.as_bytes()));
}

/// Makes all calls but callouts and ticks be about another context; `false` when it is gone.
pub(super) fn act_for(context_id: u32) -> bool {
    hostcalls::set_effective_context(context_id).is_ok()
}

/// Has the root context called each `period`, in whole ms.
pub(super) fn tick_every(period: Duration) {
    let _ = hostcalls::set_tick_period(period);
}

/// The time since the Unix epoch. Where there is none it is the end of time, when every key that
/// can expire has.
pub(super) fn wall_time() -> Duration {
    hostcalls::get_current_time()
        .ok()
        .and_then(|now| now.duration_since(UNIX_EPOCH).ok())
        .unwrap_or(Duration::MAX)
}

/// `None` where the host has no randomness.
pub(super) fn random<const BYTES: usize>() -> Option<[u8; BYTES]> {
    let mut bytes = [0_u8; BYTES];
    getrandom::fill(&mut bytes).ok()?;
    Some(bytes)
}
