//! Host calls of the proxy-wasm ABI 0.2.1 and WASI preview 1, which the SDK and the standard library
//! make differently: they copy each name and value of a header map separately, take names of headers
//! only in UTF-8, build the path of a property, pass the answers to callouts to the SDK's callbacks,
//! and panic without a clock.

#![allow(unsafe_code, reason = "host calls can only be declared like this")]

use proxy_wasm::types::MapType;

/// The host's answers to a call, as numbered by the ABI.
pub(super) const OK: u32 = 0;
pub(super) const BAD_ARGUMENT: u32 = 2;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    pub(super) fn proxy_get_header_map_pairs(
        map: MapType,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    pub(super) fn proxy_remove_header_map_value(
        map: MapType,
        name: *const u8,
        name_size: usize,
    ) -> u32;
    pub(super) fn proxy_set_property(
        path: *const u8,
        path_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    pub(super) fn proxy_http_call(
        cluster: *const u8,
        cluster_size: usize,
        headers: *const u8,
        headers_size: usize,
        body: *const u8,
        body_size: usize,
        trailers: *const u8,
        trailers_size: usize,
        timeout: u32,
        token: *mut u32,
    ) -> u32;
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    pub(super) fn clock_time_get(clock: u32, precision: u64, nanoseconds: *mut u64) -> u32;
}
