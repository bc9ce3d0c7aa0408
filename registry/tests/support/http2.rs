//! HTTP/2 frames (RFC 9113), for everything that no library would send.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "not every crate that this file is part of needs all of it"
)]

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// What a client sends before its first frame.
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types.
pub mod kind {
    #![allow(missing_docs, reason = "RFC 9113 has them")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// The flag of a stream's last frame.
pub const END_STREAM: u8 = 1;

/// The flag of a header block's last frame.
pub const END_HEADERS: u8 = 4;

/// The flag of a SETTINGS or PING frame that acknowledges another.
pub const ACK: u8 = 1;

/// The initial window of a connection and of its streams.
pub const WINDOW: u32 = 65_535;

/// Returns a frame. Its length field has the lower 24 bits of the payload's length.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let [_, a, b, c] = length.to_be_bytes();
    let head = [&[a, b, c, kind, flags][..], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

/// Returns the first bytes of a connection. The server may send `window` bytes on each stream.
pub fn preface(window: u32) -> Vec<u8> {
    let initial_window_size = [&[0, 4], &window.to_be_bytes()[..]].concat();
    let settings = frame(kind::SETTINGS, 0, 0, &initial_window_size);
    [PREFACE, &settings[..]].concat()
}

/// Returns a `GET` without a body.
pub fn get(stream: u32, path: &str) -> Vec<u8> {
    request(stream, END_STREAM, path, &[])
}

/// Returns the headers of a `GET`, in one frame with these flags. Without [`END_STREAM`], it has a
/// body that does not end.
pub fn request(stream: u32, flags: u8, path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let pseudo = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "test"),
        (":path", path),
    ];
    let block = block(pseudo.iter().chain(headers));
    frame(kind::HEADERS, flags | END_HEADERS, stream, &block)
}

/// Returns a header block (RFC 7541) of these fields: literal, not indexed, not compressed.
pub fn block<'a>(fields: impl IntoIterator<Item = &'a (&'a str, &'a str)>) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            add_length(&mut block, text.len());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// Appends a string's length, in seven bits or more.
fn add_length(block: &mut Vec<u8>, length: usize) {
    let Some(mut rest) = length.checked_sub(127) else {
        block.push(length as u8);
        return;
    };
    block.push(127);
    while rest >= 128 {
        block.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    block.push(rest as u8);
}

/// A frame that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// One of [`kind`], or a type that RFC 9113 does not have.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 is the connection.
    pub stream: u32,
    /// What follows its head.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Reads the next frame.
    ///
    /// # Errors
    /// When the connection fails, or ends before the frame does.
    pub async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let mut head = [0; 9];
        from.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let length = u32::from_be_bytes([0, a, b, c]);
        let mut payload = vec![0; length.try_into().map_err(io::Error::other)?];
        from.read_exact(&mut payload).await?;
        Ok(Self {
            kind,
            flags,
            stream: u32::from_be_bytes(stream),
            payload,
        })
    }

    /// Returns the acknowledgement that this frame asks for, if it does.
    pub fn acknowledgement(&self) -> Option<Vec<u8>> {
        let payload = match self.kind {
            kind::SETTINGS => &[],
            kind::PING => &self.payload[..],
            _ => return None,
        };
        (self.flags & ACK == 0).then(|| frame(self.kind, ACK, 0, payload))
    }
}

/// Returns the types of the complete frames in these bytes.
pub async fn kinds(mut bytes: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while let Ok(frame) = Frame::read(&mut bytes).await {
        kinds.push(frame.kind);
    }
    kinds
}
