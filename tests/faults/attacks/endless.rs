//! Endless streams without a key, which are meant to use up the upstream's capacity.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use h2::SendStream;
use h2::client::SendRequest;
use keystile_e2e::client;
use keystile_e2e::process::until;
use keystile_e2e::recording_upstream::{DELAY, RecordingUpstream};
use keystile_e2e::traffic::{Traffic, p99};
use keystile_e2e::trials::trial;
use libtest_mimic::Trial;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::Attacked;

/// How long valid requests are measured before the attack.
const BEFORE: Duration = Duration::from_secs(3);

/// How long the attack lasts: enough for all of its streams to begin, and for some to be replaced.
const LASTS: Duration = Duration::from_secs(8);

/// How much the attack may raise the 99th percentile of how long valid requests take.
const MOST: Duration = Duration::from_millis(100);

/// Valid requests per second.
const RATE: u32 = 100;

/// Concurrent streams, on connections of 100 each. Four in five are of a kind that was once let through.
const STREAMS: usize = 1_500;
const ON_CONNECTION: usize = 100;

/// How long the attacker waits before it replaces a stream that was ended.
const PAUSE: Duration = Duration::from_secs(5);

/// The request that opens a stream.
#[derive(Clone, Copy)]
struct Kind {
    method: &'static str,
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
    /// Whether the request ends with its headers.
    ends: bool,
}

const fn endless(
    method: &'static str,
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
) -> Kind {
    Kind {
        method,
        path,
        headers,
        ends: false,
    }
}

const ENDLESS: [Kind; 5] = [
    endless("OPTIONS", "/v1/x", &PREFLIGHT),
    endless("POST", "/healthz", &[]),
    endless("GET", "/healthz", &[]),
    endless("HEAD", "/healthz", &[("content-length", "1000000")]),
    endless("POST", "/v1/x", &[]),
];

/// Requests that the upstream answers slowly.
const SLOW: [Kind; 2] = [
    Kind {
        method: "GET",
        path: "/healthz",
        headers: &[(DELAY, "5000")],
        ends: true,
    },
    Kind {
        method: "OPTIONS",
        path: "/v1/x",
        headers: &[PREFLIGHT[0], PREFLIGHT[1], (DELAY, "5000")],
        ends: true,
    },
];

const PREFLIGHT: [(&str, &str); 2] = [
    ("origin", "https://app.example.com"),
    ("access-control-request-method", "PUT"),
];

keystile_e2e::suite!(Alone, trials);

fn trials() -> Vec<Trial> {
    vec![
        trial("attack: streams without an end", || {
            let attack = "streams without an end";
            let counts = while_attacked(attack, &ENDLESS, |to| {
                let answer = client::get(to, "/healthz", [])?;
                ensure!(answer.status == 200, "/healthz: {answer:?}");
                Ok(())
            })?;
            let answered = counts.answered.load(Ordering::Relaxed);
            let refused = counts.refused.load(Ordering::Relaxed);
            ensure!(answered == refused, "some got past the filter");
            Ok(())
        }),
        trial("attack: exempt requests that take long", || {
            while_attacked("exempt requests that take long", &SLOW, |_| Ok(())).map(drop)
        }),
    ]
}

