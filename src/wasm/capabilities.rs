//! Which of the host's calls the operator has taken away, by Envoy's
//! `capability_restriction_config`.
//!
//! Envoy answers such a call with an internal failure, on which the SDK panics. In a callback that
//! would be the end of the VM, and a request that it held would hang. So each call is tried when
//! the filter is loaded, which refuses the configuration, with arguments that the host turns down
//! before it does anything: memory that the module does not have, or a number of nothing. Loading
//! itself calls `proxy_get_buffer_bytes`, `proxy_define_metric` and
//! `proxy_set_tick_period_milliseconds`, which need no such trial.
//!
//! Callbacks can be taken away too. Those are beyond what a module can find out.

use std::ptr::{without_provenance, without_provenance_mut};

use proxy_wasm::types::MapType;

use super::calls::raw;

/// What Envoy answers to a call of the proxy-wasm ABI that is not allowed: `InternalFailure`.
const RESTRICTED: u32 = 10;
/// The same of WASI: `notcapable`.
const NOT_CAPABLE: u32 = 76;
/// The end of the address space, which no module has memory at.
const NOWHERE: usize = usize::MAX;
/// No context, no metric and no stream has it.
const NOTHING: u32 = u32::MAX;

/// Whether the filter may make each call that it would make in a callback of a request or an
/// answer. Envoy's log names those that it may not.
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
        fn proxy_remove_header_map_value(map: u32, name: usize, name_size: usize) -> u32;
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
    // SAFETY: addresses are numbers to the host, which checks them against the module's memory.
    let answers = unsafe {
        [
            proxy_log(0, NOWHERE, 1),
            raw::proxy_get_header_map_pairs(
                MapType::HttpRequestHeaders,
                without_provenance_mut(NOWHERE),
                without_provenance_mut(NOWHERE),
            ),
            proxy_get_header_map_value(0, NOWHERE, 1, NOWHERE, NOWHERE),
            proxy_add_header_map_value(0, NOWHERE, 1, NOWHERE, 1),
            proxy_remove_header_map_value(0, NOWHERE, 1),
            proxy_get_property(NOWHERE, 1, NOWHERE, NOWHERE),
            raw::proxy_set_property(nowhere, 1, nowhere, 1),
            proxy_get_current_time_nanoseconds(NOWHERE),
            proxy_continue_stream(NOTHING),
            proxy_send_local_response(503, NOWHERE, 1, NOWHERE, 1, NOWHERE, 1, -1),
            raw::proxy_http_call(
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
            // The two lists of errors differ, but what stands for the other's meaning in one cannot
            // be the answer to such arguments.
            raw::clock_time_get(0, 1, without_provenance_mut(NOWHERE)),
            random_get(NOWHERE, 1),
        ]
    };
    !answers
        .iter()
        .any(|answer| [RESTRICTED, NOT_CAPABLE].contains(answer))
}
