//! Where faults are tried: one Envoy, an auth cluster that can misbehave, an upstream that knows
//! who may reach it, and steady traffic of all kinds while a case runs.

use std::fmt::Write as _;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, anyhow, ensure};
use keystile_e2e::anyone::Anyone;
use keystile_e2e::auth::Auth;
use keystile_e2e::client::{self, Response, Sent};
use keystile_e2e::envoy::{self, Envoy, Listener, cluster, http2_cluster};
use keystile_e2e::gate::{Counts, ENTITLED, Gate};
use keystile_e2e::keys::{hash, made_up_key};
use keystile_e2e::process::wait_until;
use keystile_e2e::serving::Serving;
use keystile_e2e::tally::{End, Tally};
use keystile_e2e::traffic::{Request, Traffic};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A path that every known key may call.
pub(crate) const PATH: &str = "/v1/numerology/x";

/// Requests a second of each kind of steady traffic.
const RATE: u32 = 100;

/// How many of each kind are answered before a case begins, and more after it.
const AROUND: usize = 10;

/// A change of Envoy's configuration.
pub(crate) type Edit = Box<dyn FnOnce(&mut Value) -> Result<()>>;

/// What ranges differ in.
pub(crate) struct Setup {
    pub(crate) workers: u8,
    pub(crate) listeners: Vec<Listener>,
    /// Clusters beside `auth` and `upstream`.
    pub(crate) clusters: Vec<Value>,
    /// What is to be changed of Envoy's whole configuration.
    pub(crate) edit: Edit,
    /// Further options for Envoy.
    pub(crate) options: Vec<&'static str>,
    /// Servers for `clusters`, that live as long as the range.
    pub(crate) servers: Vec<Serving>,
    /// Where these servers run; one of the range's own where there are none.
    pub(crate) runtime: Option<Runtime>,
    /// What counts for the cases, also where `clusters` has its own upstream.
    pub(crate) gate: Gate,
    /// Further clusters with their servers, which count at the range's own gate.
    pub(crate) upstreams: fn(&Runtime, &Gate) -> Result<Vec<Upstream>>,
    /// Whether the auth cluster keeps its connections open.
    pub(crate) keep_alive: bool,
}

/// A cluster, and who serves it.
pub(crate) type Upstream = (Value, Serving);

impl Setup {
    /// Two workers.
    pub(crate) fn new(listeners: Vec<Listener>) -> Self {
        Self {
            workers: 2,
            listeners,
            clusters: Vec::new(),
            edit: Box::new(|_| Ok(())),
            options: Vec::new(),
            servers: Vec::new(),
            runtime: None,
            gate: Gate::default(),
            upstreams: |_, _| Ok(Vec::new()),
            keep_alive: false,
        }
    }
}

/// A plugin configuration that asks the cluster `auth`, with these objects over it.
pub(crate) fn plugin(more: &Value) -> Value {
    // Far from the default of 250 ms: a machine under load must not decide a case.
    let mut plugin = json!({"lookup": {"cluster": "auth", "timeout": "10s"}});
    for (name, value) in more.as_object().into_iter().flatten() {
        plugin[name] = value.clone();
    }
    plugin
}

/// Without these every request of a known key is served from the cache.
pub(crate) fn uncached() -> Value {
    json!({"allow_ttl": "0s", "not_found_ttl": "0s", "revoked_ttl": "0s"})
}

pub(crate) struct Range {
    pub(crate) envoy: Envoy,
    /// Answers as [`Anyone`] does, but for what has a script.
    pub(crate) auth: Auth,
    /// The auth cluster, for outages.
    pub(crate) serving: Serving,
    pub(crate) gate: Gate,
    pub(crate) runtime: Runtime,
    _folder: TempDir,
    _servers: Vec<Serving>,
}

