//! The range on which faults are tried: one Envoy, an auth cluster that can misbehave, an upstream
//! that knows which requests may reach it, and steady traffic of all kinds while a case runs.

use std::fmt::Write as _;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result, anyhow, ensure};
use keystile_e2e::client::{self, Response, Sent};
use keystile_e2e::counters::{Counters, End};
use keystile_e2e::envoy::{Launch, Listener};
use keystile_e2e::keys::{hash, made_up_key};
use keystile_e2e::process::wait_until;
use keystile_e2e::recording_upstream::{Counts, ENTITLED};
use keystile_e2e::rule_auth::RuleAuth;
use keystile_e2e::scripted_auth::Fallback;
use keystile_e2e::stack::{Setup, Stack};
use keystile_e2e::traffic::{Request, Traffic};
use keystile_e2e::trials::trial;
use libtest_mimic::Trial;
use serde_json::{Value, json};

/// A path that every known key may call.
pub(crate) const PATH: &str = "/v1/numerology/x";

/// Requests per second of each kind of steady traffic.
const RATE: u32 = 100;

/// How many requests of each kind are answered before a case begins, and again after it.
const AROUND: usize = 10;

/// Returns settings with two workers and these listeners, in which [`is_known`] answers lookups without
/// a script.
pub(crate) fn setup(listeners: Vec<Listener>) -> Setup {
    Setup {
        launch: Launch::workers(2),
        fallback: Fallback::Rule(RuleAuth::new(is_known)),
        ..Setup::new(listeners)
    }
}

/// Returns a plugin configuration that sends lookups to the cluster `auth`. The fields of `more`
/// override the others.
pub(crate) fn plugin(more: &Value) -> Value {
    // The timeout is far above the default of 250 ms: a machine under load must not decide a case. As
    // many lookups may be in flight as the circuit breaker allows.
    let mut plugin =
        json!({"lookup": {"cluster": "auth", "timeout": "10s", "max_concurrent": 4096}});
    for (name, value) in more.as_object().into_iter().flatten() {
        plugin[name] = value.clone();
    }
    plugin
}

/// Returns cache settings that turn caching off. By default, further requests with a known key are
/// served from the cache.
pub(crate) fn uncached() -> Value {
    json!({"allow_ttl": "0s", "not_found_ttl": "0s", "revoked_ttl": "0s"})
}

pub(crate) struct Range(Stack);

impl Deref for Range {
    type Target = Stack;

    fn deref(&self) -> &Stack {
        &self.0
    }
}

impl DerefMut for Range {
    fn deref_mut(&mut self) -> &mut Stack {
        &mut self.0
    }
}

impl Range {
    pub(crate) fn start(setup: Setup) -> Result<Self> {
        Stack::start(setup).map(Self)
    }

    /// Runs a case during steady traffic, prints its counters, and checks what must hold for every
    /// case. No VM may die.
    pub(crate) fn case(
        &self,
        name: &str,
        steady: Steady,
        run: impl FnOnce(&Counters) -> Result<()>,
    ) -> Result<()> {
        let outcome = self.case_where_vms_die(name, steady, run);
        // If a VM has died, that explains any other failure.
        self.envoy.no_vm_died()?;
        // All keys of the cases begin like this.
        ensure!(
            !self.envoy.written().contains("aw_0"),
            "a key is in Envoy's log"
        );
        outcome
    }

