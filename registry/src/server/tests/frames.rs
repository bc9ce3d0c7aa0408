//! HTTP/2 frames (RFC 9113) of clients that break no rule but are slow or silent.

/// Returns the first bytes of a connection. `window` is how many bytes the server may send on each
/// stream.
pub(super) fn preface(window: u32) -> Vec<u8> {
    let initial_window_size = [&[0, 4], &window.to_be_bytes()[..]].concat();
    let settings = frame(4, 0, 0, &initial_window_size);
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &settings[..]].concat()
}

/// Returns a `GET` request for a short path.
pub(super) fn get(stream: u32, path: &str) -> Vec<u8> {
    let length = u8::try_from(path.len()).expect("a short path");
    assert!(length < 127, "a length of one byte");
    // `:method: GET` and `:scheme: http` from the static table, `:path` and `:authority` with values.
    let path = [&[0x82, 0x86, 0x04, length], path.as_bytes()].concat();
    let headers = [&path[..], &[0x01, 4], b"test"].concat();
    let end_of_headers_and_stream = 0x05;
    frame(1, end_of_headers_and_stream, stream, &headers)
}

/// Returns the same request with a body that never ends.
pub(super) fn open(stream: u32, path: &str) -> Vec<u8> {
    let mut frame = get(stream, path);
    frame[4] = 0x04;
    frame
}

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .expect("a short frame")
        .to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head[..], payload].concat()
}

/// Returns the kinds of the frames that a server sent.
pub(super) fn kinds(mut bytes: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while let [a, b, c, kind, ..] = *bytes {
        kinds.push(kind);
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        bytes = bytes.get(9 + length..).unwrap_or_default();
    }
    kinds
}

pub(super) const RST_STREAM: u8 = 3;

pub(super) const GOAWAY: u8 = 7;