impl Range {
    pub(crate) fn start(setup: Setup) -> Result<Self> {
        let runtime = setup.runtime.map_or_else(Runtime::new, Ok)?;
        let (auth, gate) = (Auth::default(), setup.gate);
        let (anyone, serving, upstream) = runtime.block_on(async {
            let anyone = Anyone::new(is_known).serve().await?;
            let serving = if setup.keep_alive {
                auth.serve_kept(anyone.address).await?
            } else {
                auth.serve(anyone.address).await?
            };
            anyhow::Ok((anyone, serving, gate.serve().await?))
        })?;
        let (mut clusters, mut servers) = (setup.clusters, setup.servers);
        for (cluster, serving) in (setup.upstreams)(&runtime, &gate)? {
            clusters.push(cluster);
            servers.push(serving);
        }
        // HTTP/2, as it carries trailers; and more requests at once than a cluster takes by itself.
        for (name, cluster) in [
            ("auth", cluster("auth", Some(serving.address))),
            ("upstream", http2_cluster("upstream", upstream.address)),
        ] {
            // Where the setup has its own, that one counts.
            if clusters.iter().all(|other| other["name"] != name) {
                let mut cluster = cluster;
                // Many at once, on a machine that may be busy. Where one connection is not there in
                // time, Envoy gives up all requests that wait for one.
                cluster["connect_timeout"] = json!("10s");
                cluster["circuit_breakers"] = json!({"thresholds": [
                    {"max_connections": 10_000, "max_requests": 10_000, "max_pending_requests": 10_000},
                ]});
                clusters.push(cluster);
            }
        }
        let mut config = envoy::config(&setup.listeners, &clusters);
        (setup.edit)(&mut config)?;
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("envoy.json");
        std::fs::write(&file, config.to_string())?;
        let workers = setup.workers.to_string();
        let mut options = vec!["--concurrency", &workers, "--log-level", "warning"];
        options.extend(setup.options);
        let envoy = Envoy::start(&file, folder.path(), &options, false)?;
        servers.extend([anyone, upstream]);
        Ok(Self {
            envoy,
            auth,
            serving,
            gate,
            runtime,
            _folder: folder,
            _servers: servers,
        })
    }

    /// Runs a case while steady traffic goes on, prints its counters and holds against them what
    /// holds for all cases. No VM may die in it.
    pub(crate) fn case(
        &self,
        name: &str,
        steady: Steady,
        run: impl FnOnce(&Tally) -> Result<()>,
    ) -> Result<()> {
        let outcome = self.case_where_vms_die(name, steady, run);
        // Where one has died, that is why.
        self.envoy.no_vm_died()?;
        // As all keys of the cases begin.
        ensure!(
            !self.envoy.written().contains("aw_0"),
            "a key is in Envoy's log"
        );
        outcome
    }

    /// The same for a case that is about VMs that die.
    pub(crate) fn case_where_vms_die(
        &self,
        name: &str,
        steady: Steady,
        run: impl FnOnce(&Tally) -> Result<()>,
    ) -> Result<()> {
        let tally = Tally::default();
        let before = self.gate.counts();
        let traffics = steady
            .kinds
            .iter()
            .map(|kind| {
                let to = self.envoy.listener(kind.listener)?;
                let next = kind.next.clone();
                Traffic::of(&self.runtime, to, RATE, move || next(to))
            })
            .collect::<Result<Vec<_>>>()?;
        let some_more = || {
            for traffic in &traffics {
                let before = traffic.seen()?.len();
                wait_until(|| Ok(traffic.seen()?.len() >= before + AROUND))?;
            }
            anyhow::Ok(())
        };
        let outcome = some_more()
            .and_then(|()| run(&tally))
            .and_then(|()| some_more());
        for (kind, traffic) in steady.kinds.iter().zip(traffics) {
            tally.seen(kind.name, &traffic.finish(&self.runtime)?);
        }
        let after = self.gate.counts();
        let here = Counts {
            arrived: after.arrived - before.arrived,
            leaked: after.leaked - before.leaked,
            leaks: after.leaks,
        };
        let summary = tally.summary(&here);
        println!("{name}: {summary}");
        outcome.with_context(|| format!("{summary}{}", self.log()))?;
        summary.check()?;
        for kind in steady.kinds {
            let ends = tally.ends(kind.name);
            ensure!(!ends.is_empty(), "no {} was sent", kind.name);
            ensure!(
                ends.keys().all(|end| kind.expected.contains(end)),
                "{}: expected {:?}: {summary}{}",
                kind.name,
                kind.expected,
                self.log()
            );
        }
        Ok(())
    }

