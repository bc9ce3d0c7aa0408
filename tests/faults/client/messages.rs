//! HTTP/1 requests that are odd, or meant to be read differently by another server. Whatever Envoy
//! forwards of them has a verdict. The upstream speaks HTTP/1 too, because only there can a request
//! hide in the body of another.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use keystile_e2e::counters::{Counters, End};
use keystile_e2e::keys::{hash, made_up_key};
use keystile_e2e::recording_upstream::ENTITLED;
use keystile_e2e::scripted_auth::{Script, answer};
use libtest_mimic::Trial;
use serde_json::json;

use super::held::Held;
use super::wire::Wire;
use super::{HTTP1, LISTENER, all_well};
use crate::range::{OnDemand, PATH, Range, Steady, key_id, known_key, unknown_key};

/// What a client sends, and what it gets. In the bytes, `KEY` stands for the header lines of a key
/// without restrictions, and `BAD` for those of an unknown key with an identity that the client made up.
struct Row {
    name: &'static str,
    sent: &'static [u8],
    /// The statuses of the answers, up to the end of the connection.
    answers: &'static [u16],
    /// How many of the requests with the key reach the upstream. No others do.
    arrive: u64,
}

const fn row(name: &'static str, sent: &'static [u8], answers: &'static [u16], arrive: u64) -> Row {
    Row {
        name,
        sent,
        answers,
        arrive,
    }
}

/// A last request without a key, sent after each row so that a connection that stays open ends.
const LAST: &[u8] = b"GET /last HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";

const METHODS: &[Row] = &[
    row(
        "TRACE",
        b"TRACE / HTTP/1.1\r\nhost: test\r\n\r\n",
        &[401, 401],
        0,
    ),
    row(
        "TRACE, key",
        b"TRACE / HTTP/1.1\r\nhost: test\r\nKEY\r\n",
        &[200, 401],
        1,
    ),
    // Envoy's codec knows no other methods.
    row(
        "unknown method",
        b"BREW / HTTP/1.1\r\nhost: test\r\nBAD\r\n",
        &[400],
        0,
    ),
    row(
        "unknown method, key",
        b"BREW / HTTP/1.1\r\nhost: test\r\nKEY\r\n",
        &[400],
        0,
    ),
    // If the target is not a path, Envoy answers before any filter.
    row(
        "OPTIONS *",
        b"OPTIONS * HTTP/1.1\r\nhost: test\r\n\r\n",
        &[404, 401],
        0,
    ),
    row(
        "OPTIONS *, key",
        b"OPTIONS * HTTP/1.1\r\nhost: test\r\nKEY\r\n",
        &[404, 401],
        0,
    ),
    // No requests follow a CONNECT.
    row(
        "CONNECT",
        b"CONNECT test:80 HTTP/1.1\r\nhost: test:80\r\n\r\n",
        &[401],
        0,
    ),
    row(
        "CONNECT, unknown key",
        b"CONNECT test:80 HTTP/1.1\r\nhost: test:80\r\nBAD\r\n",
        &[401],
        0,
    ),
    // No route accepts it.
    row(
        "CONNECT, key",
        b"CONNECT test:80 HTTP/1.1\r\nhost: test:80\r\nKEY\r\n",
        &[404],
        0,
    ),
];

const FORMS: &[Row] = &[
    row(
        "HTTP/1.0",
        b"GET / HTTP/1.0\r\nhost: test\r\nKEY\r\n",
        &[426],
        0,
    ),
    row("HTTP/0.9", b"GET /\r\n", &[426], 0),
    row(
        "HTTP/2.0 in words",
        b"GET / HTTP/2.0\r\nhost: test\r\nKEY\r\n",
        &[426],
        0,
    ),
    row(
        "absolute form",
        b"GET http://test/v1/x HTTP/1.1\r\nhost: other\r\nKEY\r\n",
        &[200, 401],
        1,
    ),
    row(
        "absolute form, unknown key",
        b"GET http://test/v1/x HTTP/1.1\r\nhost: other\r\nBAD\r\n",
        &[401, 401],
        0,
    ),
    row("no host", b"GET / HTTP/1.1\r\nKEY\r\n", &[400], 0),
    // Envoy joins them into one, `test,other`. The decision does not depend on it.
    row(
        "two hosts",
        b"GET / HTTP/1.1\r\nhost: test\r\nhost: other\r\nKEY\r\n",
        &[200, 401],
        1,
    ),
    row(
        "space before a colon",
        b"GET / HTTP/1.1\r\nhost: test\r\nx-keystile-key-id : key_1\r\nKEY\r\n",
        &[400],
        0,
    ),
    row(
        "NUL in a value",
        b"GET / HTTP/1.1\r\nhost: test\r\nx-a: a\0b\r\nKEY\r\n",
        &[400],
        0,
    ),
    // Envoy removes it, and what follows it stays part of the value.
    row(
        "CR in a value",
        b"GET / HTTP/1.1\r\nhost: test\r\nx-a: a\rx-keystile-key-id: key_1\r\nKEY\r\n",
        &[200, 401],
        1,
    ),
    // The same: a folded header becomes one line.
    row(
        "folded header",
        b"GET / HTTP/1.1\r\nhost: test\r\nx-a: a\r\n x-keystile-key-id: key_1\r\nKEY\r\n",
        &[200, 401],
        1,
    ),
    row(
        "lines end in LF alone",
        b"GET / HTTP/1.1\nhost: test\nBAD\n",
        &[401, 401],
        0,
    ),
];

