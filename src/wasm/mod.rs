//! The proxy-wasm host: Envoy's callbacks in ([`exports`]), calls to Envoy out ([`calls`]). It decides
//! nothing.

mod calls;
mod capabilities;
mod exports;
#[cfg(feature = "failpoints")]
mod failpoints;
mod root;
