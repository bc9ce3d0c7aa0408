//! What a pause of request headers means to Envoy: that the whole request waits.
//!
//! The SDK knows one pause, which is StopIteration. Envoy takes it for StopAllIterationAndWatermark,
//! but not where the plugin has `allow_on_headers_stop_iteration`: then a body is taken in while its
//! headers wait. It is answered with 413 where it outgrows Envoy's buffer, and what comes of it after
//! the verdict is added to what other filters hold, to be lost or sent twice
//! (<https://github.com/envoyproxy/envoy/issues/46841>). So it is StopAllIterationAndWatermark that
//! Envoy is told, whatever the plugin has.

#![allow(
    unsafe_code,
    reason = "the SDK's callback can be reached by its symbol alone"
)]

/// As the proxy-wasm ABI numbers what `proxy_on_request_headers` returns.
const STOP_ITERATION: u32 = 1;
const STOP_ALL_ITERATION_AND_WATERMARK: u32 = 4;

unsafe extern "C" {
    /// The SDK's.
    fn proxy_on_request_headers(id: u32, number: usize, ends: bool) -> u32;
}

/// Stands for the SDK's callback in the module: `scripts/build-wasm.sh` gives it that name.
#[unsafe(export_name = "pause_on_request_headers")]
extern "C" fn pause_on_request_headers(id: u32, number: usize, ends: bool) -> u32 {
    // SAFETY: the SDK defines it with these types; its `Action` is a `u32`.
    match unsafe { proxy_on_request_headers(id, number, ends) } {
        STOP_ITERATION => STOP_ALL_ITERATION_AND_WATERMARK,
        other => other,
    }
}
