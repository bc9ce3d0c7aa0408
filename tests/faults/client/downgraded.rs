//! HTTP/2 requests that would be two in HTTP/1, which the upstream speaks.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use keystile_e2e::counters::{Counters, End};
use keystile_e2e::http2::kind::{DATA, HEADERS};
use keystile_e2e::http2::{END_HEADERS, END_STREAM, block, frame, get};
use keystile_e2e::recording_upstream::NAMED;
use libtest_mimic::Trial;

use super::frames::Frames;
use super::messages::unrestricted;
use super::{HTTP1, all_well};
use crate::range::{OnDemand, Range, Steady};

/// A body that would be read as a separate request.
const HIDDEN: &[u8] = b"GET /hidden HTTP/1.1\r\nhost: test\r\nx-keystile-key-id: key_1\r\n\r\n";

/// A name, the headers of a request with a key, and how many such requests reach the upstream
/// completely. Envoy may pass the headers on before it notices that the body has another length.
type Row = (
    &'static str,
    &'static [(&'static str, &'static str)],
    RangeInclusive<usize>,
);

const ROWS: &[Row] = &[
    // These headers are a complete request, without what follows them.
    ("content-length: 0", &[("content-length", "0")], 0..=1),
    ("content-length: 5", &[("content-length", "5")], 0..=0),
    ("content-length: 5000", &[("content-length", "5000")], 0..=0),
    (
        "content-length twice",
        &[("content-length", "0"), ("content-length", "5")],
        0..=0,
    ),
    (
        "transfer-encoding",
        &[("transfer-encoding", "chunked")],
        0..=0,
    ),
    ("connection", &[("connection", "transfer-encoding")], 0..=0),
    (
        "CRLF in a value",
        &[("x-a", "a\r\nx-keystile-key-id: key_1")],
        0..=0,
    ),
    (
        "LF in a value",
        &[("x-a", "a\nx-keystile-key-id: key_1")],
        0..=0,
    ),
    (
        "CRLF in a name",
        &[("x-a: a\r\nx-keystile-key-id", "key_1")],
        0..=0,
    ),
    (
        "a colon in a name",
        &[("x-keystile-key-id:", "key_1")],
        0..=0,
    ),
    (
        "capitals in a name",
        &[("X-Keystile-Key-Id", "key_1")],
        0..=0,
    ),
    ("a second path", &[(":path", "/hidden")], 0..=0),
    ("nothing odd", &[("x-a", "a")], 1..=1),
];

pub(super) fn trials(http1: &Arc<OnDemand>) -> Vec<Trial> {
    vec![
        http1.trial("client: two requests in one of HTTP/2", |range, name| {
            range.case(name, Steady::on(HTTP1)?, |counters| {
                // All at once, as Envoy takes a second to close a connection.
                let rows = ROWS.iter().map(async |(name, headers, arrive)| {
                    let row = sent(range, counters, headers, arrive).await;
                    row.context(*name)
                });
                let all = range.runtime.block_on(join_all(rows));
                all_well(all)
            })
        }),
    ]
}

async fn sent(
    range: &Range,
    counters: &Counters,
    headers: &[(&str, &str)],
    arrive: &RangeInclusive<usize>,
) -> Result<()> {
    let to = range.envoy.listener(HTTP1)?;
    let (own, id) = unrestricted(range)?;
    let own: Vec<_> = own
        .lines()
        .filter_map(|line| line.split_once(": "))
        .collect();
    let pseudo = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "test"),
        (":path", "/"),
    ];
    let named = [(NAMED, id.as_str())];
    let block = block(pseudo.iter().chain(headers).chain(&own).chain(&named));
    let end = counters
        .watch("odd in HTTP/2", async {
            let connection = Frames::connect(to).await?;
            let head = frame(HEADERS, END_HEADERS, 1, &block);
            connection.send(&head).await?;
            // By then Envoy may have closed the connection.
            let _ = connection.send(&frame(DATA, END_STREAM, 1, HIDDEN)).await;
            let _ = connection.send(&get(3, "/")).await;
            let wanted = 1 + *arrive.start() as u64;
            while !connection.is_over() && connection.answers() < wanted {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            connection.close().await?;
            anyhow::Ok(401)
        })
        .await;
    ensure!(end == End::Answered(401), "{end}");
    let arrived = range.upstream.named(&id);
    let complete = arrived.iter().filter(|request| request.whole).count();
    ensure!(
        arrive.contains(&complete),
        "{complete} reached the upstream"
    );
    Ok(())
}