/// Requests with the key that may hide another one in their body: `GET /hidden`, with an identity.
const SMUGGLED: &[Row] = &[
    row("CL.TE", b"POST / HTTP/1.1\r\nhost: test\r\nKEYcontent-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nG", &[400], 0),
    row("TE.CL", b"POST / HTTP/1.1\r\nhost: test\r\nKEYtransfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n2b\r\nGET /hidden HTTP/1.1\r\nhost: test\r\nBAD\r\n0\r\n\r\n", &[400], 0),
    row("TE: xchunked", b"POST / HTTP/1.1\r\nhost: test\r\nKEYtransfer-encoding: xchunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n", &[400], 0),
    row("TE: chunked, identity", b"POST / HTTP/1.1\r\nhost: test\r\nKEYtransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n", &[501], 0),
    row("TE: identity, chunked", b"POST / HTTP/1.1\r\nhost: test\r\nKEYtransfer-encoding: identity, chunked\r\n\r\n0\r\n\r\n", &[501], 0),
    row("TE twice", b"POST / HTTP/1.1\r\nhost: test\r\nKEYtransfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n", &[501], 0),
    row("TE behind a tab", b"POST / HTTP/1.1\r\nhost: test\r\nKEYtransfer-encoding:\tchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", &[200, 401], 1),
    row("TE before a space", b"POST / HTTP/1.1\r\nhost: test\r\nKEYtransfer-encoding : chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n", &[400], 0),
    row("TE with a vertical tab", b"POST / HTTP/1.1\r\nhost: test\r\nKEYtransfer-encoding: \x0bchunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n", &[400], 0),
    row("CL twice", b"POST / HTTP/1.1\r\nhost: test\r\nKEYcontent-length: 5\r\ncontent-length: 0\r\n\r\nhello", &[400], 0),
    row("CL twice the same", b"POST / HTTP/1.1\r\nhost: test\r\nKEYcontent-length: 5\r\ncontent-length: 5\r\n\r\nhello", &[400], 0),
    row("CL: 5, 5", b"POST / HTTP/1.1\r\nhost: test\r\nKEYcontent-length: 5, 5\r\n\r\nhello", &[400], 0),
    row("CL: +5", b"POST / HTTP/1.1\r\nhost: test\r\nKEYcontent-length: +5\r\n\r\nhello", &[400], 0),
    row("CL: -1", b"POST / HTTP/1.1\r\nhost: test\r\nKEYcontent-length: -1\r\n\r\nhello", &[400], 0),
    row("CL: 0x5", b"POST / HTTP/1.1\r\nhost: test\r\nKEYcontent-length: 0x5\r\n\r\nhello", &[400], 0),
    row("a chunk's size over 64 bits", b"POST / HTTP/1.1\r\nhost: test\r\nKEYtransfer-encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n", &[400], 0),
    row("a chunk's size with a sign", b"POST / HTTP/1.1\r\nhost: test\r\nKEYtransfer-encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n", &[400], 0),
    row("a chunk that ends in LF alone", b"POST / HTTP/1.1\r\nhost: test\r\nKEYtransfer-encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", &[400], 0),
    row("a chunk longer than its size", b"POST / HTTP/1.1\r\nhost: test\r\nKEYtransfer-encoding: chunked\r\n\r\n5\r\nhelloGET /hidden HTTP/1.1\r\nhost: test\r\nBAD\r\n0\r\n\r\n", &[400], 0),
    row("LF alone in a chunk's extension", b"POST / HTTP/1.1\r\nhost: test\r\nKEYtransfer-encoding: chunked\r\n\r\n5;a\nhello\r\n0\r\n\r\n", &[400], 0),
    row("a body of GET", b"GET / HTTP/1.1\r\nhost: test\r\nKEYcontent-length: 5\r\n\r\nhello", &[200, 401], 1),
    row("behind an empty body", b"POST / HTTP/1.1\r\nhost: test\r\nKEYcontent-length: 0\r\n\r\nGET /hidden HTTP/1.1\r\nhost: test\r\nBAD\r\n", &[200, 401, 401], 1),
    row("behind the last chunk", b"POST / HTTP/1.1\r\nhost: test\r\nKEYtransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET /hidden HTTP/1.1\r\nhost: test\r\nBAD\r\n", &[200, 401, 401], 1),
    row("behind a refused body", b"POST / HTTP/1.1\r\nhost: test\r\nBADcontent-length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nhost: test\r\nKEY\r\n", &[401, 200, 401], 1),
    row("an upgrade that nobody asked for", b"GET / HTTP/1.1\r\nhost: test\r\nKEYconnection: upgrade\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n", &[200, 401], 1),
];

