//! An upstream that returns the path it got, and the ways in which various servers would read it.

use std::io;

use anyhow::Result;
use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use keystile_e2e::recording_upstream::RecordingUpstream;
use keystile_e2e::serving::Serving;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// The header that marks the upstream's answers.
pub(super) const FROM_UPSTREAM: &str = "x-test-upstream";

/// Serves requests without bodies over HTTP/1.1, and answers each with its target, whatever that is.
pub(super) async fn serve(recorder: &RecordingUpstream) -> Result<Serving> {
    let recorder = recorder.clone();
    Serving::new(move |stream| {
        let recorder = recorder.clone();
        async move {
            // A proxy may close its connection at any time.
            let _ = converse(stream, &recorder).await;
        }
    })
    .await
}

async fn converse(stream: TcpStream, recorder: &RecordingUpstream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = Vec::new();
            if stream.read_until(b'\n', &mut line).await? == 0 {
                return Ok(());
            }
            let line = line.trim_ascii_end();
            if line.is_empty() {
                break;
            }
            lines.push(line.to_vec());
        }
        let first = lines.first().map_or(&[][..], |line| line);
        // A target may contain spaces.
        let target = first
            .iter()
            .position(|byte| *byte == b' ')
            .and_then(|start| first[start + 1..].strip_suffix(b" HTTP/1.1"));
        let target = target.ok_or(io::ErrorKind::InvalidData)?;
        let headers = lines.iter().skip(1).filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let name = HeaderName::from_bytes(&line[..colon]).ok()?;
            let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
            Some((name, value))
        });
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value);
        }
        recorder.arrived(&target.escape_ascii().to_string(), &map);
        let head = format!(
            "HTTP/1.1 200 OK\r\n{FROM_UPSTREAM}: 1\r\ncontent-length: {}\r\n\r\n",
            target.len()
        );
        stream
            .write_all(&[head.as_bytes(), target].concat())
            .await?;
    }
}

/// A change that a server makes to a path before it serves it.
type Step = fn(&[u8]) -> Vec<u8>;

/// What servers are known to do, besides percent-decoding.
const STEPS: [(&str, Step); 9] = [
    ("takes \\ for /", |path| replaced(path, b'\\', b'/')),
    ("cuts parameters off segments", |path| {
        let segments: Vec<_> = path.split(|b| *b == b'/').map(|s| until(s, b";")).collect();
        segments.join(&b'/')
    }),
    ("ends at ?", |path| until(path, b"?").to_vec()),
    ("ends at #", |path| until(path, b"#").to_vec()),
    ("ends at NUL", |path| until(path, b"\0").to_vec()),
    ("leaves out control characters", |path| {
        let seen = path.iter().filter(|byte| !byte.is_ascii_control());
        seen.copied().collect()
    }),
    ("trims segments", |path| {
        let segments: Vec<_> = path.split(|b| *b == b'/').map(<[u8]>::trim_ascii).collect();
        segments.join(&b'/')
    }),
    ("decodes overlong UTF-8", overlong),
    ("decodes %u", percent_u),
];

/// Returns what various servers would serve for a path, as segments, each with how the server gets
/// there. A server decodes the path some number of times, makes one of the other changes before or
/// after, or all of them after, and then resolves dots.
pub(super) fn readings(target: &[u8]) -> Vec<(String, Vec<Vec<u8>>)> {
    let path = until(target, b"?");
    let mut readings = vec![("as it came".to_owned(), resolved(path))];
    let mut last = path.to_vec();
    for decodes in 0..=3 {
        let mut read = |name: String, path: &[u8]| readings.push((name, resolved(path)));
        for (name, step) in STEPS {
            let stepped = step(&last);
            // Most steps do not change most paths.
            if stepped != last {
                read(format!("decodes {decodes} times, {name}"), &stepped);
            }
            let stepped = step(path);
            if stepped != path {
                let decoded = (0..decodes).fold(stepped, |path, _| decoded(&path));
                read(format!("{name}, decodes {decodes} times"), &decoded);
            }
        }
        let all = STEPS
            .iter()
            .fold(last.clone(), |path, (_, step)| step(&path));
        read(format!("decodes {decodes} times, does all"), &all);
        let next = decoded(&last);
        if next == last {
            break;
        }
        last = next;
        read(format!("decodes {} times", decodes + 1), &last);
    }
    readings
}

/// Returns true if the first segments are those of `prefix`.
pub(super) fn is_below(segments: &[Vec<u8>], prefix: &str) -> bool {
    segments.starts_with(&resolved(prefix.as_bytes()))
}

/// Returns the segments that are left when empty ones and dots are resolved.
fn resolved(path: &[u8]) -> Vec<Vec<u8>> {
    let mut segments = Vec::new();
    for segment in path.split(|byte| *byte == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => {
                segments.pop();
            }
            _ => segments.push(segment.to_vec()),
        }
    }
    segments
}

fn until<'a>(path: &'a [u8], end: &[u8]) -> &'a [u8] {
    let cut = path.iter().position(|byte| end.contains(byte));
    &path[..cut.unwrap_or(path.len())]
}

fn replaced(path: &[u8], from: u8, to: u8) -> Vec<u8> {
    let bytes = path.iter();
    bytes
        .map(|byte| if *byte == from { to } else { *byte })
        .collect()
}

fn hex(digits: &[u8]) -> Option<u32> {
    let is_hex = digits.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(digits).ok().filter(|_| is_hex)?;
    u32::from_str_radix(text, 16).ok()
}

fn decoded(path: &[u8]) -> Vec<u8> {
    let (mut out, mut at) = (Vec::new(), 0);
    while let Some(byte) = path.get(at) {
        let number = path
            .get(at + 1..at + 3)
            .filter(|_| *byte == b'%')
            .and_then(hex);
        match number.and_then(|number| u8::try_from(number).ok()) {
            Some(decoded) => {
                out.push(decoded);
                at += 3;
            }
            None => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    out
}

/// Decodes `%u002e` to a dot, as old Microsoft servers do.
fn percent_u(path: &[u8]) -> Vec<u8> {
    let (mut out, mut at) = (Vec::new(), 0);
    while let Some(byte) = path.get(at) {
        let is_u = path
            .get(at..at + 2)
            .is_some_and(|two| two.eq_ignore_ascii_case(b"%u"));
        let number = path.get(at + 2..at + 6).filter(|_| is_u).and_then(hex);
        match number.and_then(char::from_u32) {
            Some(decoded) => {
                let mut buffer = [0; 4];
                out.extend(decoded.encode_utf8(&mut buffer).as_bytes());
                at += 6;
            }
            None => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    out
}

/// Decodes two bytes where one is enough: C0 AE is a dot, C0 AF a slash.
fn overlong(path: &[u8]) -> Vec<u8> {
    let (mut out, mut at) = (Vec::new(), 0);
    while let Some(byte) = path.get(at) {
        match (byte, path.get(at + 1)) {
            (0xc0 | 0xc1, Some(next)) => {
                out.push((byte & 1) << 6 | next & 0x3f);
                at += 2;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    out
}
