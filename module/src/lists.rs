//! The lists of exports and host calls.

/// What Envoy needs besides callbacks, as exported by the SDK and wasi-libc.
pub const KEPT: [&str; 4] = [
    "memory",
    "_initialize",
    "proxy_abi_version_0_2_1",
    "proxy_on_memory_allocate",
];

/// The filter's callbacks. Envoy calls every callback that a module exports, for each request, so
/// each of these has a purpose. `proxy_on_delete` reports the end of a request; without
/// `proxy_on_done` and `proxy_on_log`, nothing is deferred until then.
pub const CALLBACKS: [&str; 7] = [
    "proxy_on_context_create",
    "proxy_on_configure",
    "proxy_on_tick",
    "proxy_on_request_headers",
    "proxy_on_request_trailers",
    "proxy_on_http_call_response",
    "proxy_on_delete",
];

/// The host calls that the filter makes.
pub const HOST_CALLS: [&str; 19] = [
    "proxy_log",
    "proxy_get_current_time_nanoseconds",
    "proxy_set_tick_period_milliseconds",
    "proxy_get_buffer_bytes",
    "proxy_get_header_map_pairs",
    "proxy_get_header_map_value",
    "proxy_add_header_map_value",
    "proxy_remove_header_map_value",
    "proxy_get_property",
    "proxy_set_property",
    "proxy_continue_stream",
    "proxy_send_local_response",
    "proxy_http_call",
    "proxy_set_effective_context",
    "proxy_define_metric",
    "proxy_increment_metric",
    "proxy_record_metric",
    "clock_time_get",
    "random_get",
];

/// What std calls when the filter panics, unless std was built with `immediate-abort`. Operators need
/// not allow these calls: a VM that panics ends either way.
pub const PANIC_CALLS: [&str; 4] = ["environ_get", "environ_sizes_get", "fd_write", "proc_exit"];

/// The calls that only the SDK's own callbacks make, through its traits. These callbacks are not
/// exported, but their addresses stay in the module's table, and so the functions stay too.
pub const SDK_CALLS: [&str; 14] = [
    "proxy_call_foreign_function",
    "proxy_dequeue_shared_queue",
    "proxy_done",
    "proxy_enqueue_shared_queue",
    "proxy_get_shared_data",
    "proxy_get_status",
    "proxy_grpc_call",
    "proxy_grpc_cancel",
    "proxy_grpc_close",
    "proxy_grpc_send",
    "proxy_grpc_stream",
    "proxy_register_shared_queue",
    "proxy_resolve_shared_queue",
    "proxy_set_shared_data",
];

/// Returns everything that the module exports.
pub fn exports() -> impl Iterator<Item = &'static str> {
    KEPT.into_iter().chain(CALLBACKS)
}
