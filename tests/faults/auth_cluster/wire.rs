//! Answers, given in bytes, that break off, come too late or are not HTTP.

use std::time::Duration;

use keystile_e2e::http2::PREFACE;
use keystile_e2e::keys::GOOD;
use keystile_e2e::scripted_auth::{Script, Step, answer, answer_with, keep_alive_answer};

use super::expect::Expect::{self, Internal, Refused};
use super::records::{allowed, gzipped};
use super::rows::{Row, TIMEOUT, Table};

pub(crate) fn tables() -> Vec<Table> {
    let whole = |rows: Vec<(&str, Vec<u8>, Expect)>| {
        let rows = rows.into_iter();
        rows.map(|(name, bytes, expect)| Row::new(name, Script::Answer(bytes), expect))
            .collect()
    };
    let late = late()
        .into_iter()
        .map(|(name, steps)| Row::new(name, Script::Steps(steps), Internal));
    vec![
        Table::new("odd HTTP", whole(framing())),
        Table::new("1xx", whole(informational())),
        Table::new("broken off", broken_off()),
        Table {
            times_out: true,
            ..Table::new("too late", late.collect())
        },
    ]
}

/// Returns an answer with these header lines before its length.
fn headed(lines: &str) -> Vec<u8> {
    let length = GOOD.len();
    format!("HTTP/1.1 200 OK\r\nconnection: close\r\n{lines}content-length: {length}\r\n\r\n{GOOD}")
        .into_bytes()
}

