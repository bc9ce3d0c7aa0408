//! Calls to the proxy-wasm host, except those of [`metrics`](super::metrics), and nothing that works
//! without it.
//!
//! Only the `_bytes` variants of the SDK are used: the others panic on a header that is not UTF-8,
//! and a panic ends the VM for every request on its worker. The errors that the SDK returns are told
//! apart only if that makes a difference; on all others, the SDK itself panics.

use std::time::{Duration, UNIX_EPOCH};

use proxy_wasm::hostcalls;
use proxy_wasm::types::{BufferType, LogLevel, MapType};

use super::abi::{self, BAD_ARGUMENT, OK};
use super::metrics::Metrics;
use crate::auth::cause::Unsent;
use crate::clock::ms;
use crate::decision::reply::LocalReply;
use crate::engine::host::{Host, Level, Part, Token};
use crate::engine::stats::Counter;
use crate::request::header_map::to_map;
use crate::request::headers::Request;

/// The proxy, as seen from within one of its callbacks.
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// The context that calls apply to.
    effective: u32,
    metrics: Metrics,
}

impl Calls {
    /// Notes that a callback of this context has begun, which makes it effective.
    pub(super) fn enter(&mut self, context: u32) {
        self.effective = context;
    }

    /// Defines all statistics.
    pub(super) fn define_metrics(&mut self) {
        self.metrics = Metrics::define();
    }

    /// Makes calls apply to a stream; returns `false` if it is gone.
    fn set_effective(&mut self, stream: u32) -> bool {
        if self.effective == stream {
            return true;
        }
        if hostcalls::set_effective_context(stream).is_err() {
            return false;
        }
        self.effective = stream;
        true
    }
}

impl Host for Calls {
    type Stream = u32;

    fn headers(&mut self, stream: u32) -> Request {
        self.set_effective(stream);
        headers_of(MapType::HttpRequestHeaders)
    }

    fn trailers(&mut self, stream: u32) -> Request {
        self.set_effective(stream);
        headers_of(MapType::HttpRequestTrailers)
    }

    fn target(&mut self, stream: u32) -> Vec<u8> {
        self.set_effective(stream);
        hostcalls::get_map_value_bytes(MapType::HttpRequestHeaders, ":path")
            .ok()
            .flatten()
            .unwrap_or_default()
    }

    #[allow(unsafe_code, reason = "a host call, made as the SDK makes it")]
    fn remove(&mut self, stream: u32, part: Part, name: &[u8]) {
        self.set_effective(stream);
        let map = match part {
            Part::Headers => MapType::HttpRequestHeaders,
            Part::Trailers => MapType::HttpRequestTrailers,
        };
        // SAFETY: the name is valid for the call.
        unsafe {
            abi::proxy_remove_header_map_value(map, name.as_ptr(), name.len());
        }
    }

    fn add_header(&mut self, stream: u32, name: &str, value: &str) {
        self.set_effective(stream);
        let _ = hostcalls::add_map_value(MapType::HttpRequestHeaders, name, value);
    }

    /// Envoy's own "100 Continue" is not an answer.
    fn is_over(&mut self, stream: u32) -> bool {
        if !self.set_effective(stream) {
            return true;
        }
        let status = hostcalls::get_property(vec!["response", "code"]);
        status
            .ok()
            .flatten()
            .and_then(|bytes| bytes.try_into().ok())
            .is_some_and(|bytes| i64::from_le_bytes(bytes) >= 200)
    }

    fn resume(&mut self, stream: u32) {
        if self.set_effective(stream) {
            let _ = hostcalls::resume_http_request();
        }
    }

    fn reply(&mut self, stream: u32, reply: &LocalReply<'_>) {
        if !self.set_effective(stream) {
            return;
        }
        let headers = reply.headers.iter();
        let headers = headers.map(|(name, value)| (*name, &**value)).collect();
        let body = Some(&*reply.body);
        let _ = hostcalls::send_http_response(u32::from(reply.status), headers, body);
    }

    #[allow(unsafe_code, reason = "a host call, made as the SDK makes it")]
    fn log_entry(&mut self, stream: u32, entry: &str) {
        const PATH: &str = "keystile";

        self.set_effective(stream);
        // SAFETY: both strings are valid for the call, which copies them.
        unsafe {
            abi::proxy_set_property(PATH.as_ptr(), PATH.len(), entry.as_ptr(), entry.len());
        }
    }

