//! Modules that make Keystile's host calls, in its order, and do nothing else. Their cost is the
//! floor: no change to the filter can go below it.
//!
//! They export what Keystile's module exports, because Envoy calls each callback that is exported.

use std::fmt::Write;

use anyhow::{Context, Result};

use crate::variants::Variant;

/// A module for the proxy-wasm ABI 0.2.1. Everything that the host returns is written to the same
/// place.
const FRAME: &str = r#"(module
  (import "env" "proxy_get_header_map_pairs" (func $pairs (param i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_value" (func $value (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_remove_header_map_value" (func $remove (param i32 i32 i32) (result i32)))
  (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_property" (func $set (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_property" (func $get (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_buffer_bytes" (func $buffer (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_http_call" (func $call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_effective_context" (func $act_for (param i32) (result i32)))
  (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
  (import "env" "proxy_send_local_response" (func $reply (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_current_time_nanoseconds" (func $wall (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $monotonic (param i32 i64 i32) (result i32)))
  (memory (export "memory") 4)
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "_initialize"))
  (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 0x20000))
  (func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 1))
  (func (export "proxy_on_context_create") (param i32 i32))
  (func (export "proxy_on_delete") (param i32))
  (func (export "proxy_on_tick") (param i32))
  (func (export "proxy_on_request_trailers") (param i32 i32) (result i32) (i32.const 0))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
REQUEST)
  (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32)
ANSWER)
DATA)
"#;

/// Stores the context of a callout by the callout's token.
const KEEP: &str = "(i32.store (i32.add (i32.const 0x10000) (i32.shl (i32.and (i32.load \
                    (i32.const 8)) (i32.const 0xfff)) (i32.const 2))) (local.get 0))\n";
const KEPT: &str = "(i32.load (i32.add (i32.const 0x10000) (i32.shl (i32.and (local.get 1) \
                    (i32.const 0xfff)) (i32.const 2))))";

/// Where the host writes the address and the length of what it returns.
const GIVEN: &str = "(i32.const 0) (i32.const 4)";

const LOG_ENTRY: &str = "outcome=allowed source=cache key_id=key_01J9ZQ4M7T5V8W2X3Y6Z0A1B2C";
const KEY_ID: (&str, &str) = ("x-keystile-key-id", "key_01J9ZQ4M7T5V8W2X3Y6Z0A1B2C");
const ACCOUNT_ID: (&str, &str) = ("x-keystile-account-id", "acct_01J9ZQ4M7T5V8W2X3Y6Z0A1B2");
const BODY: &str = r#"{"success":false,"error":"api_key_not_found","message":"The provided API key was not found. Verify the key in your Asterwise dashboard.","details":[],"retry_after":null,"doc_url":"https://docs.asterwise.com/reference/errors/api_key_not_found","request_id":"req_01HXYZABCDEFGHJKMNPQRSTVWX","timestamp":"2026-05-25T12:34:56Z"}"#;

/// The return value of `proxy_on_request_headers` that lets the request continue.
const CONTINUE: &str = "(i32.const 0)";
/// `StopAllIterationAndWatermark`: the request is paused, or has had its local reply.
const STOP: &str = "(i32.const 4)";

/// Returns the module of a floor.
///
/// # Errors
/// If the variant is not a floor.
pub(crate) fn module(variant: Variant) -> Result<Vec<u8>> {
    let mut data = Data::default();
    let (request, answer) = match variant {
        Variant::CachedFloor => {
            let request = [
                data.headers(0),
                data.monotonic(),
                data.remove(),
                data.allow(),
                CONTINUE.to_owned(),
            ];
            (request.concat(), String::new())
        }
        Variant::RefusedFloor => {
            let request = [
                data.headers(0),
                data.monotonic(),
                data.wall(),
                data.remove(),
                data.log(),
                data.reply(),
                STOP.to_owned(),
            ];
            (request.concat(), String::new())
        }
        Variant::LookupFloor => {
            let request = [
                data.headers(0),
                data.monotonic(),
                data.remove(),
                data.call(),
                KEEP.to_owned(),
                STOP.to_owned(),
            ];
            // The response is delivered to the root context, whose ID is the first argument.
            let answer = [
                data.monotonic(),
                data.headers(6),
                call(
                    "buffer",
                    &["(i32.const 4) (i32.const 0) (local.get 3)", GIVEN],
                ),
                call("act_for", &[KEPT]),
                call("get", &[&data.text("response\0code"), GIVEN]),
                // The path is needed because the records list the endpoints that their keys may use.
                call("value", &["(i32.const 0)", &data.text(":path"), GIVEN]),
                data.allow(),
                call("continue", &["(i32.const 0)"]),
                call("act_for", &["(local.get 0)"]),
            ];
            (request.concat(), answer.concat())
        }
        other => anyhow::bail!("{} is not a floor", other.name()),
    };
    let text = FRAME
        .replace("REQUEST", &request)
        .replace("ANSWER", &answer)
        .replace("DATA", &data.written);
    wat::parse_str(text).context("the module of a floor")
}

fn call(function: &str, arguments: &[&str]) -> String {
    format!("(drop (call ${function} {}))\n", arguments.join(" "))
}

/// The strings in the module's memory.
struct Data {
    written: String,
    end: usize,
}

impl Default for Data {
    fn default() -> Self {
        Self {
            written: String::new(),
            end: 0x400,
        }
    }
}

impl Data {
    /// Adds a string, and returns its address and length as two arguments.
    fn text(&mut self, text: &str) -> String {
        let at = self.end;
        let escaped: String = text.bytes().map(|byte| format!("\\{byte:02x}")).collect();
        // Writing to a string does not fail.
        let _ = writeln!(self.written, "(data (i32.const {at}) \"{escaped}\")");
        self.end += text.len();
        format!("(i32.const {at}) (i32.const {})", text.len())
    }

    /// Adds a header map as proxy-wasm serializes it, and returns its address and length.
    fn map(&mut self, headers: &[(&str, &str)]) -> String {
        let number = |length: usize| u32::try_from(length).unwrap_or(0).to_le_bytes();
        let mut map = number(headers.len()).to_vec();
        for (name, value) in headers {
            map.extend(number(name.len()));
            map.extend(number(value.len()));
        }
        for (name, value) in headers {
            map.extend(format!("{name}\0{value}\0").bytes());
        }
        // All of it is ASCII: the strings are, and none is longer than 127 bytes.
        self.text(&String::from_utf8_lossy(&map))
    }

    fn headers(&mut self, map: u32) -> String {
        call("pairs", &[&format!("(i32.const {map})"), GIVEN])
    }

    fn monotonic(&mut self) -> String {
        call("monotonic", &["(i32.const 1) (i64.const 1) (i32.const 24)"])
    }

    fn wall(&mut self) -> String {
        call("wall", &["(i32.const 16)"])
    }

    fn remove(&mut self) -> String {
        call("remove", &["(i32.const 0)", &self.text("authorization")])
    }

    /// Returns the calls that turn a request into an allowed one.
    fn allow(&mut self) -> String {
        [self.add(KEY_ID), self.add(ACCOUNT_ID), self.log()].concat()
    }

    fn add(&mut self, (name, value): (&str, &str)) -> String {
        call(
            "add",
            &["(i32.const 0)", &self.text(name), &self.text(value)],
        )
    }

    fn log(&mut self) -> String {
        call("set", &[&self.text("keystile"), &self.text(LOG_ENTRY)])
    }

    fn call(&mut self) -> String {
        let path = format!("/v1/key-hashes/{}", "ab".repeat(32));
        let headers = self.map(&[
            (":method", "GET"),
            (":path", &path),
            (":authority", "auth"),
            ("accept", "application/json"),
            ("x-request-id", "0b8d5e6a-5d9c-4b4c-9b4c-0b8d5e6a5d9c"),
        ]);
        let arguments = [
            &self.text("auth"),
            &headers,
            "(i32.const 0) (i32.const 0)",
            &self.map(&[]),
            "(i32.const 10000) (i32.const 8)",
        ];
        call("call", &arguments)
    }

    fn reply(&mut self) -> String {
        let headers = self.map(&[
            ("cache-control", "no-store"),
            (
                "www-authenticate",
                "Bearer realm=\"api\", error=\"invalid_token\"",
            ),
            ("x-request-id", "req_01HXYZABCDEFGHJKMNPQRSTVWX"),
            ("content-type", "application/json"),
        ]);
        let arguments = [
            "(i32.const 401) (i32.const 0) (i32.const 0)",
            &self.text(BODY),
            &headers,
            "(i32.const -1)",
        ];
        call("reply", &arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks both against the lists that the module is built with.
    #[test]
    fn a_floor_has_the_modules_exports_and_calls_nothing_else() {
        for variant in Variant::ALL
            .into_iter()
            .filter(|variant| variant.is_floor())
        {
            let module = module(variant).unwrap();
            keystile_module::check(&module).unwrap();
            for call in keystile_module::imported(&module).unwrap() {
                let listed = keystile_module::HOST_CALLS.contains(&&*call);
                assert!(listed, "{}: {call}", variant.name());
            }
        }
    }
}
