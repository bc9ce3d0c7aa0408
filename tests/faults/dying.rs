//! A VM that dies at each failpoint, while a thousand requests wait for their lookups. All
//! of them end and none gets in. Then the filter comes back or refuses everything,
//! depending on its `failure_policy`.

mod statistics;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use keystile_e2e::client::{self, Sent};
use keystile_e2e::counters::{Counters, End};
use keystile_e2e::envoy::{self, Launch, Listener};
use keystile_e2e::keys::{hash, made_up_key};
use keystile_e2e::process::wait_until;
use keystile_e2e::recording_upstream::ENTITLED;
use keystile_e2e::root;
use keystile_e2e::scripted_auth::{Script, answer};
use keystile_e2e::stack::Setup;
use keystile_e2e::traffic::{connect, status};
use keystile_e2e::trials::trial;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::range::{self, PATH, Range, Steady, end_of, key_id, known_key, plugin, request};

/// The request header that names the point at which the VM dies: see `src/wasm/failpoints.rs`.
pub(crate) const DIE: &str = "x-test-failpoint";

/// Requests that wait for their lookups when the VM dies, two for each key. Half of them wait for a
/// lookup that another request started.
const PAUSED: usize = 1000;

/// Connections that these requests share.
const CONNECTIONS: usize = 20;

/// Requests whose bodies are still being sent when the VM dies.
const BODIES: usize = 50;

/// The `stream_idle_timeout`, which ends requests that get no answer. It is
/// shorter than in `envoy/envoy.yaml`.
pub(crate) const IDLE: Duration = Duration::from_secs(6);

/// How long a filter may be away before it comes back. On an idle machine it takes a second or two; a
/// machine under load must not decide a case.
const BACK: Duration = Duration::from_secs(60);

/// How long [`stays_closed`] checks that everything is refused.
const CLOSED: Duration = Duration::from_secs(3);

// Kinds of requests in the counters.
const PAUSED_KIND: &str = "one that waited";
const BODY_KIND: &str = "one that waited, with a body under way";
const KILLER_KIND: &str = "the one that kills";

/// Points at which a VM dies, each with the module's export in which that happens.
const POINTS: &[(&str, &str)] = &[
    ("keystile_on_context_create", "proxy_on_context_create"),
    ("keystile_on_request_headers", "proxy_on_request_headers"),
    ("keystile_on_request_trailers", "proxy_on_request_trailers"),
    (LOOKUP_ANSWERED, "proxy_on_http_call_response"),
    (POLL_ANSWERED, "proxy_on_http_call_response"),
    ("proxy_continue_stream", "proxy_on_http_call_response"),
    ("keystile_on_tick", "proxy_on_tick"),
    ("keystile_on_delete", "proxy_on_delete"),
];

const LOOKUP_ANSWERED: &str = "keystile_on_http_call_response /v1/key-hashes/";
const POLL_ANSWERED: &str = "keystile_on_http_call_response /v1/changes";

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Policy {
    FailReload,
    FailClosed,
}
use Policy::{FailClosed, FailReload};

impl Policy {
    /// Returns its name in Envoy's configuration.
    pub(crate) fn name(self) -> &'static str {
        match self {
            FailReload => "FAIL_RELOAD",
            FailClosed => "FAIL_CLOSED",
        }
    }
}

/// A case in which a VM dies.
struct Death {
    /// The point at which it dies.
    point: &'static str,
    /// The module's export in which it dies.
    export: &'static str,
    policy: Policy,
    workers: u32,
    /// The idle time after which Envoy ends a request.
    idle: Duration,
    /// How many requests have bodies that are still being sent.
    bodies: usize,
}

keystile_e2e::suite!(Together, trials);

fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial(
            "dying: the shipped module has nothing to die on",
            the_shipped_module_has_nothing_to_die_on,
        ),
        long("dying: with the shipped stream_idle_timeout", |name| {
            let death = Death {
                point: "keystile_on_tick",
                export: "proxy_on_tick",
                policy: FailReload,
                workers: 2,
                idle: shipped_idle()?,
                // Their client would give up before this timeout.
                bodies: 0,
            };
            death.happens(name)
        }),
    ];
    for (policy, workers) in [(FailReload, 1), (FailReload, 2), (FailClosed, 1)] {
        for (point, export) in POINTS {
            let name = format!("dying: {point}, {}, {workers} worker(s)", policy.name());
            let death = Death {
                point,
                export,
                policy,
                workers,
                idle: IDLE,
                bodies: BODIES,
            };
            let quick = matches!(
                (*point, policy, workers),
                ("keystile_on_request_headers", FailReload, 2)
                    | ("keystile_on_tick", FailClosed, 1)
            );
            trials.push(long(&name, move |name| death.happens(name)).with_ignored_flag(!quick));
        }
    }
    trials
}

/// Returns a test that is ignored by default.
fn long(name: &str, run: impl FnOnce(&str) -> Result<()> + Send + 'static) -> Trial {
    let own = name.to_owned();
    trial(name, move || run(&own)).with_ignored_flag(true)
}

/// Returns the `stream_idle_timeout` of `envoy/envoy.yaml`.
fn shipped_idle() -> Result<Duration> {
    let config = std::fs::read_to_string(root().join("envoy/envoy.yaml"))?;
    let mut values = config.lines().filter_map(|line| {
        line.trim()
            .strip_prefix("stream_idle_timeout: ")?
            .strip_suffix('s')
    });
    let seconds = values.next().context("no stream_idle_timeout")?;
    Ok(Duration::from_secs(seconds.parse()?))
}

fn the_shipped_module_has_nothing_to_die_on() -> Result<()> {
    let has = |module| {
        let bytes = std::fs::read(module)?;
        anyhow::Ok(bytes.windows(DIE.len()).any(|part| part == DIE.as_bytes()))
    };
    ensure!(
        has(module())?,
        "the search does not find the failpoint header in the test module"
    );
    ensure!(!has(envoy::module())?, "{DIE} is in the shipped module");
    Ok(())
}

/// Returns the path of the module with failpoints.
pub(crate) fn module() -> std::path::PathBuf {
    root().join("target/faults/keystile-failpoints.wasm")
}

fn setup(policy: Policy, workers: u32, idle: Duration) -> Result<Setup> {
    ensure!(
        module().exists(),
        "{} is missing; run `make test-faults`",
        module().display()
    );
    let mut plugin = plugin(&json!({
        "feed": {"path": "/v1/changes?after={cursor}", "interval": "200ms"},
    }));
    // Longer than any case, so that no lookup times out.
    plugin["lookup"]["timeout"] = json!("60s");
    let listeners = vec![
        Listener::new("dying", &plugin),
        Listener {
            allow_on_headers_stop_iteration: true,
            ..Listener::new("bodies", &plugin)
        },
    ];
    Ok(Setup {
        launch: Launch::workers(workers),
        edit: Box::new(move |config| edit(config, policy, idle)),
        ..range::setup(listeners)
    })
}

/// Returns steady traffic of all kinds, which may meet a worker without a VM.
fn steady() -> Result<Steady> {
    let refused = [401, 503].map(End::Answered);
    Ok(Steady::on("dying")?
        .but("a known key", &[200, 503].map(End::Answered))
        .but("no key, but an identity", &refused)
        .but("an unknown key", &refused)
        .but("a malformed key", &refused))
}

/// Returns a duration as it is written in Envoy's configuration.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs())
}

fn edit(config: &mut Value, policy: Policy, idle: Duration) -> Result<()> {
    for (_, http) in envoy::each_http_settings(config) {
        http["stream_idle_timeout"] = json!(seconds(idle));
        let wasm = &mut http["http_filters"][0]["typed_config"]["config"];
        wasm["failure_policy"] = json!(policy.name());
        wasm["vm_config"]["code"]["local"]["filename"] = json!(module());
    }
    Ok(())
}

