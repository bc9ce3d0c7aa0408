//! Refusals in gRPC, gRPC-Web and Connect.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt::Write;

use base64ct::{Base64, Encoding};

use super::json;
use crate::decision::denial::Denial;

/// The header, trailer or metadata with the error code.
pub(super) const ERROR: &str = "x-keystile-error";

/// A refusal of a remote procedure call.
#[derive(Clone, Copy, Debug)]
pub(super) struct RpcError<'a> {
    pub(super) denial: Denial,
    pub(super) message: &'a str,
}

impl<'a> RpcError<'a> {
    /// Returns the headers or trailers of gRPC.
    pub(super) fn grpc_fields(self) -> [(&'static str, Cow<'a, str>); 3] {
        [
            ("grpc-status", self.denial.grpc_status().into()),
            ("grpc-message", percent_encoded(self.message).into()),
            (ERROR, self.denial.code().into()),
        ]
    }

    /// Returns the body of a gRPC-Web reply. It repeats nothing in headers, because some clients
    /// would report the error twice.
    pub(super) fn trailers_frame(self, is_text: bool) -> Vec<u8> {
        const TRAILERS: u8 = 0x80;

        let mut trailers = String::new();
        for (name, value) in &self.grpc_fields() {
            // Without a space, as Envoy writes it.
            for part in [name, ":", value, "\r\n"] {
                trailers.push_str(part);
            }
        }
        let frame = frame(TRAILERS, trailers.as_bytes());
        if is_text {
            Base64::encode_string(&frame).into_bytes()
        } else {
            frame
        }
    }

    /// Returns the body of Connect's reply to a unary call ("Error and EndStreamResponse" in its
    /// specification). Codes need no escapes.
    pub(super) fn connect_error(self) -> Vec<u8> {
        let error = [
            br#"{"code":""#,
            self.denial.connect_code().as_bytes(),
            br#"","message":"#,
            &json(&self.message),
            b"}",
        ];
        error.concat()
    }

    /// Returns the body of Connect's reply to a streaming call.
    pub(super) fn connect_end(self) -> Vec<u8> {
        const END_STREAM: u8 = 0x02;

        let end = [
            br#"{"error":"#,
            &*self.connect_error(),
            br#","metadata":{"x-keystile-error":[""#,
            self.denial.code().as_bytes(),
            br#""]}}"#,
        ];
        frame(END_STREAM, &end.concat())
    }
}

/// Returns a message with the prefix that both gRPC-Web and Connect put before it.
fn frame(flags: u8, message: &[u8]) -> Vec<u8> {
    // Messages to clients have less than 200 characters.
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[flags][..], &length.to_be_bytes(), message].concat()
}

/// Encodes a message as gRPC does in `grpc-message`.
fn percent_encoded(message: &str) -> String {
    let mut encoded = String::new();
    for byte in message.bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