const PIPELINED: &[Row] = &[
    row("good, bad, good", b"GET /a HTTP/1.1\r\nhost: test\r\nKEY\r\nGET /b HTTP/1.1\r\nhost: test\r\nBAD\r\nGET /c HTTP/1.1\r\nhost: test\r\nKEY\r\n", &[200, 401, 200, 401], 2),
    // Envoy closes the connection after an immediate reply of a filter to a request that is not the
    // first. Here, that is the reply to the third request, as the verdict on its key is cached.
    row("bad, good, bad", b"GET /a HTTP/1.1\r\nhost: test\r\nBAD\r\nGET /b HTTP/1.1\r\nhost: test\r\nKEY\r\nGET /c HTTP/1.1\r\nhost: test\r\nBAD\r\n", &[401, 200, 401], 1),
    row("with bodies", b"POST /a HTTP/1.1\r\nhost: test\r\nKEYcontent-length: 3\r\n\r\nabcPOST /b HTTP/1.1\r\nhost: test\r\nBADcontent-length: 3\r\n\r\nabcPOST /c HTTP/1.1\r\nhost: test\r\nKEYcontent-length: 3\r\n\r\nabc", &[200, 401, 200, 401], 2),
];

pub(super) fn trials(plain: &Arc<OnDemand>, http1: &Arc<OnDemand>) -> Vec<Trial> {
    let tables = [
        ("methods", METHODS),
        ("forms of requests", FORMS),
        ("smuggled requests", SMUGGLED),
        ("pipelined", PIPELINED),
    ];
    let mut trials: Vec<_> = tables
        .into_iter()
        .map(|(name, rows)| {
            http1.trial(&format!("client: {name}"), move |range, name| {
                range.case(name, Steady::on(HTTP1)?, |counters| {
                    // All at once, as Envoy takes a second to close a connection.
                    let checks = rows.iter().map(|row| row.check(range, counters));
                    let all = range.runtime.block_on(join_all(checks));
                    all_well(all)
                })
            })
        })
        .collect();
    trials.push(http1.trial("client: pipelined while the first waits", pipelined));
    trials.push(plain.trial("client: HEAD", head));
    trials
}

/// Returns the header lines of a key without restrictions, and its id.
pub(super) fn unrestricted(range: &Range) -> Result<(String, String)> {
    let key = made_up_key();
    let id = key_id(&key)?;
    let record = json!({"key_id": id, "status": "active"}).to_string();
    range
        .auth
        .script(&hash(&key)?, Script::Answer(answer("200 OK", &record)));
    let lines = format!("x-api-key: {key}\r\n{ENTITLED}: {id}\r\n");
    Ok((lines, id))
}

impl Row {
    async fn check(&self, range: &Range, counters: &Counters) -> Result<()> {
        self.sent(range, counters).await.context(self.name)
    }

    async fn sent(&self, range: &Range, counters: &Counters) -> Result<()> {
        let to = range.envoy.listener(HTTP1)?;
        let (key, id) = unrestricted(range)?;
        let bad = format!(
            "x-api-key: {}\r\nx-keystile-key-id: {id}\r\n",
            unknown_key()
        );
        let bytes = replaced(
            self.sent,
            &[(b"KEY", key.as_bytes()), (b"BAD", bad.as_bytes())],
        );
        let mut answers = Vec::new();
        let end = counters
            .watch("odd", async {
                let mut wire = Wire::with(to, &[&*bytes, LAST].concat()).await?;
                while let Some(response) = wire.read.next().await? {
                    answers.push(response.status);
                }
                anyhow::Ok(answers.last().copied().unwrap_or(0))
            })
            .await;
        ensure!(answers == self.answers, "{answers:?}, {end}");
        let arrived = range.upstream.arrived_for(&id);
        ensure!(arrived == self.arrive, "{arrived} reached the upstream");
        Ok(())
    }
}