fn chunked(chunks: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n{chunks}")
        .into_bytes()
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

fn framing() -> Vec<(&'static str, Vec<u8>, Expect)> {
    let many: String = (0..1000).map(|n| format!("x-{n}: y\r\n")).collect();
    let long = format!("x-long: {}\r\n", "y".repeat(100 * 1024));
    let some: String = (0..50).map(|n| format!("x-{n}: y\r\n")).collect();
    let halves = GOOD.split_at(GOOD.len() / 2);
    let in_halves = chunk(halves.0) + &chunk(halves.1);
    let spaces = chunk(&" ".repeat(16 * 1024)).repeat(640);
    let record = chunk(GOOD);
    vec![
        ("1000 headers", headed(&many), Internal),
        ("a header of 100 KB", headed(&long), Internal),
        ("50 headers", headed(&some), allowed()),
        ("no HTTP", b"220 smtp ready\r\n".to_vec(), Internal),
        (
            "bytes of TLS",
            b"\x15\x03\x03\x00\x02\x02\x46".to_vec(),
            Internal,
        ),
        ("the preface of HTTP/2", PREFACE.to_vec(), Internal),
        ("a body without a head", GOOD.as_bytes().to_vec(), Internal),
        (
            "a head without a version",
            format!("200 OK\r\n\r\n{GOOD}").into_bytes(),
            Internal,
        ),
        (
            "a request",
            b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(),
            Internal,
        ),
        ("a header without a colon", headed("x\r\n"), Internal),
        ("a header without a name", headed(": x\r\n"), Internal),
        ("a NUL in a header", headed("x: \0\r\n"), Internal),
        ("two lengths", headed("content-length: 1\r\n"), Internal),
        (
            "a length that is none",
            headed("content-length: x\r\n"),
            Internal,
        ),
        (
            "a negative length",
            headed("content-length: -1\r\n"),
            Internal,
        ),
        (
            "a length and chunks",
            headed("transfer-encoding: chunked\r\n"),
            Internal,
        ),
        (
            "an unknown transfer-encoding",
            headed("transfer-encoding: x\r\n"),
            Internal,
        ),
        (
            "content-length longer than the body",
            keep_alive_answer("200 OK", &[], &[GOOD.as_bytes(), b"x"].concat())
                .strip_suffix(b"x")
                .unwrap_or_default()
                .to_vec(),
            Internal,
        ),
        (
            "content-length shorter than the body",
            format!("HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n{GOOD}").into_bytes(),
            Internal,
        ),
        (
            "content-encoding: gzip",
            keep_alive_answer(
                "200 OK",
                &["connection: close", "content-encoding: gzip"],
                &gzipped(),
            ),
            Internal,
        ),
        (
            "chunks",
            chunked(&format!("{in_halves}0\r\n\r\n")),
            allowed(),
        ),
        ("chunks that do not end", chunked(&in_halves), Internal),
        (
            "a chunk that does not end",
            chunked(&format!("fff\r\n{GOOD}")),
            Internal,
        ),
        (
            "a chunk without a size",
            chunked(&format!("x\r\n{GOOD}\r\n0\r\n\r\n")),
            Internal,
        ),
        (
            "10 MB of spaces in chunks after a record",
            chunked(&format!("{record}{spaces}0\r\n\r\n")),
            Internal,
        ),
        (
            "10 MB of spaces in chunks, without an end",
            chunked(&format!("{record}{spaces}")),
            Internal,
        ),
        (
            "trailers with another status",
            chunked(&format!(
                "{record}0\r\nstatus: 404\r\nx-keystile: 1\r\n\r\n"
            )),
            allowed(),
        ),
        (
            "two answers, not found first",
            [
                keep_alive_answer("404 Not Found", &[], b""),
                answer("200 OK", GOOD),
            ]
            .concat(),
            Refused("api_key_not_found"),
        ),
    ]
}

fn informational() -> Vec<(&'static str, Vec<u8>, Expect)> {
    let before = |first: &str| {
        let first = format!("HTTP/1.1 {first}\r\n\r\n");
        [first.as_bytes(), &answer("200 OK", GOOD)].concat()
    };
    let not_found = [
        &b"HTTP/1.1 103 Early Hints\r\n\r\n"[..],
        &answer("404 Not Found", GOOD),
    ];
    vec![
        ("100 before the answer", before("100 Continue"), allowed()),
        (
            "103 before the answer",
            before("103 Early Hints\r\nlink: </x>"),
            allowed(),
        ),
        (
            "103 before 404",
            not_found.concat(),
            Refused("api_key_not_found"),
        ),
        (
            "100 alone",
            b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(),
            Internal,
        ),
        (
            "101 alone",
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n".to_vec(),
            Internal,
        ),
        (
            "103 alone",
            b"HTTP/1.1 103 Early Hints\r\n\r\n".to_vec(),
            Internal,
        ),
        (
            "101 with a body",
            answer_with("101 Switching Protocols", &["upgrade: x"], GOOD),
            Internal,
        ),
    ]
}

fn broken_off() -> Vec<Row> {
    let cut_off = format!("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{GOOD}").into_bytes();
    let reset = |bytes: &[u8]| Script::AnswerAndReset(bytes.to_vec());
    [
        ("closed without a byte", Script::Answer(Vec::new())),
        ("reset before headers", reset(b"")),
        (
            "reset inside headers",
            reset(b"HTTP/1.1 200 OK\r\ncontent-le"),
        ),
        (
            "closed inside headers",
            Script::Answer(b"HTTP/1.1 200 OK\r\n".to_vec()),
        ),
        (
            "closed inside the status",
            Script::Answer(b"HTTP/1.1 20".to_vec()),
        ),
        ("reset inside the body", reset(&cut_off)),
        ("closed inside the body", Script::Answer(cut_off)),
    ]
    .map(|(name, script)| Row::new(name, script, Internal))
    .into()
}

fn late() -> Vec<(&'static str, Vec<Step>)> {
    let good = answer("200 OK", GOOD);
    // One byte at a time, for longer than the timeout.
    let drop_by_drop = good.iter().flat_map(|byte| {
        let pause = Duration::from_millis(50);
        [Step::Write(vec![*byte]), Step::Wait(pause)]
    });
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n";
    let record = format!("HTTP/1.1 200 OK\r\n\r\n{GOOD}").into_bytes();
    let soon_after = TIMEOUT + Duration::from_millis(200);
    vec![
        ("never answering", vec![Step::Hang]),
        (
            "slow past the timeout",
            vec![Step::Wait(soon_after), Step::Write(good.clone())],
        ),
        ("slow loris", drop_by_drop.collect()),
        (
            "headers and no body",
            vec![Step::Write(head.to_vec()), Step::Hang],
        ),
        (
            "a whole body without an end",
            vec![Step::Write(record), Step::Hang],
        ),
        (
            "100 and no answer",
            vec![
                Step::Write(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()),
                Step::Hang,
            ],
        ),
    ]
}
