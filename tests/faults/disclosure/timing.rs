//! How long the first answers take, for keys of each kind.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use keystile_e2e::counters::{Counters, End};
use keystile_e2e::envoy::{Launch, Listener, http2_cluster};
use keystile_e2e::rule_auth::RuleAuth;
use keystile_e2e::stack::Setup;
use serde_json::json;
use statrs::stats_tests::Alternative;
use statrs::stats_tests::mannwhitneyu::{MannWhitneyUMethod, mannwhitneyu};

use tokio::runtime::Runtime;

use super::{KINDS, Kind, Site};
use crate::range::{self, Range, Steady, is_known, known_key, plugin, unknown_key};
use crate::test_database::TestDatabase;

/// How many answers of each kind are timed.
const SAMPLES: usize = 3000;

/// How many kinds are timed: those that take different paths through the registry.
const TIMED: usize = 4;

/// If the times of two kinds differ so much that it would happen by chance once in a hundred series,
/// the series is repeated. Only a difference in both series counts.
const BY_CHANCE: f64 = 0.01;

/// The name of a kind, and its keys.
type Keys = (&'static str, Vec<String>);

/// With the registry, which is told the environment.
pub(super) fn is_equal() -> Result<()> {
    is_equal_on(
        TestDatabase::sqlite(),
        "disclosure: cold answers take as long",
    )
}

pub(super) fn is_equal_on_postgres() -> Result<()> {
    is_equal_on(
        TestDatabase::postgres(),
        "disclosure: cold answers take as long, PostgreSQL",
    )
}

fn is_equal_on(database: TestDatabase, name: &str) -> Result<()> {
    let site = Site::start(1, database)?;
    in_two_series(&site.range, name, || {
        KINDS[..TIMED]
            .iter()
            .map(|kind| Ok((kind.name, make(&site, kind)?)))
            .collect()
    })
}

/// With an auth cluster that ignores the environment: the filter and Envoy take as long with a record
/// as without one.
pub(super) fn is_equal_without_help() -> Result<()> {
    let runtime = Runtime::new()?;
    let auth = runtime.block_on(RuleAuth::new(is_known).serve())?;
    let elsewhere = json!({"environment": "staging"});
    let range = Range::start(Setup {
        launch: Launch::workers(1),
        clusters: vec![http2_cluster("auth", auth.address)],
        ..range::setup(vec![Listener::new("site", &plugin(&elsewhere))])
    })?;
    in_two_series(&range, "disclosure: a record takes as long as none", || {
        let unknown = (0..SAMPLES).map(|_| unknown_key()).collect();
        let known = (0..SAMPLES).map(|_| known_key());
        Ok(vec![
            ("never existed", unknown),
            ("of another environment", known.collect::<Result<_>>()?),
        ])
    })
}

fn in_two_series(range: &Range, name: &str, keys: impl Fn() -> Result<Vec<Keys>>) -> Result<()> {
    range.case(name, Steady::default(), |counters| {
        let mut differ = series(range, counters, keys()?)?;
        if !differ.is_empty() {
            let again = series(range, counters, keys()?)?;
            differ.retain(|kind| again.contains(kind));
        }
        ensure!(
            differ.is_empty(),
            "{differ:?}: distinguishable by timing from keys that never existed"
        );
        Ok(())
    })
}

/// Times answers of each kind, and returns the kinds that differ from the first, by
/// Mann and Whitney's test.
fn series(range: &Range, counters: &Counters, mut kinds: Vec<Keys>) -> Result<Vec<&'static str>> {
    let mut client = Client::connect(range)?;
    // Warms up the connections and V8's code.
    for _ in 0..500 {
        client.ask(&unknown_key(), counters)?;
    }
    let mut times = vec![Vec::new(); kinds.len()];
    for _ in 0..SAMPLES {
        // In random order, so that the after-effects of a request do not always hit the same kind.
        let mut order: Vec<_> = (0..kinds.len()).collect();
        order.sort_by_key(|_| ulid::Ulid::generate().random());
        for kind in order {
            let key = kinds[kind].1.pop().context("too few keys")?;
            times[kind].push(client.ask(&key, counters)?.as_secs_f64() * 1e6);
        }
    }
    let mut differ = Vec::new();
    for ((kind, _), of_kind) in kinds.iter().zip(&times).skip(1) {
        let (u, p) = mannwhitneyu(
            &times[0],
            of_kind,
            MannWhitneyUMethod::AsymptoticInclContinuityCorrection,
            Alternative::TwoSided,
        )?;
        println!(
            "{}: median of {SAMPLES} {:.1} µs, never existed {:.1} µs, U/n² {:.4}, p {p:.4}",
            kind,
            median(of_kind),
            median(&times[0]),
            u / (SAMPLES * SAMPLES) as f64,
        );
        if p < BY_CHANCE {
            differ.push(*kind);
        }
    }
    Ok(differ)
}

/// Creates [`SAMPLES`] keys of a kind, several at the same time.
fn make(site: &Site, kind: &Kind) -> Result<Vec<String>> {
    const AT_ONCE: usize = 4;
    thread::scope(|scope| {
        let makers: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                scope.spawn(|| {
                    (0..SAMPLES.div_ceil(AT_ONCE))
                        .map(|_| (kind.make)(site))
                        .collect::<Result<Vec<_>>>()
                })
            })
            .collect();
        let mut keys = Vec::new();
        for maker in makers {
            keys.extend(maker.join().map_err(|_| anyhow::anyhow!("panicked"))??);
        }
        Ok(keys)
    })
}

/// A client with one connection, on which it sends one request after the other.
struct Client(TcpStream);

impl Client {
    fn connect(range: &Range) -> Result<Self> {
        let stream = TcpStream::connect(range.envoy.listener("site")?)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(15)))?;
        Ok(Self(stream))
    }

    /// Sends a request and returns how long its answer took.
    fn ask(&mut self, key: &str, counters: &Counters) -> Result<Duration> {
        let request = format!("GET /v1/x HTTP/1.1\r\nhost: test\r\nx-api-key: {key}\r\n\r\n");
        let mut answer = [0; 4096];
        let mut length = 0;
        let sent = Instant::now();
        self.0.write_all(request.as_bytes())?;
        // Each reply ends like this.
        while !answer[..length].ends_with(b"Z\"}") {
            let read = self.0.read(&mut answer[length..])?;
            ensure!(read > 0, "the connection was closed");
            length += read;
        }
        let took = sent.elapsed();
        ensure!(answer.starts_with(b"HTTP/1.1 401 "), "no 401");
        counters.count("cold", End::Answered(401));
        Ok(took)
    }
}

fn median(times: &[f64]) -> f64 {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}
