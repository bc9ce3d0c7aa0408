//! API-key authentication for Envoy and Istio, as a proxy-wasm filter.
//!
//! # Decision table
//!
//! The first row that applies wins.
//!
//! | # | the request | outcome |
//! |---|---|---|
//! | 0 | every request, whatever follows | the client's own identity headers and those of `strip_headers` are removed |
//! | 1 | matches an exemption, or is a genuine CORS preflight | forwarded without authentication |
//! | 2 | carries no credential | `api_key_missing` |
//! | 3 | carries more than one: a repeated header, a comma, or two sources that differ | `api_key_invalid` |
//! | 4 | carries one that is not shaped like a key, or whose tag is wrong | `api_key_invalid`, without a lookup |
//! | 5 | no record of the key's hash, or one of another environment | `api_key_not_found` |
//! | 6 | the key is revoked | `api_key_revoked` |
//! | 7 | the key has expired | `api_key_revoked`, with another message |
//! | 8 | the path is outside the key's endpoints | `endpoint_restricted` |
//! | 9 | the key is active | forwarded: credential removed, identity headers set; at `introspection.path`, answered with the record |
//! | 10 | there is no verdict, for whatever reason | `internal_error` |
//!
//! # How it is built
//!
//! Each module uses only those below it:
//!
//! | module | |
//! |---|---|
//! | `wasm` | the adapter for proxy-wasm: Envoy's callbacks, and all calls to Envoy |
//! | [`config`] | reads the plugin's configuration |
//! | [`engine`] | one worker: finds the verdict on a request's key, in the cache or by a lookup, and forgets it when the feed says that the key has changed |
//! | [`decision`] | takes a request through the table, and writes replies |
//! | [`auth`] | what the auth cluster is asked, and what it answers |
//! | [`request`] | what the client sent: headers, path, credential, key hash |
//!
//! Everything but `wasm` is plain Rust without I/O: time is passed in, and an [`engine::host::Host`]
//! carries out what the engine decides.
//!
//! # Deployment
//!
//! `docs/envoy.md` says which of Envoy's settings matter. Without them, the filter can be bypassed: with
//! `FAIL_OPEN`, a fault lets requests through, and without `normalize_path`, the upstream may see another
//! path than the one that was checked.

pub mod auth;
pub mod clock;
pub mod config;
pub mod decision;
pub mod engine;
mod json;
pub mod request;
pub mod throttle;
mod wasm;
