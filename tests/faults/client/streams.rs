//! Many streams on one HTTP/2 connection: all at once, or reset as soon as they are opened.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use h2::Reason;
use h2::client::SendRequest;
use keystile_e2e::counters::{Counters, End};
use keystile_e2e::http2::{END_STREAM, get, request};
use keystile_e2e::keys::hash;
use keystile_e2e::process::wait_until;
use keystile_e2e::recording_upstream::ENTITLED;
use keystile_e2e::scripted_auth::{Script, answer};
use libtest_mimic::Trial;
use tokio::task::JoinSet;

use super::frames::{Frames, reset};
use super::held::Held;
use super::{LISTENER, SHIPPED, connect2, read2, request2, status2};
use crate::range::{OnDemand, PATH, Range, Steady, key_id, known_key, unknown_key};

const STREAMS: usize = 1000;

/// How many concurrent streams `envoy/envoy.yaml` allows on a connection.
const SHIPPED_AT_ONCE: u64 = 100;

pub(super) fn trials(plain: &Arc<OnDemand>, shipped: &Arc<OnDemand>) -> Vec<Trial> {
    let mut trials = vec![
        plain.trial("client: 1000 streams, unknown keys", |range, name| {
            at_once(range, name, &["an unknown key at once"])
        }),
        plain.trial("client: 1000 streams, all outcomes", |range, name| {
            at_once(range, name, OUTCOMES)
        }),
        plain.trial("client: 1000 streams, one key", |range, name| {
            one_key(range, name, LISTENER, STREAMS as u64)
        }),
        shipped.trial("client: 1000 streams, 100 at once", |range, name| {
            one_key(range, name, SHIPPED, SHIPPED_AT_ONCE)
        }),
    ];
    for (name, what) in [
        ("without a key", Opens::NoKey),
        ("lookups under way", Opens::UnknownKeys),
        ("one lookup under way", Opens::OneKey),
        ("below Envoy's limit", Opens::BelowLimit),
    ] {
        for (time, length, long) in [
            ("1 s", Duration::from_secs(1), false),
            ("15 s", Duration::from_secs(15), true),
        ] {
            let trial = shipped.trial(
                &format!("client: rapid reset, {name}, {time}"),
                move |range, name| rapid_reset(range, name, what, length),
            );
            trials.push(trial.with_ignored_flag(long));
        }
    }
    trials
}

const OUTCOMES: &[&str] = &[
    "a known key at once",
    "an unknown key at once",
    "no key at once",
    "a malformed key at once",
    "another endpoint at once",
    "a failing lookup at once",
];

/// Returns a request with a new key, and the status that it should get.
fn one_of(range: &Range, to: SocketAddr, kind: &str) -> Result<(hyper::Request<()>, u16)> {
    let known = known_key()?;
    let (id, unknown) = (key_id(&known)?, unknown_key());
    let (headers, status) = match kind {
        "a known key at once" => (vec![("x-api-key", &*known), (ENTITLED, &*id)], 200),
        "an unknown key at once" => (vec![("x-api-key", &*unknown)], 401),
        "no key at once" => (vec![("x-keystile-key-id", &*id), (ENTITLED, &*id)], 401),
        "a malformed key at once" => (vec![("x-api-key", "aw_short")], 401),
        "another endpoint at once" => (vec![("x-api-key", &*known)], 403),
        _ => {
            let script = Script::Answer(answer("500 Oops", ""));
            range.auth.script(&hash(&unknown)?, script);
            (vec![("x-api-key", &*unknown)], 503)
        }
    };
    let mut request = request2(to, "GET", &headers)?;
    if status == 403 {
        *request.uri_mut() = format!("http://{to}/v2/x").parse()?;
    }
    Ok((request, status))
}

