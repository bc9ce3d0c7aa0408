//! API-key authentication for Envoy and Istio, as a proxy-wasm filter.
//!
//! # Decision table
//!
//! The first row that applies wins.
//!
//! | # | the request | outcome |
//! |---|---|---|
//! | 0 | every request, whatever follows | the client's own identity headers, and those of `strip_headers`, are removed |
//! | 1 | matches an exemption: a path and method, or a genuine CORS preflight | forwarded without authentication |
//! | 2 | carries no credential | `api_key_missing` |
//! | 3 | carries more than one | `api_key_invalid` |
//! | 4 | carries one that is not shaped like a key | `api_key_invalid`, without a lookup |
//! | 5 | no record of the key's hash, or one of another environment | `api_key_not_found` |
//! | 6 | a revoked record | `api_key_revoked` |
//! | 7 | an active record that has ended | `api_key_revoked`, in other words |
//! | 8 | an active record, but the path is outside its endpoints | `endpoint_restricted` |
//! | 9 | an active record | forwarded: credential removed, identity headers set; at the path of the introspection (rows 5 to 7, by a lookup of its own): answered with the record |
//! | 10 | no verdict, for whatever reason | `internal_error` |
//!
//! # How it is built
//!
//! [`config`] reads the plugin configuration (by `json`), [`request`] what the client sent. [`decision`]
//! takes a request through the table; [`engine`] finds its verdict, in the cache or by a lookup, and
//! forgets it when the feed says that its key has changed. [`auth`] has what the auth cluster is
//! asked and what it answers. All of that is plain Rust without I/O: time is passed in, and an
//! [`engine::host::Host`] carries out what the engine decides. Only `wasm`, which is one, knows of
//! proxy-wasm. Each uses only those below it: `wasm`, [`config`], [`engine`], [`decision`], [`auth`],
//! [`request`].
//!
//! # Deployment
//!
//! - Set `failure_policy` to `FAIL_CLOSED` or `FAIL_RELOAD`; `FAIL_OPEN` turns a fault into an
//!   open door.
//! - Paths are compared as Envoy routes them: turn `normalize_path` and `merge_slashes` on.
//! - Envoy's own logger `http` prints request headers at level `debug`, before any filter runs.

pub mod auth;
pub mod clock;
pub mod config;
pub mod decision;
pub mod engine;
mod json;
pub mod request;
pub mod throttle;
mod wasm;