impl Death {
    fn happens(&self, name: &str) -> Result<()> {
        let Self { point, export, .. } = *self;
        let range = Range::start(setup(self.policy, self.workers, self.idle)?)?;
        let page = json!({"cursor": "c1", "changes": [], "reset": false}).to_string();
        let page = Script::Answer(answer("200 OK", &page));
        range.auth.script("/v1/changes", page);
        range.case_where_vms_die(name, self.steady()?, |counters| {
            let permits = Arc::new(Semaphore::new(0));
            let paused = Paused::new(self, &range, counters, &permits)?;
            range.envoy.no_vm_died().context("before a VM was to die")?;
            let early = counters.ends(PAUSED_KIND);
            ensure!(early.is_empty(), "ended before the VM died: {early:?}");
            let died = Instant::now();
            let killer = die(&range, point)?;
            let proof = format!("Function: {export} failed");
            wait_until(|| Ok(range.envoy.written().contains(&proof)))
                .with_context(|| format!("the VM does not die in {export}"))?;
            // Answers the lookups of a worker whose VM has not died.
            permits.add_permits(PAUSED + BODIES);
            if self.policy == FailReload {
                is_back(&range, counters, name, died)?;
            }
            paused.end(&range, counters)?;
            if let Some(killer) = killer {
                counters.count(KILLER_KIND, end_of(&killer.response()));
            }
            let ended_by_timeout = range
                .envoy
                .counter("http.dying.downstream_rq_idle_timeout")?;
            println!(
                "{name}: after {:.1?}, those that waited had ended: {:?}, those with a body {:?}, \
                 {ended_by_timeout} of all by stream_idle_timeout",
                died.elapsed(),
                counters.ends(PAUSED_KIND),
                counters.ends(BODY_KIND)
            );
            if self.policy == FailClosed {
                stays_closed(&range, counters)?;
            }
            let ends = counters.ends(PAUSED_KIND);
            // Requests on the other worker get their verdict: the key is not found.
            let expected = [401, 503].map(End::Answered);
            ensure!(
                ends.values().sum::<u64>() == PAUSED as u64
                    && ends.keys().all(|end| expected.contains(end))
                    && ends.contains_key(&End::Answered(503)),
                "{ends:?}"
            );
            Ok(())
        })
    }

    /// Returns the steady traffic of the case.
    fn steady(&self) -> Result<Steady> {
        let steady = steady()?;
        // Some of these requests wait when the VM dies, and for longer than their client does.
        Ok(if self.idle > IDLE {
            steady.without("an unknown key")
        } else {
            steady
        })
    }
}

/// Requests that wait for their lookups.
struct Paused {
    waiting: JoinSet<()>,
    bodies: Vec<Sent>,
}

impl Paused {
    /// Sends the requests. Each lookup is answered with a 404 once there is a permit for it.
    fn new(
        death: &Death,
        range: &Range,
        counters: &Counters,
        permits: &Arc<Semaphore>,
    ) -> Result<Self> {
        let deadline = death.idle + Duration::from_secs(15);
        let key = || {
            let key = made_up_key();
            let when = Script::AnswerWhen(Arc::clone(permits), answer("404 Not Found", ""));
            range.auth.script(&hash(&key)?, when);
            anyhow::Ok(key)
        };
        let to = range.envoy.listener("dying")?;
        let mut waiting = JoinSet::new();
        range.runtime.block_on(async {
            let mut connections = Vec::new();
            for _ in 0..CONNECTIONS {
                connections.push(connect(to).await?);
            }
            for connection in connections.iter().cycle().take(PAUSED / 2) {
                let key = key()?;
                for _ in 0..2 {
                    let (mut connection, counters) = (connection.clone(), counters.clone());
                    let request = request(to, &[("x-api-key", &key)]);
                    waiting.spawn(async move {
                        let answer = status(&mut connection, request);
                        counters.watch_for(deadline, PAUSED_KIND, answer).await;
                    });
                }
            }
            anyhow::Ok(())
        })?;
        let to = range.envoy.listener("bodies")?;
        let mut bodies = Vec::new();
        for _ in 0..death.bodies {
            let line = format!("x-api-key: {}", key()?);
            let lines = [line.as_str(), "transfer-encoding: chunked"];
            let head = client::head("POST", PATH, lines);
            bodies.push(client::send(
                to,
                format!("{head}5\r\nfirst\r\n").as_bytes(),
            )?);
        }
        let active = |name: &str, number: usize| {
            wait_until(|| Ok(range.envoy.counter(name)? >= number as u64)).context(name.to_owned())
        };
        active("http.dying.downstream_rq_active", PAUSED)?;
        active("http.bodies.downstream_rq_active", death.bodies)?;
        active("cluster.auth.upstream_rq_active", PAUSED / 2 + death.bodies)?;
        Ok(Self { waiting, bodies })
    }