fn at_once(range: &Range, name: &str, kinds: &'static [&str]) -> Result<()> {
    range.case(name, Steady::on(LISTENER)?, |counters| {
        let to = range.envoy.listener(LISTENER)?;
        range.runtime.block_on(async {
            let connection = connect2(to).await?;
            let mut tasks = JoinSet::new();
            for kind in kinds.iter().cycle().take(STREAMS) {
                let (request, expected) = one_of(range, to, kind)?;
                let mut connection = connection.clone().ready().await?;
                let (response, _) = connection.send_request(request, true)?;
                let counters = counters.clone();
                tasks.spawn(async move {
                    let end = counters.watch(kind, status2(response)).await;
                    ensure!(end == End::Answered(expected), "{kind}: {end}");
                    Ok(())
                });
            }
            while let Some(done) = tasks.join_next().await {
                done??;
            }
            Ok(())
        })
    })
}

/// All requests have one key, whose lookup waits until as many of them are there as may be.
fn one_key(range: &Range, name: &str, listener: &'static str, most: u64) -> Result<()> {
    range.case(name, Steady::on(listener)?, |counters| {
        let to = range.envoy.listener(listener)?;
        let held = Held::known(range)?;
        let (connection, mut tasks) = range.runtime.block_on(async {
            let connection = connect2(to).await?;
            let mut tasks = JoinSet::new();
            for _ in 0..STREAMS {
                let request = request2(to, "GET", &held.headers())?;
                let (connection, counters) = (connection.clone(), counters.clone());
                tasks.spawn(async move {
                    let answer = once_taken(connection, request);
                    counters.watch("one key", answer).await
                });
            }
            anyhow::Ok((connection, tasks))
        })?;
        let active = format!("http.{listener}.downstream_rq_active");
        wait_until(|| Ok(range.envoy.counter(&active)? >= most))?;
        let now = range.envoy.counter(&active)?;
        println!(
            "{name}: {now} wait at once; the connection may have {}",
            connection.current_max_send_streams()
        );
        // Other traffic has some as well, but fewer than would come without a limit.
        ensure!(now < 2 * most, "{now} wait at once");
        held.tell();
        range.runtime.block_on(async {
            while let Some(end) = tasks.join_next().await {
                let end = end?;
                ensure!(end == End::Answered(200), "{end}");
            }
            anyhow::Ok(())
        })?;
        let (arrived, lookups) = (range.upstream.arrived_for(&held.id), held.lookups(range));
        ensure!(arrived == STREAMS as u64, "{arrived} reached the upstream");
        println!("{name}: {lookups} lookups");
        range.envoy.wait_for_counter(&active, 0)
    })
}

/// Returns the status of a request's answer. On a busy machine, Envoy may refuse a stream that a
/// client opens just as another ends. Such a request may be sent again (RFC 9113 section 8.7), and is.
async fn once_taken(connection: SendRequest<Bytes>, request: hyper::Request<()>) -> Result<u16> {
    loop {
        let (response, _) = connection
            .clone()
            .ready()
            .await?
            .send_request(request.clone(), true)?;
        match response.await {
            Err(refused) if refused.reason() == Some(Reason::REFUSED_STREAM) => {}
            response => return Ok(read2(response?).await?.0),
        }
    }
}

/// The requests of the streams that a client opens and resets at once.
#[derive(Clone, Copy)]
enum Opens {
    NoKey,
    /// A different key for each, so a different lookup.
    UnknownKeys,
    /// One key, whose lookup takes as long as the case does.
    OneKey,
    /// As [`Opens::UnknownKeys`], but each reset is followed by two requests that wait for their
    /// answers. Envoy closes a connection on which half of 500 streams or more were reset.
    BelowLimit,
}

const CLIENTS: usize = 4;

/// Streams that a client opens and resets in one write.
const BATCH: u32 = 50;

