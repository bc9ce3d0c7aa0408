//! Auth clusters that no lookup can reach.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keystile_e2e::envoy::{Launch, Listener, cluster};
use keystile_e2e::keys::hash;
use keystile_e2e::process::wait_until;
use keystile_e2e::recording_upstream::ENTITLED;
use keystile_e2e::rule_auth::record;
use keystile_e2e::scripted_auth::{Script, answer};
use keystile_e2e::stack::Setup;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio::sync::Semaphore;

use super::comebacks::{known, steady_in_an_outage};
use super::expect::Expect;
use super::fault::{Fault, Listeners, Row, suffer};
use super::rows::{PATIENT, STEADY, listeners};
use crate::range::{self, OnDemand, Range, Steady, key_id, known_key, plugin, uncached};

/// The path of Envoy's health checks of the clusters `checked` and `panicking`.
const HEALTH: &str = "/health-of-the-auth-cluster";

/// Listeners with lookups to the cluster `checked`.
const CHECKED: Listeners = Listeners {
    uncached: "checked, uncached",
    cached: "checked, cached",
    grace: "checked, grace",
};

/// Concurrent lookups that the cluster `narrow` allows.
const PLACES: usize = 4;

keystile_e2e::suite!(Together, trials);

fn trials() -> Vec<Trial> {
    let range = OnDemand::new(setup);
    let mut trials = vec![
        range.trial("auth: refused", |range, name| {
            let fault = Stopped(range);
            suffer_outage(range, name, PATIENT, &fault)
        }),
        range.trial("auth: all hosts fail health checks", |range, name| {
            let fault = Unhealthy(range);
            fault.end(&[])?;
            suffer_outage(range, name, CHECKED, &fault)
        }),
        range.trial(
            "auth: all hosts fail health checks, and Envoy panics",
            panicking,
        ),
        range.trial("auth: breaker full of lookups", narrow),
    ];
    for (name, listener) in [
        ("no host", "hostless"),
        ("an unknown cluster", "unknown"),
        ("breaker without a place", "shut"),
        ("a host that answers no SYN", "deaf"),
        ("a host that answers no SYN, given up late", "deaf-late"),
    ] {
        trials.push(range.trial(&format!("auth: {name}"), move |range, name| {
            unreachable(range, name, listener)
        }));
    }
    trials
}

/// One worker, so that all requests share one cache.
fn setup() -> Result<Setup> {
    let mut all = listeners("auth");
    let asking = |name, cluster: &str, cache| {
        let lookup = json!({"cluster": cluster, "timeout": "10s"});
        Listener::new(name, &plugin(&json!({"lookup": lookup, "cache": cache})))
    };
    for (name, cache) in CHECKED.caches() {
        all.push(asking(name, "checked", cache));
    }
    for name in ["hostless", "unknown", "shut", "panicking", "narrow", "deaf"] {
        all.push(asking(name, name, uncached()));
    }
    // The lookup times out before the connection does.
    let late = json!({"cluster": "deaf-late", "timeout": "300ms"});
    let late = plugin(&json!({"lookup": late, "cache": uncached()}));
    all.push(Listener::new("deaf-late", &late));
    let deaf = deaf()?;
    let clusters = [("deaf", "0.3s"), ("deaf-late", "60s")].map(|(name, time)| {
        let mut cluster = cluster(name, Some(deaf));
        cluster["connect_timeout"] = json!(time);
        cluster
    });
    Ok(Setup {
        launch: Launch::workers(1),
        clusters: [&[cluster("hostless", None)], &clusters[..]].concat(),
        edit: Box::new(odd_clusters),
        ..range::setup(all)
    })
}

/// Returns an address where no connection succeeds while the tests run. The system queues a single
/// connection, which nobody accepts, and does not answer others.
fn deaf() -> Result<SocketAddr> {
    static SOCKETS: Mutex<Vec<(TcpListener, TcpStream)>> = Mutex::new(Vec::new());
    let runtime = tokio::runtime::Runtime::new()?;
    let listener = runtime.block_on(async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(([127, 0, 0, 1], 0).into())?;
        socket.listen(0)?.into_std()
    })?;
    let address = listener.local_addr()?;
    let first = TcpStream::connect(address)?;
    let second = TcpStream::connect_timeout(&address, Duration::from_millis(100));
    ensure!(second.is_err(), "there is a place for a second connection");
    let mut sockets = SOCKETS.lock().unwrap_or_else(PoisonError::into_inner);
    sockets.push((listener, first));
    Ok(address)
}

/// Adds odd clusters with the host of `auth`.
fn odd_clusters(config: &mut Value) -> Result<()> {
    let clusters = config["static_resources"]["clusters"].as_array_mut();
    let clusters = clusters.context("no clusters")?;
    let auth = clusters.iter().find(|cluster| cluster["name"] == "auth");
    let auth = auth.context("no cluster auth")?.clone();
    let checks = json!([{
        "interval": "0.05s", "no_traffic_interval": "0.05s", "timeout": "5s",
        "healthy_threshold": 1, "unhealthy_threshold": 1,
        "http_health_check": {"path": HEALTH},
    }]);
    let thresholds = |most: usize| json!({"thresholds": [{"max_requests": most}]});
    for (name, field, value) in [
        ("shut", "circuit_breakers", thresholds(0)),
        ("narrow", "circuit_breakers", thresholds(PLACES)),
        ("panicking", "health_checks", checks.clone()),
        ("checked", "health_checks", checks),
    ] {
        let mut odd = auth.clone();
        odd["name"] = json!(name);
        odd[field] = value;
        if name == "checked" {
            // Otherwise Envoy uses failing hosts if all hosts fail.
            odd["common_lb_config"] = json!({"healthy_panic_threshold": {"value": 0}});
        }
        clusters.push(odd);
    }
    Ok(())
}