    /// One request, counted as one of this kind.
    pub(crate) fn get(
        &self,
        tally: &Tally,
        listener: &str,
        kind: &str,
        lines: &[&str],
    ) -> Result<Response> {
        Self::received(tally, kind, self.send(listener, lines)?)
    }

    /// Sends a request, to wait for its answer later.
    pub(crate) fn send(&self, listener: &str, lines: &[&str]) -> Result<Sent> {
        let head = client::head("GET", PATH, lines.iter().copied());
        client::send(self.envoy.listener(listener)?, head.as_bytes())
    }

    /// The answer to a request, counted as one of this kind.
    pub(crate) fn received(tally: &Tally, kind: &str, sent: Sent) -> Result<Response> {
        let response = sent.response();
        tally.count(kind, end_of(&response));
        response
    }

    /// How a request without a key is challenged, by which configurations are told apart.
    pub(crate) fn challenge(&self, tally: &Tally, listener: &str) -> Result<String> {
        let response = self.get(tally, listener, "no key, for its realm", &[])?;
        ensure!(response.status == 401, "without a key: {response:?}");
        let challenge = response.header("www-authenticate")?.unwrap_or_default();
        Ok(challenge.to_owned())
    }

    /// What the filter said of it all, the last lines.
    fn log(&self) -> String {
        let log = self.envoy.written();
        // Access logs are JSON.
        let told = |line: &&str| line.contains("keystile") && !line.starts_with('{');
        let lines: Vec<_> = log.lines().filter(told).collect();
        lines
            .iter()
            .skip(lines.len().saturating_sub(20))
            .fold(String::new(), |mut text, line| {
                // Writing to a string cannot fail.
                let _ = write!(text, "\n{line}");
                text
            })
    }
}

/// How a request ended for the client that sent it.
pub(crate) fn end_of(response: &Result<Response>) -> End {
    match response {
        Ok(response) => End::Answered(response.status),
        // The client's own deadline is that of all requests.
        Err(problem) if is_timeout(problem) => End::Hung,
        Err(_) => End::Reset,
    }
}