/// Uses only the shipped settings. With its defaults, Envoy reads so much at once that streams take a
/// gigabyte before the first of them is freed.
fn rapid_reset(range: &Range, name: &str, opens: Opens, length: Duration) -> Result<()> {
    // A known key is served from the cache. For an unknown key, the filter may be too busy with the
    // flood's lookups to have a verdict.
    let refused = [401, 503].map(End::Answered);
    let steady = Steady::on(SHIPPED)?.but("an unknown key", &refused);
    range.case(name, steady, |counters| {
        let to = range.envoy.listener(SHIPPED)?;
        let held = Held::known(range)?;
        let measured = || {
            anyhow::Ok((
                range.envoy.resident_bytes()?,
                range.envoy.wasm_memory_bytes()?,
            ))
        };
        // The first flood allocates memory that the next one uses again.
        flood(
            range,
            counters,
            to,
            opens,
            &held,
            Duration::from_millis(500),
        )?;
        let before = measured()?;
        let (streams, connections) = flood(range, counters, to, opens, &held, length)?;
        let after = measured()?;
        let mib = |bytes: u64| bytes as f64 / (1024.0 * 1024.0);
        println!(
            "{name}: {streams} streams on {connections} connections; Envoy {:.1} MiB, then {:.1}; \
             the filter {:.1} MiB, then {:.1}; {} lookups of the one key",
            mib(before.0),
            mib(after.0),
            mib(before.1),
            mib(after.1),
            held.lookups(range),
        );
        held.tell();
        let arrived = range.upstream.arrived_for(&held.id);
        ensure!(arrived == 0, "{arrived} reached the upstream");
        range
            .envoy
            .wait_for_counter(&format!("http.{SHIPPED}.downstream_rq_active"), 0)?;
        ensure!(streams > 1000, "only {streams} streams");
        ensure!(
            mib(after.1) < mib(before.1) + 2.0,
            "the filter's memory grows"
        );
        ensure!(mib(after.0) < mib(before.0) + 64.0, "Envoy's memory grows");
        Ok(())
    })
}

/// Runs a flood. Returns how many streams were opened, on how many connections.
fn flood(
    range: &Range,
    counters: &Counters,
    to: SocketAddr,
    opens: Opens,
    held: &Held,
    length: Duration,
) -> Result<(u64, u64)> {
    let until = Instant::now() + length;
    range.runtime.block_on(async {
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let own: Vec<_> = held
                .headers()
                .map(|(name, value)| (name, value.to_owned()))
                .into();
            clients.spawn(client(to, opens, own, until));
        }
        let mut sum = (0, 0);
        while let Some(done) = clients.join_next().await {
            let (streams, connections) = done??;
            sum.0 += streams;
            sum.1 += connections;
        }
        for _ in 0..sum.0 {
            counters.count("reset at once", End::Left);
        }
        Ok(sum)
    })
}

async fn client(
    to: SocketAddr,
    opens: Opens,
    own: Vec<(&'static str, String)>,
    until: Instant,
) -> Result<(u64, u64)> {
    let own: Vec<_> = own.iter().map(|(name, value)| (*name, &**value)).collect();
    let (mut streams, mut connections) = (0, 0);
    while Instant::now() < until {
        let connection = Frames::connect(to).await?;
        connections += 1;
        let mut id = 1;
        while Instant::now() < until {
            let mut batch = Vec::new();
            for _ in 0..BATCH {
                let unknown;
                let headers: &[_] = match opens {
                    Opens::NoKey => &[],
                    Opens::OneKey => &own,
                    Opens::UnknownKeys | Opens::BelowLimit => {
                        unknown = unknown_key();
                        &[("x-api-key", &*unknown)]
                    }
                };
                batch.extend(request(id, END_STREAM, PATH, headers));
                batch.extend(reset(id));
                id += 2;
                if matches!(opens, Opens::BelowLimit) {
                    for _ in 0..2 {
                        batch.extend(get(id, PATH));
                        id += 2;
                    }
                }
            }
            // Envoy may close the connection at any time.
            if connection.send(&batch).await.is_err() {
                break;
            }
            streams += u64::from(BATCH);
        }
        connection.close().await?;
    }
    Ok((streams, connections))
}