fn suffer_outage(range: &Range, name: &str, listeners: Listeners, fault: &dyn Fault) -> Result<()> {
    range.case(name, steady_in_an_outage()?, |counters| {
        let row = Row {
            name: name.to_owned(),
            fault,
            expect: Expect::Internal,
        };
        suffer(range, counters, listeners, 3, &[row])
    })
}

/// Nothing listens at the auth cluster's address.
struct Stopped<'a>(&'a Range);

impl Fault for Stopped<'_> {
    fn begin(&self, _: &[String]) -> Result<()> {
        self.0.runtime.block_on(self.0.serving.stop())
    }

    fn end(&self, _: &[String]) -> Result<()> {
        self.0.runtime.block_on(self.0.serving.start())
    }
}

/// The only host of the cluster `checked` fails its health checks.
struct Unhealthy<'a>(&'a Range);

impl Fault for Unhealthy<'_> {
    fn begin(&self, _: &[String]) -> Result<()> {
        self.0.auth.unscript(HEALTH);
        self.is_seen(503)
    }

    fn end(&self, _: &[String]) -> Result<()> {
        let healthy = Script::Answer(answer("200 OK", ""));
        self.0.auth.script(HEALTH, healthy);
        self.is_seen(200)
    }
}

impl Unhealthy<'_> {
    /// Waits until the worker knows the result of the health checks, which is some time after Envoy's
    /// statistics show it.
    fn is_seen(&self, status: u16) -> Result<()> {
        let key = known_key()?;
        let (line, id) = (format!("x-api-key: {key}"), key_id(&key)?);
        let lines = [&*line, &format!("{ENTITLED}: {id}")];
        wait_until(|| {
            let response = self.0.send(CHECKED.uncached, &lines)?.response()?;
            Ok(response.status == status)
        })
    }
}

fn healthy_hosts(range: &Range, cluster: &str, expected: u64) -> Result<()> {
    let gauge = format!("cluster.{cluster}.membership_healthy");
    range.envoy.wait_for_counter(&gauge, expected)
}

/// Envoy's panic mode: if all hosts fail, it uses them anyway.
fn panicking(range: &Range, name: &str) -> Result<()> {
    range.case(name, Steady::on(STEADY)?, |counters| {
        range.auth.unscript(HEALTH);
        healthy_hosts(range, "panicking", 0)?;
        for _ in 0..10 {
            known(range, counters, "panicking", Some(200))?;
        }
        Ok(())
    })
}

/// A cluster that no lookup can ever reach.
fn unreachable(range: &Range, name: &str, listener: &'static str) -> Result<()> {
    range.case(name, Steady::on(STEADY)?, |counters| {
        let key = known_key()?;
        let line = format!("x-api-key: {key}");
        let at_once = (0..8)
            .map(|_| range.send(listener, &[&line]))
            .collect::<Result<Vec<_>>>()?;
        for sent in at_once {
            let response = Range::received(counters, "at once", sent)?;
            Expect::Internal.check(&response).context("at once")?;
        }
        for _ in 0..5 {
            let response = range.get(counters, listener, "one after the other", &[&line])?;
            let checked = Expect::Internal.check(&response);
            checked.context("one after the other")?;
        }
        let malformed = range.get(counters, listener, "malformed", &["x-api-key: aw_short"])?;
        Expect::Refused("api_key_invalid").check(&malformed)?;
        let lookups = range.auth.lookups_about(&hash(&key)?);
        ensure!(lookups == 0, "{lookups} lookups");
        Ok(())
    })
}

/// Slow lookups take all places.
fn narrow(range: &Range, name: &str) -> Result<()> {
    range.case(name, Steady::on(STEADY)?, |counters| {
        let permits = Arc::new(Semaphore::new(0));
        let mut slow = Vec::new();
        for _ in 0..PLACES {
            let key = known_key()?;
            let (hash, id) = (hash(&key)?, key_id(&key)?);
            let good = answer("200 OK", &record(&hash));
            range
                .auth
                .script(&hash, Script::AnswerWhen(Arc::clone(&permits), good));
            let lines = [format!("x-api-key: {key}"), format!("{ENTITLED}: {id}")];
            // The second request waits for the first one's lookup and takes no place.
            for _ in 0..2 {
                slow.push(range.send("narrow", &lines.each_ref().map(String::as_str))?);
            }
            wait_until(|| Ok(range.auth.lookups_about(&hash) == 1))?;
        }
        let waiting = u64::try_from(slow.len())?;
        let active = "http.narrow.downstream_rq_active";
        range.envoy.wait_for_counter(active, waiting)?;
        let key = known_key()?;
        for _ in 0..10 {
            let line = format!("x-api-key: {key}");
            let response = range.get(counters, "narrow", "without a place", &[&line])?;
            Expect::Internal.check(&response)?;
        }
        let lookups = range.auth.lookups_about(&hash(&key)?);
        ensure!(
            lookups == 0,
            "{lookups} lookups despite the open circuit breaker"
        );
        permits.add_permits(PLACES);
        for sent in slow {
            let response = Range::received(counters, "in a place", sent)?;
            ensure!(response.status == 200, "in a place: {response:?}");
        }
        for _ in 0..10 {
            known(range, counters, "narrow", Some(200))?;
        }
        Ok(())
    })
}
