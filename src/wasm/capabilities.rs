//! Which host calls the operator has disabled with Envoy's `capability_restriction_config`.
//!
//! Envoy answers a disabled call with an internal failure, on which the SDK panics. In a callback,
//! that would end the VM, and a request that it held would hang. So each call is tried when the
//! filter is loaded, and the configuration is refused if one is disabled. The host rejects the
//! arguments of these trials before it does anything: they are memory that the module does not have,
//! or the ID of nothing. Loading itself calls `proxy_get_buffer_bytes`, `proxy_define_metric` and
//! `proxy_set_tick_period_milliseconds`, which need no such trial.
//!
//! Callbacks can be disabled too, but a module cannot find that out.

use std::ptr::{without_provenance, without_provenance_mut};

use proxy_wasm::types::MapType;

use super::abi;

/// Envoy's answer to a disabled call of the proxy-wasm ABI: `InternalFailure`.
const RESTRICTED: u32 = 10;
/// The same for WASI: `notcapable`.
const NOT_CAPABLE: u32 = 76;
/// The end of the address space, where no module has memory.
const NOWHERE: usize = usize::MAX;
/// The ID of no context, metric or stream.
const NOTHING: u32 = u32::MAX;

/// Returns true if the filter may make all the calls that it makes to handle requests and answers.
/// Envoy's log names those that it may not make.
#[allow(
    unsafe_code,
    reason = "host calls of the proxy-wasm ABI 0.2.1 and WASI preview 1; the SDK panics on what is \
              looked for here"
)]
pub(super) fn are_all_allowed() -> bool {
    #[link(wasm_import_module = "env")]
    unsafe extern "C" {
        fn proxy_log(level: u32, text: usize, size: usize) -> u32;
        fn proxy_get_header_map_value(
            map: u32,
            name: usize,
            name_size: usize,
            data: usize,
            size: usize,
        ) -> u32;
        fn proxy_add_header_map_value(
            map: u32,
            name: usize,
            name_size: usize,
            value: usize,
            value_size: usize,
        ) -> u32;
        fn proxy_get_property(path: usize, path_size: usize, data: usize, size: usize) -> u32;
        fn proxy_get_current_time_nanoseconds(time: usize) -> u32;
        fn proxy_continue_stream(stream: u32) -> u32;
        fn proxy_send_local_response(
            status: u32,
            details: usize,
            details_size: usize,
            body: usize,
            body_size: usize,
            headers: usize,
            headers_size: usize,
            grpc_status: i32,
        ) -> u32;
        fn proxy_set_effective_context(context: u32) -> u32;
        fn proxy_increment_metric(id: u32, change: i64) -> u32;
        fn proxy_record_metric(id: u32, value: u64) -> u32;
    }
    #[link(wasm_import_module = "wasi_snapshot_preview1")]
    unsafe extern "C" {
        fn random_get(bytes: usize, size: usize) -> u32;
    }

    let nowhere = without_provenance(NOWHERE);
    // SAFETY: the host takes addresses as numbers, and checks them against the module's memory.
    let answers = unsafe {
        [
            proxy_log(0, NOWHERE, 1),
            abi::proxy_get_header_map_pairs(
                MapType::HttpRequestHeaders,
                without_provenance_mut(NOWHERE),
                without_provenance_mut(NOWHERE),
            ),
            proxy_get_header_map_value(0, NOWHERE, 1, NOWHERE, NOWHERE),
            proxy_add_header_map_value(0, NOWHERE, 1, NOWHERE, 1),
            abi::proxy_remove_header_map_value(MapType::HttpRequestHeaders, nowhere, 1),
            proxy_get_property(NOWHERE, 1, NOWHERE, NOWHERE),
            abi::proxy_set_property(nowhere, 1, nowhere, 1),
            proxy_get_current_time_nanoseconds(NOWHERE),
            proxy_continue_stream(NOTHING),
            proxy_send_local_response(503, NOWHERE, 1, NOWHERE, 1, NOWHERE, 1, -1),
            abi::proxy_http_call(
                nowhere,
                1,
                nowhere,
                1,
                nowhere,
                1,
                nowhere,
                1,
                1,
                without_provenance_mut(NOWHERE),
            ),
            proxy_set_effective_context(NOTHING),
            proxy_increment_metric(NOTHING, 1),
            proxy_record_metric(NOTHING, 1),
            // ABI and WASI number errors differently, but neither returns the other's number for such
            // arguments.
            abi::clock_time_get(0, 1, without_provenance_mut(NOWHERE)),
            random_get(NOWHERE, 1),
        ]
    };
    !answers
        .iter()
        .any(|answer| [RESTRICTED, NOT_CAPABLE].contains(answer))
}
