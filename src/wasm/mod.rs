//! The proxy-wasm adapter: Envoy's callbacks ([`exports`]) and calls to Envoy ([`calls`]). It makes
//! no decisions.

mod abi;
mod calls;
mod capabilities;
mod exports;
#[cfg(feature = "failpoints")]
mod failpoints;
mod metrics;
mod root;