    /// Sends the rest of the bodies, possibly to a dead VM, and waits until all requests have ended.
    fn end(mut self, range: &Range, counters: &Counters) -> Result<()> {
        for body in &mut self.bodies {
            // If the other side is gone, reading the answer shows it.
            body.send(b"4\r\nlast\r\n0\r\n\r\n").ok();
        }
        for body in self.bodies {
            counters.count(BODY_KIND, end_of(&body.response()));
        }
        range.runtime.block_on(async {
            while let Some(done) = self.waiting.join_next().await {
                done?;
            }
            Ok(())
        })
    }
}

/// Makes a VM die at a point. Returns the request that did it, which may wait as long as the others.
fn die(range: &Range, point: &str) -> Result<Option<Sent>> {
    let to = range.envoy.listener("dying")?;
    let die = format!("{DIE}: {point}");
    let known = known_key()?;
    let (line, entitled) = (
        format!("x-api-key: {known}"),
        format!("{ENTITLED}: {}", key_id(&known)?),
    );
    let with_key = [die.as_str(), &line, &entitled];
    let send = |lines: &[&str], rest: &str| {
        let head = client::head("POST", PATH, lines.iter().copied());
        client::send(to, format!("{head}{rest}").as_bytes()).map(Some)
    };
    match point {
        "keystile_on_request_trailers" => send(
            &[&with_key[..], &["transfer-encoding: chunked"]].concat(),
            "4\r\nbody\r\n0\r\nx-trailer: x\r\n\r\n",
        ),
        // Points that the filter reaches by itself, or for any request.
        "keystile_on_tick"
        | POLL_ANSWERED
        | "keystile_on_delete"
        | "keystile_on_context_create" => send(&[&die, "content-length: 0"], ""),
        _ => send(&[&with_key[..], &["content-length: 0"]].concat(), ""),
    }
}

/// Waits until a known key gets in again on the listener `dying`. Requests without a key never may.
pub(crate) fn is_back(
    range: &Range,
    counters: &Counters,
    name: &str,
    since: Instant,
) -> Result<()> {
    /// On separate connections, so that each worker gets some.
    const IN_A_ROW: usize = 20;

    let known = known_key()?;
    let (line, entitled) = (
        format!("x-api-key: {known}"),
        format!("{ENTITLED}: {}", key_id(&known)?),
    );
    let began = Instant::now();
    let mut row = 0;
    while row < IN_A_ROW {
        let with = range.get(counters, "dying", "a known key, later", &[&line, &entitled])?;
        let without = range.get(counters, "dying", "no key, later", &[])?;
        row = match (with.status, without.status) {
            (200, 401) => row + 1,
            // This worker has no VM yet.
            (200 | 503, 401 | 503) => 0,
            _ => bail!("{with:?}, {without:?}"),
        };
        ensure!(began.elapsed() < BACK, "not back: {with:?}, {without:?}");
    }
    println!("{name}: back after {:.1?}", since.elapsed());
    Ok(())
}

/// Checks for a while that the listener `dying` refuses everything.
pub(crate) fn stays_closed(range: &Range, counters: &Counters) -> Result<()> {
    let until = Instant::now() + CLOSED;
    let known = format!("x-api-key: {}", known_key()?);
    while Instant::now() < until {
        for (kind, lines) in [
            ("a known key, later", [known.as_str()].as_slice()),
            ("no key, later", &[]),
        ] {
            let response = range.get(counters, "dying", kind, lines)?;
            ensure!(response.status == 503, "{kind}: {response:?}");
        }
    }
    Ok(())
}