    #[allow(unsafe_code, reason = "a host call, made as the SDK makes it")]
    fn dispatch(
        &mut self,
        cluster: &str,
        headers: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<Token, Unsent> {
        let headers = to_map(headers);
        let trailers = to_map::<&str>(&[]);
        let timeout = u32::try_from(ms(timeout)).unwrap_or(u32::MAX);
        let mut token = 0;
        // SAFETY: all pointers are valid for the call, with their sizes; the body is empty.
        let status = unsafe {
            abi::proxy_http_call(
                cluster.as_ptr(),
                cluster.len(),
                headers.as_ptr(),
                headers.len(),
                std::ptr::null(),
                0,
                trailers.as_ptr(),
                trailers.len(),
                timeout,
                &mut token,
            )
        };
        match status {
            OK => Ok(Token(token.into())),
            BAD_ARGUMENT => Err(Unsent::NoCluster),
            _ => Err(Unsent::NotAccepted),
        }
    }

    fn tick_every(&mut self, period: Duration) {
        let _ = hostcalls::set_tick_period(period);
    }

    fn wall_time(&mut self) -> Duration {
        hostcalls::get_current_time()
            .ok()
            .and_then(|now| now.duration_since(UNIX_EPOCH).ok())
            .unwrap_or(Duration::MAX)
    }

    fn random(&mut self, bytes: &mut [u8]) -> bool {
        getrandom::fill(bytes).is_ok()
    }

    fn log(&mut self, level: Level, line: &str) {
        let level = match level {
            Level::Info => LogLevel::Info,
            Level::Warn => LogLevel::Warn,
        };
        let _ = hostcalls::log(level, line);
    }

    fn count(&mut self, counter: Counter, events: u64) {
        self.metrics.add(counter, events);
    }

    fn observe_lookup(&mut self, ms: u64) {
        if let Some(id) = self.metrics.lookup_duration {
            let _ = hostcalls::record_metric(id, ms);
        }
    }
}

/// Returns the time of a monotonic clock that starts some time before the first callback. Without a
/// clock, returns the largest value, at which no verdict is fresh and no request waits any longer.
#[allow(
    unsafe_code,
    reason = "a host call, made as the standard library makes it"
)]
pub(super) fn monotonic_time() -> Duration {
    const MONOTONIC: u32 = 1;

    let mut nanoseconds = 0;
    // SAFETY: the pointer is valid for the call.
    match unsafe { abi::clock_time_get(MONOTONIC, 1, &mut nanoseconds) } {
        OK => Duration::from_nanos(nanoseconds),
        _ => Duration::MAX,
    }
}

/// Returns the plugin's configuration as the operator wrote it.
pub(super) fn plugin_configuration() -> Vec<u8> {
    buffer(BufferType::PluginConfiguration, usize::MAX)
}

/// Returns the headers of the answer to a callout, in its callback.
pub(super) fn answer_headers(number: usize) -> Request {
    // Without headers there is no map to read: the callout was reset, or its answer was too large.
    match number {
        0 => Request::default(),
        _ => headers_of(MapType::HttpCallResponseHeaders),
    }
}

/// Returns the body of the answer to a callout, in its callback.
pub(super) fn answer_body(size: usize) -> Vec<u8> {
    buffer(BufferType::HttpCallResponseBody, size)
}

fn buffer(buffer: BufferType, size: usize) -> Vec<u8> {
    let bytes = hostcalls::get_buffer(buffer, 0, size);
    bytes.ok().flatten().unwrap_or_default()
}

/// Writes an error to Envoy's log.
pub(super) fn error(line: &str) {
    let _ = hostcalls::log(LogLevel::Error, &format!("keystile: {line}"));
}

/// Returns the headers or trailers of the effective context's request, or of an answer.
#[allow(unsafe_code, reason = "a host call, made as the SDK makes it")]
fn headers_of(map: MapType) -> Request {
    let (mut data, mut size) = (std::ptr::null_mut(), 0);
    // SAFETY: both pointers are valid for the call. With `OK` and a pointer, the host returns `size`
    // bytes in memory from `proxy_on_memory_allocate`, which is a `Vec<u8>` of that size.
    let map = unsafe {
        match abi::proxy_get_header_map_pairs(map, &mut data, &mut size) {
            OK if !data.is_null() => Vec::from_raw_parts(data, size, size),
            _ => Vec::new(),
        }
    };
    Request::from_map(map)
}