fn is_timeout(problem: &anyhow::Error) -> bool {
    let cause = problem.root_cause().downcast_ref::<io::Error>();
    cause.is_some_and(|cause| matches!(cause.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

/// What goes on beside a case.
#[derive(Default)]
pub(crate) struct Steady {
    kinds: Vec<Kind>,
}

/// Requests of a kind, and how they may end.
struct Kind {
    name: &'static str,
    listener: &'static str,
    next: Arc<dyn Fn(SocketAddr) -> Request + Send + Sync>,
    expected: Vec<End>,
}

impl Steady {
    /// All kinds on a listener: a known key gets in, and nobody else does.
    pub(crate) fn on(listener: &'static str) -> Result<Self> {
        let known = known_key()?;
        let id = key_id(&known)?;
        let refused = [End::Answered(401)];
        Ok(Self::default()
            .with(listener, "a known key", &[End::Answered(200)], move |to| {
                request(to, &[("x-api-key", &known), (ENTITLED, &id)])
            })
            .with(listener, "no key, but an identity", &refused, |to| {
                request(to, &[("x-keystile-key-id", "key_1"), (ENTITLED, "key_1")])
            })
            .with(listener, "an unknown key", &refused, |to| {
                request(to, &[("x-api-key", &unknown_key())])
            })
            .with(listener, "a misshapen key", &refused, |to| {
                request(to, &[("authorization", "Bearer aw_short")])
            }))
    }

    /// The same, where a kind of requests may end otherwise.
    pub(crate) fn but(mut self, name: &str, expected: &[End]) -> Self {
        for kind in &mut self.kinds {
            if kind.name == name {
                kind.expected = expected.to_vec();
            }
        }
        self
    }

    /// Without a kind of requests.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.kinds.retain(|kind| kind.name != name);
        self
    }

    /// With another kind of requests beside.
    pub(crate) fn with(
        mut self,
        listener: &'static str,
        name: &'static str,
        expected: &[End],
        next: impl Fn(SocketAddr) -> Request + Send + Sync + 'static,
    ) -> Self {
        self.kinds.push(Kind {
            name,
            listener,
            next: Arc::new(next),
            expected: expected.to_vec(),
        });
        self
    }
}

/// `GET` with these headers, for steady traffic.
pub(crate) fn request(to: SocketAddr, headers: &[(&str, &str)]) -> Request {
    let mut request = Request::default();
    // What is not valid here would leave the header out, and the case would tell.
    if let Ok(uri) = format!("http://{to}{PATH}").parse() {
        *request.uri_mut() = uri;
    }
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (
            hyper::header::HeaderName::from_bytes(name.as_bytes()),
            hyper::header::HeaderValue::from_str(value),
        ) {
            request.headers_mut().append(name, value);
        }
    }
    request
}

/// The auth cluster of a range has records for about half of all keys.
pub(crate) fn is_known(hash: &str) -> bool {
    hash.starts_with(|digit: char| digit < '8')
}

/// A new key that the auth cluster knows.
pub(crate) fn known_key() -> Result<String> {
    loop {
        let key = made_up_key();
        if is_known(&hash(&key)?) {
            return Ok(key);
        }
    }
}

/// A new key that it does not know.
pub(crate) fn unknown_key() -> String {
    loop {
        let key = made_up_key();
        // A key can always be hashed.
        if hash(&key).is_ok_and(|hash| !is_known(&hash)) {
            return key;
        }
    }
}

/// The id in the record of a known key, as [`keystile_e2e::anyone::record`] makes it.
pub(crate) fn key_id(key: &str) -> Result<String> {
    let record: Value = serde_json::from_str(&keystile_e2e::anyone::record(&hash(key)?))?;
    let id = record["key_id"]
        .as_str()
        .context("a record without an id")?;
    Ok(id.to_owned())
}

/// A range that is started when the first case needs it, and shared by the others; or a range with
/// more around it.
pub(crate) struct OnDemand<T = Range> {
    start: Box<dyn Fn() -> Result<T> + Send + Sync>,
    range: OnceLock<Result<T, String>>,
}

impl OnDemand {
    pub(crate) fn new(setup: impl Fn() -> Result<Setup> + Send + Sync + 'static) -> Arc<Self> {
        Self::of(move || setup().and_then(Range::start))
    }
}

impl<T: Send + Sync + 'static> OnDemand<T> {
    /// What is started like this.
    pub(crate) fn of(start: impl Fn() -> Result<T> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            start: Box::new(start),
            range: OnceLock::new(),
        })
    }

    /// A case on this range, as a test of its own.
    pub(crate) fn trial(
        self: &Arc<Self>,
        name: &str,
        run: impl FnOnce(&T, &str) -> Result<()> + Send + 'static,
    ) -> Trial {
        let (range, own) = (Arc::clone(self), name.to_owned());
        trial(name, move || run(range.get()?, &own))
    }

    /// Runs a case on this range, now.
    pub(crate) fn run(&self, name: &str, run: impl FnOnce(&T, &str) -> Result<()>) -> Result<()> {
        run(self.get()?, name)
    }

    fn get(&self) -> Result<&T> {
        self.range
            .get_or_init(|| (self.start)().map_err(|problem| format!("{problem:#}")))
            .as_ref()
            .map_err(|problem| anyhow!("{problem}"))
    }
}

/// A test.
pub(crate) fn trial(name: &str, run: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    Trial::test(name, move || {
        run().map_err(|problem| Failed::from(format!("{problem:#}")))
    })
}
