//! The format of a reply, which follows from the protocol of its request.

#![forbid(unsafe_code)]

use crate::request::headers::Request;

/// The format of a reply. A `HEAD` request gets the HTTP format, whose body Envoy leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyFormat {
    /// Status, headers and a JSON body.
    Http,
    /// gRPC: all in the headers.
    Grpc,
    /// gRPC-Web: a trailers frame as the body.
    GrpcWeb {
        /// Whether the body is in base64.
        is_text: bool,
        /// The codec of the response.
        codec: Codec,
    },
    /// A unary call of Connect: status, headers and Connect's JSON body.
    ConnectUnary,
    /// A streaming call of Connect: the message that ends a stream as the body.
    ConnectStream(Codec),
}

/// How the messages of a call are encoded. A refusal contains none, but clients compare the content
/// type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Protocol Buffers, and all that are unknown here.
    Proto,
    /// JSON.
    Json,
}

impl Codec {
    fn of(name: &[u8]) -> Self {
        match after(name, "json") {
            Some(_) => Self::Json,
            None => Self::Proto,
        }
    }
}

impl ReplyFormat {
    /// Returns the format of the reply to this request.
    pub fn of(request: &Request) -> Self {
        if request.is_grpc() {
            return Self::Grpc;
        }
        let Some(content_type) = first(request, "content-type") else {
            return if is_connect_get(request) {
                Self::ConnectUnary
            } else {
                Self::Http
            };
        };
        match Self::of_media_type(content_type) {
            Some(Self::GrpcWeb { is_text, codec }) => Self::GrpcWeb {
                is_text: accepts_text(request).unwrap_or(is_text),
                codec,
            },
            Some(other) => other,
            None if is_connect_unary(request, content_type) => Self::ConnectUnary,
            None => Self::Http,
        }
    }

    /// Returns the format that a media type alone tells. Case and parameters do not matter.
    fn of_media_type(value: &[u8]) -> Option<Self> {
        let value = value.trim_ascii_start();
        if let Some(codec) = after(value, "application/connect+") {
            return Some(Self::ConnectStream(Codec::of(codec)));
        }
        let rest = after(value, "application/grpc-web")?;
        let text = after(rest, "-text");
        let codec = match text.unwrap_or(rest).split_first() {
            None => Codec::Proto,
            Some((b'+', codec)) => Codec::of(codec),
            Some((byte, _)) if *byte == b';' || byte.is_ascii_whitespace() => Codec::Proto,
            Some(_) => return None,
        };
        Some(Self::GrpcWeb {
            is_text: text.is_some(),
            codec,
        })
    }

    /// Returns the reply's content type, unless Envoy sets it.
    pub(super) fn content_type(self) -> Option<&'static str> {
        use Codec::{Json, Proto};

        Some(match self {
            Self::Http | Self::ConnectUnary => "application/json",
            Self::Grpc => return None,
            Self::GrpcWeb { is_text, codec } => match (is_text, codec) {
                (false, Proto) => "application/grpc-web+proto",
                (false, Json) => "application/grpc-web+json",
                (true, Proto) => "application/grpc-web-text+proto",
                (true, Json) => "application/grpc-web-text+json",
            },
            Self::ConnectStream(Proto) => "application/connect+proto",
            Self::ConnectStream(Json) => "application/connect+json",
        })
    }
}

/// Returns whether a client of gRPC-Web asks for text, or `None` if it does not say so.
fn accepts_text(request: &Request) -> Option<bool> {
    let accepted = first(request, "accept")?.split(|byte| *byte == b',');
    let mut formats = accepted.filter_map(ReplyFormat::of_media_type);
    formats.find_map(|format| match format {
        ReplyFormat::GrpcWeb { is_text, .. } => Some(is_text),
        _ => None,
    })
}

/// Returns whether this is a unary call of Connect. Its content type may name any codec, so a header
/// tells it from other requests.
fn is_connect_unary(request: &Request, content_type: &[u8]) -> bool {
    after(content_type, "application/").is_some()
        && first(request, "connect-protocol-version").is_some()
}

/// Returns whether this is a unary call of Connect by `GET`, which has everything in its query.
fn is_connect_get(request: &Request) -> bool {
    const PARAMETERS: [&str; 3] = ["connect=v1", "encoding=", "message="];

    let target = first(request, ":path").unwrap_or_default();
    let mut has = [false; PARAMETERS.len()];
    for part in target.split(|byte| matches!(byte, b'?' | b'&')) {
        for (has, parameter) in has.iter_mut().zip(PARAMETERS) {
            *has |= after(part, parameter).is_some();
        }
    }
    has == [true; PARAMETERS.len()] && first(request, ":method") == Some(b"GET")
}

/// Returns the first value of a header. This is one copy of a loop that would be inlined everywhere:
/// refusals may take a little longer, but the module should be small.
#[inline(never)]
fn first<'a>(request: &'a Request, name: &str) -> Option<&'a [u8]> {
    request.first(name)
}

/// Returns the rest of a value that starts with this, in any case.
#[inline(never)]
fn after<'a>(value: &'a [u8], start: &str) -> Option<&'a [u8]> {
    let (found, rest) = value.split_at_checked(start.len())?;
    found.eq_ignore_ascii_case(start.as_bytes()).then_some(rest)
}

#[cfg(test)]
mod tests;