/// Replaces all words in one pass, as a replacement may contain one of the words by chance.
fn replaced(bytes: &[u8], words: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut replaced = Vec::new();
    let mut rest = bytes;
    while let Some((first, more)) = rest.split_first() {
        let mut found = words
            .iter()
            .filter_map(|(word, by)| Some((rest.strip_prefix(*word)?, *by)));
        if let Some((behind, by)) = found.next() {
            replaced.extend_from_slice(by);
            rest = behind;
        } else {
            replaced.push(*first);
            rest = more;
        }
    }
    replaced
}

/// Requests after one that waits get their own answers, in order.
fn pipelined(range: &Range, name: &str) -> Result<()> {
    range.case(name, Steady::on(HTTP1)?, |counters| {
        for (known, first) in [(true, 200), (false, 401)] {
            let held = if known {
                Held::known(range)?
            } else {
                Held::unknown(range)?
            };
            let to = range.envoy.listener(HTTP1)?;
            let get = |lines: &str| format!("GET {PATH} HTTP/1.1\r\nhost: test\r\n{lines}\r\n");
            let bad = format!("x-api-key: {}\r\n", unknown_key());
            let (good, _) = unrestricted(range)?;
            let bytes = [get(&held.lines()), get(&bad), get(&good)].concat();
            let mut wire = range
                .runtime
                .block_on(Wire::with(to, &[bytes.as_bytes(), LAST].concat()))?;
            held.wait_for_lookup(range)?;
            held.tell();
            for status in [first, 401, 200, 401] {
                let answer = async { anyhow::Ok(wire.read.one().await?.status) };
                let end = range.runtime.block_on(counters.watch("pipelined", answer));
                ensure!(end == End::Answered(status), "{end}, not {status}");
            }
        }
        Ok(())
    })
}

/// A refused `HEAD` gets the headers of a refused `GET`, and no body.
fn head(range: &Range, name: &str) -> Result<()> {
    range.case(name, Steady::on(LISTENER)?, |counters| {
        let to = range.envoy.listener(LISTENER)?;
        let (failing, known) = (unknown_key(), known_key()?);
        let script = Script::Answer(answer("500 Oops", ""));
        range.auth.script(&hash(&failing)?, script);
        for (outcome, target, lines) in [
            ("no key", PATH, String::new()),
            ("a malformed key", PATH, "x-api-key: aw_short\r\n".to_owned()),
            ("an unknown key", PATH, format!("x-api-key: {}\r\n", unknown_key())),
            ("another endpoint", "/v2/x", format!("x-api-key: {known}\r\n")),
            ("a failing lookup", PATH, format!("x-api-key: {failing}\r\n")),
        ] {
            let mut texts = Vec::new();
            for method in ["GET", "HEAD"] {
                let mut text = Vec::new();
                let end = range.runtime.block_on(counters.watch(method, async {
                    let request = format!(
                        "{method} {target} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{lines}\r\n"
                    );
                    let mut wire = Wire::with(to, request.as_bytes()).await?;
                    text = wire.read.bytes().await?;
                    let status = text.get(9..12).context("no status")?;
                    anyhow::Ok(std::str::from_utf8(status)?.parse()?)
                }));
                ensure!(matches!(end, End::Answered(_)), "{outcome}: {method}: {end}");
                texts.push(String::from_utf8(text)?);
            }
            let [get, head] = &texts[..] else { continue };
            let (get, body) = get.split_once("\r\n\r\n").context("no end of headers")?;
            let (head, none) = head.split_once("\r\n\r\n").context("no end of headers")?;
            ensure!(!body.is_empty() && none.is_empty(), "{outcome}: {none:?}");
            let same = |head: &str| -> Vec<String> {
                let lines = head.lines().map(|line| match line.split_once(": ") {
                    // These differ in each reply.
                    Some((name @ ("x-request-id" | "date"), _)) => name.to_owned(),
                    _ => line.to_owned(),
                });
                lines.collect()
            };
            ensure!(same(get) == same(head), "{outcome}:\n{get}\nnot\n{head}");
        }
        Ok(())
    })
}