/// Runs an attack while valid requests are sent. Returns the attack's counts.
fn while_attacked(
    name: &str,
    kinds: &'static [Kind],
    meanwhile: impl Fn(SocketAddr) -> Result<()>,
) -> Result<Arc<Counts>> {
    let runtime = Runtime::new()?;
    let upstream = runtime.block_on(RecordingUpstream::default().serve())?;
    let attacked = Attacked::start(upstream.address)?;
    let to = attacked.stack.listener;
    let valid = Traffic::start(&runtime, to, "/v1/x", &attacked.own.key, RATE)?;
    until(Instant::now() + BEFORE);
    let counts = Arc::new(Counts::default());
    let began = Instant::now();
    let mut attack = runtime.block_on(async {
        let mut attack = JoinSet::new();
        for _ in 0..STREAMS / ON_CONNECTION {
            attack.spawn(connection(to, kinds, Arc::clone(&counts)));
        }
        attack
    });
    while began.elapsed() < LASTS {
        meanwhile(to)?;
        until(Instant::now() + Duration::from_millis(200));
    }
    let active = "cluster.upstream.upstream_rq_active";
    let at_upstream = attacked.stack.envoy.counter(active)?;
    let ended = runtime.block_on(async {
        let ended = attack.try_join_next();
        attack.abort_all();
        ended
    });
    ensure!(ended.is_none(), "the attack ended early: {ended:?}");
    let seen = valid.finish(&runtime)?;
    let (before, during): (Vec<_>, Vec<_>) = seen.iter().partition(|seen| seen.sent < began);
    let (before, during) = (p99(&before)?, p99(&during)?);
    println!(
        "attack: {name}: {} streams in {LASTS:?}, {} of them answered, {} of them with a 401; \
         {at_upstream} requests at the upstream at the end; p99 of {} valid requests {before:?} \
         before, {during:?} during",
        counts.begun.load(Ordering::Relaxed),
        counts.answered.load(Ordering::Relaxed),
        counts.refused.load(Ordering::Relaxed),
        seen.len(),
    );
    ensure!(
        counts.begun.load(Ordering::Relaxed) >= STREAMS as u64,
        "the attack did not begin"
    );
    ensure!(
        during.saturating_sub(before) <= MOST,
        "p99 of valid requests: {before:?} before, {during:?} during the attack"
    );
    Ok(counts)
}

#[derive(Default)]
struct Counts {
    begun: AtomicU64,
    answered: AtomicU64,
    refused: AtomicU64,
}

/// Keeps a connection open, with streams of each kind in turn, and replaces it when it ends.
async fn connection(to: SocketAddr, kinds: &'static [Kind], counts: Arc<Counts>) -> Result<()> {
    loop {
        // Envoy may have closed the connection because of its streams.
        let _ = streams(to, kinds, &counts).await;
        tokio::time::sleep(PAUSE).await;
    }
}

async fn streams(to: SocketAddr, kinds: &'static [Kind], counts: &Arc<Counts>) -> Result<()> {
    let stream = TcpStream::connect(to).await?;
    let (sender, connection) = h2::client::handshake(stream).await?;
    let mut tasks = JoinSet::new();
    for at in 0..ON_CONNECTION {
        let (sender, counts) = (sender.clone(), Arc::clone(counts));
        let kind = kinds[at % kinds.len()];
        // So that the streams are not all replaced at the same moment.
        let delay = PAUSE * u32::try_from(at)? / u32::try_from(ON_CONNECTION)?;
        tasks.spawn(one_after_another(to, sender, kind, delay, counts));
    }
    tokio::select! {
        ended = connection => Ok(ended?),
        ended = tasks.join_next() => ended.context("no stream")??,
    }
}

async fn one_after_another(
    to: SocketAddr,
    sender: SendRequest<Bytes>,
    kind: Kind,
    delay: Duration,
    counts: Arc<Counts>,
) -> Result<()> {
    tokio::time::sleep(delay).await;
    loop {
        one(to, sender.clone(), &kind, &counts).await?;
        tokio::time::sleep(PAUSE).await;
    }
}

/// Opens a stream and waits until the other side ends it.
async fn one(
    to: SocketAddr,
    sender: SendRequest<Bytes>,
    kind: &Kind,
    counts: &Counts,
) -> Result<()> {
    let mut request = hyper::Request::builder()
        .method(kind.method)
        .uri(format!("http://{to}{}", kind.path));
    for (name, value) in kind.headers {
        request = request.header(*name, *value);
    }
    let mut sender = sender.ready().await?;
    let (answer, body) = sender.send_request(request.body(())?, kind.ends)?;
    counts.begun.fetch_add(1, Ordering::Relaxed);
    let answer = tokio::select! {
        answer = answer => answer?,
        Err(problem) = dribble(body), if !kind.ends => return Err(problem),
    };
    counts.answered.fetch_add(1, Ordering::Relaxed);
    if answer.status() == 401 {
        counts.refused.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Sends a byte now and then, as Envoy ends idle streams.
async fn dribble(mut body: SendStream<Bytes>) -> Result<Infallible> {
    loop {
        body.send_data(Bytes::from_static(b"x"), false)?;
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}