    /// The same for a case in which VMs may die.
    pub(crate) fn case_where_vms_die(
        &self,
        name: &str,
        steady: Steady,
        run: impl FnOnce(&Counters) -> Result<()>,
    ) -> Result<()> {
        let counters = Counters::default();
        let before = self.upstream.counts();
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
            .and_then(|()| run(&counters))
            .and_then(|()| some_more());
        for (kind, traffic) in steady.kinds.iter().zip(traffics) {
            counters.seen(kind.name, &traffic.finish(&self.runtime)?);
        }
        let after = self.upstream.counts();
        let here = Counts {
            arrived: after.arrived - before.arrived,
            leaked: after.leaked - before.leaked,
            leaks: after.leaks,
        };
        let summary = counters.summary(&here);
        println!("{name}: {summary}");
        outcome.with_context(|| format!("{summary}{}", self.log()))?;
        summary.check()?;
        for kind in steady.kinds {
            let ends = counters.ends(kind.name);
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

    /// Sends a request, counts it as one of this kind, and returns its answer.
    pub(crate) fn get(
        &self,
        counters: &Counters,
        listener: &str,
        kind: &str,
        lines: &[&str],
    ) -> Result<Response> {
        Self::received(counters, kind, self.send(listener, lines)?)
    }

    /// Sends a request whose answer is read later.
    pub(crate) fn send(&self, listener: &str, lines: &[&str]) -> Result<Sent> {
        let head = client::head("GET", PATH, lines.iter().copied());
        client::send(self.envoy.listener(listener)?, head.as_bytes())
    }

    /// Reads the answer to a request and counts it as one of this kind.
    pub(crate) fn received(counters: &Counters, kind: &str, sent: Sent) -> Result<Response> {
        let response = sent.response();
        counters.count(kind, end_of(&response));
        response
    }

    /// Returns the challenge to a request without a key, which tells configurations apart.
    pub(crate) fn challenge(&self, counters: &Counters, listener: &str) -> Result<String> {
        let response = self.get(counters, listener, "no key, for its realm", &[])?;
        ensure!(response.status == 401, "without a key: {response:?}");
        let challenge = response.header("www-authenticate")?.unwrap_or_default();
        Ok(challenge.to_owned())
    }

    /// Returns the last lines that the filter logged.
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

/// Returns how a request ended for its client.
pub(crate) fn end_of(response: &Result<Response>) -> End {
    match response {
        Ok(response) => End::Answered(response.status),
        // The client's own deadline is the same as that of all requests.
        Err(problem) if is_timeout(problem) => End::Hung,
        Err(_) => End::Reset,
    }
}

fn is_timeout(problem: &anyhow::Error) -> bool {
    let cause = problem.root_cause().downcast_ref::<io::Error>();
    cause.is_some_and(|cause| matches!(cause.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

/// The steady traffic during a case.
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
    /// Returns all kinds of requests on a listener: a known key gets in, and nothing else does.
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
            .with(listener, "a malformed key", &refused, |to| {
                request(to, &[("authorization", "Bearer aw_short")])
            }))
    }

    /// Changes how a kind of request may end.
    pub(crate) fn but(mut self, name: &str, expected: &[End]) -> Self {
        for kind in &mut self.kinds {
            if kind.name == name {
                kind.expected = expected.to_vec();
            }
        }
        self
    }

    /// Removes a kind of request.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.kinds.retain(|kind| kind.name != name);
        self
    }

    /// Adds a kind of request.
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

/// Returns a `GET` with these headers, for steady traffic.
pub(crate) fn request(to: SocketAddr, headers: &[(&str, &str)]) -> Request {
    let mut request = Request::default();
    // An invalid header would be left out, and the case would then fail.
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

/// Returns true if the auth cluster of a range knows a hash, which it does for about half of all keys.
pub(crate) fn is_known(hash: &str) -> bool {
    hash.starts_with(|digit: char| digit < '8')
}

/// Returns a new key that the auth cluster knows.
pub(crate) fn known_key() -> Result<String> {
    loop {
        let key = made_up_key();
        if is_known(&hash(&key)?) {
            return Ok(key);
        }
    }
}

/// Returns a new key that the auth cluster does not know.
pub(crate) fn unknown_key() -> String {
    loop {
        let key = made_up_key();
        // A key can always be hashed.
        if hash(&key).is_ok_and(|hash| !is_known(&hash)) {
            return key;
        }
    }
}

/// Returns the id in the record of a known key, as [`keystile_e2e::rule_auth::record`] makes it.
pub(crate) fn key_id(key: &str) -> Result<String> {
    let record: Value = serde_json::from_str(&keystile_e2e::rule_auth::record(&hash(key)?))?;
    let id = record["key_id"]
        .as_str()
        .context("a record without an id")?;
    Ok(id.to_owned())
}

/// A range, or a value with a range in it, that is started when the first case needs it. Further cases
/// share it, one at a time.
pub(crate) struct OnDemand<T = Range> {
    start: Box<dyn Fn() -> Result<T> + Send + Sync>,
    range: OnceLock<Result<T, String>>,
    /// Held while a case runs, because cases count what arrives at the range's servers.
    turn: Mutex<()>,
}

impl OnDemand {
    pub(crate) fn new(setup: impl Fn() -> Result<Setup> + Send + Sync + 'static) -> Arc<Self> {
        Self::of(move || setup().and_then(Range::start))
    }
}

impl<T: Send + Sync + 'static> OnDemand<T> {
    /// Returns a value that is started like this.
    pub(crate) fn of(start: impl Fn() -> Result<T> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            start: Box::new(start),
            range: OnceLock::new(),
            turn: Mutex::default(),
        })
    }

    /// Returns a test that runs a case on this range.
    pub(crate) fn trial(
        self: &Arc<Self>,
        name: &str,
        run: impl FnOnce(&T, &str) -> Result<()> + Send + 'static,
    ) -> Trial {
        let (range, own) = (Arc::clone(self), name.to_owned());
        trial(name, move || range.run(&own, run))
    }

    /// Runs a case on this range, as soon as no other runs on it.
    pub(crate) fn run(&self, name: &str, run: impl FnOnce(&T, &str) -> Result<()>) -> Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        run(self.get()?, name)
    }

    fn get(&self) -> Result<&T> {
        self.range
            .get_or_init(|| (self.start)().map_err(|problem| format!("{problem:#}")))
            .as_ref()
            .map_err(|problem| anyhow!("{problem}"))
    }
}
