//! Whatever a client does to a path, the upstream never gets one that any server could read as outside
//! the key's endpoints or the exempt paths.

mod rewritten;
mod servers;
mod targets;

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use http_body_util::Full;
use keystile_e2e::client::Response;
use keystile_e2e::counters::Counters;
use keystile_e2e::envoy::{Listener, cluster, each_http_settings};
use keystile_e2e::keep_alive;
use keystile_e2e::keys::hash;
use keystile_e2e::recording_upstream::{ENTITLED, EXEMPT, RecordingUpstream};
use keystile_e2e::scripted_auth::{Script, answer};
use keystile_e2e::stack::Setup;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::range::{self, OnDemand, Range, Steady, end_of, known_key, plugin};
use servers::{FROM_UPSTREAM, is_below, readings};

/// The endpoints that the key of these cases may call.
const ENDPOINTS: [&str; 3] = ["/v1/astro", "/v1/numerology/", "/v1/a-b"];
const ID: &str = "key_paths";

/// Paths that need no key.
const EXEMPT_PATH: &str = "/healthz";
const EXEMPT_PREFIXES: [&str; 2] = ["/public", "/open/"];

/// The path that the filter answers itself.
const INTROSPECTION: &str = "/v1/keys/me";

/// What Envoy can do with escaped slashes, such as %2F, before the filter sees them.
const ACTIONS: [&str; 4] = [
    "KEEP_UNCHANGED",
    "REJECT_REQUEST",
    "UNESCAPE_AND_REDIRECT",
    "UNESCAPE_AND_FORWARD",
];

/// One way in which Envoy treats paths, on two listeners: one with exempt paths, and one that always
/// needs the key.
struct Place {
    exempting: &'static str,
    strict: &'static str,
    normalizes: bool,
    /// The index of one of [`ACTIONS`].
    action: usize,
}

const PLACES: [Place; 8] = [
    place("keep", "keep, strict", true, 0),
    place("reject", "reject, strict", true, 1),
    SHIPPED,
    place("forward", "forward, strict", true, 3),
    place("raw, keep", "raw, keep, strict", false, 0),
    place("raw, reject", "raw, reject, strict", false, 1),
    place("raw, redirect", "raw, redirect, strict", false, 2),
    place("raw, forward", "raw, forward, strict", false, 3),
];

/// As in `envoy/envoy.yaml`.
const SHIPPED: Place = place("redirect", "redirect, strict", true, 2);

const fn place(
    exempting: &'static str,
    strict: &'static str,
    normalizes: bool,
    action: usize,
) -> Place {
    Place {
        exempting,
        strict,
        normalizes,
        action,
    }
}

impl Place {
    fn listener(&self, who: Who) -> &'static str {
        match who {
            Who::RuleAuth => self.exempting,
            Who::Key => self.strict,
        }
    }
}

/// Connections for sweeps.
const CONNECTIONS: usize = 4;

fn setup() -> Result<Setup> {
    let runtime = Runtime::new()?;
    let recorder = RecordingUpstream::default();
    let upstream = runtime.block_on(servers::serve(&recorder))?;
    let strict = json!({
        "cache": {"allow_ttl": "1h", "not_found_ttl": "1h"},
        "introspection": {"path": INTROSPECTION},
    });
    let mut exempting = strict.clone();
    exempting["exempt"] = json!({"paths": [EXEMPT_PATH], "path_prefixes": EXEMPT_PREFIXES});
    let (strict, exempting) = (plugin(&strict), plugin(&exempting));
    let mut listeners = vec![
        Listener::new("steady", &strict),
        Listener::new("rewriting", &exempting),
    ];
    for place in &PLACES {
        for (name, plugin) in [(place.strict, &strict), (place.exempting, &exempting)] {
            let mut listener = Listener::new(name, plugin);
            listener.normalize_path = place.normalizes;
            listeners.push(listener);
        }
    }
    let mut setup = range::setup(listeners);
    setup
        .clusters
        .push(cluster("upstream", Some(upstream.address)));
    setup.servers.push(upstream);
    setup.runtime = Some(runtime);
    setup.upstream = recorder;
    setup.edit = Box::new(edit);
    Ok(setup)
}

fn edit(config: &mut Value) -> Result<()> {
    for (name, http) in each_http_settings(config) {
        let place = PLACES
            .iter()
            .find(|place| [place.strict, place.exempting].contains(&&*name));
        if let Some(place) = place {
            http["path_with_escaped_slashes_action"] = json!(ACTIONS[place.action]);
        }
        if name == "rewriting" {
            http["route_config"]["virtual_hosts"][0]["routes"] = rewritten::routes();
        }
    }
    Ok(())
}

keystile_e2e::suite!(Together, trials);

fn trials() -> Vec<Trial> {
    let range = OnDemand::new(setup);
    [targets::trials(&range), rewritten::trials(&range)]
        .into_iter()
        .flatten()
        .collect()
}

/// Returns a case whose key may call only [`ENDPOINTS`].
fn case(
    range: &Arc<OnDemand>,
    name: &str,
    run: impl FnOnce(&Field<'_>, &Counters) -> Result<()> + Send + 'static,
) -> Trial {
    range.trial(&format!("paths: {name}"), move |range, name| {
        let key = known_key()?;
        let record = json!({"key_id": ID, "status": "active", "endpoints": ENDPOINTS});
        let script = Script::Answer(answer("200 OK", &record.to_string()));
        range.auth.script(&hash(&key)?, script);
        range.case(name, Steady::on("steady")?, |counters| {
            run(&Field { range, key }, counters)
        })
    })
}

struct Field<'a> {
    range: &'a Range,
    key: String,
}

/// Who sends a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// A client without a key, which reaches only exempt paths.
    RuleAuth,
    /// The key's owner, who reaches the key's endpoints.
    Key,
}

impl Field<'_> {
    /// Sends `GET`s for all targets over HTTP/1.1, with and without the key, and checks what arrives.
    fn send(&self, counters: &Counters, place: &Place, targets: &[Vec<u8>]) -> Result<()> {
        for who in [Who::RuleAuth, Who::Key] {
            let to = self.range.envoy.listener(place.listener(who))?;
            let requests = targets.iter().map(|target| {
                let mut request = [b"GET ", &target[..], b" HTTP/1.1\r\nhost: test\r\n"].concat();
                for (name, value) in self.headers(who) {
                    request.extend(format!("{name}: {value}\r\n").as_bytes());
                }
                request.extend(b"\r\n");
                request
            });
            let requests: Vec<_> = requests.collect();
            let answers = keep_alive::exchange_all(to, CONNECTIONS, &requests);
            self.hold(counters, place, who, targets, answers)?;
        }
        Ok(())
    }

    /// The same over HTTP/2, for the targets that it can carry.
    fn send_by_http2(&self, counters: &Counters, place: &Place, targets: &[Vec<u8>]) -> Result<()> {
        for who in [Who::RuleAuth, Who::Key] {
            let to = self.range.envoy.listener(place.listener(who))?;
            let (mut sent, mut requests) = (Vec::new(), Vec::new());
            for target in targets.iter().filter(|target| target.starts_with(b"/")) {
                let uri = [format!("http://{to}").as_bytes(), target].concat();
                let mut request = hyper::Request::get(&uri[..]);
                for (name, value) in self.headers(who) {
                    request = request.header(name, value);
                }
                if let Ok(request) = request.body(Full::default()) {
                    requests.push(request);
                    sent.push(target.clone());
                }
            }
            let answers = keep_alive::exchange_all_http2(to, CONNECTIONS, requests);
            let answers = self.range.runtime.block_on(answers)?;
            self.hold(counters, place, who, &sent, answers)?;
        }
        Ok(())
    }

    fn headers(&self, who: Who) -> Vec<(&'static str, String)> {
        match who {
            Who::RuleAuth => vec![(ENTITLED, EXEMPT.to_owned())],
            Who::Key => vec![(ENTITLED, ID.to_owned()), ("x-api-key", self.key.clone())],
        }
    }

    fn hold(
        &self,
        counters: &Counters,
        place: &Place,
        who: Who,
        targets: &[Vec<u8>],
        answers: Vec<Result<Response>>,
    ) -> Result<()> {
        for (target, answer) in targets.iter().zip(answers) {
            let name = || format!("{}: {}", place.listener(who), target.escape_ascii());
            let kind = match &answer {
                Ok(answer) if is_forwarded(answer) => format!("{who:?}, forwarded"),
                _ => format!("{who:?}, not forwarded"),
            };
            counters.count(&kind, end_of(&answer));
            let answer = answer.with_context(name)?;
            check(place, who, &answer).with_context(name)?;
        }
        Ok(())
    }
}

fn is_forwarded(answer: &Response) -> bool {
    answer
        .header(FROM_UPSTREAM)
        .is_ok_and(|header| header.is_some())
}

/// Checks that what was forwarded is allowed, however a server reads it, and that
/// everything else was refused.
fn check(place: &Place, who: Who, answer: &Response) -> Result<()> {
    if is_forwarded(answer) {
        let path = &answer.body;
        for (reading, segments) in readings(path) {
            let is_within = match who {
                Who::RuleAuth => {
                    segments == [&EXEMPT_PATH.as_bytes()[1..]]
                        || EXEMPT_PREFIXES
                            .iter()
                            .any(|prefix| is_below(&segments, prefix))
                }
                Who::Key => ENDPOINTS.iter().any(|prefix| is_below(&segments, prefix)),
            };
            let segments = segments.join(&b'/');
            ensure!(
                is_within,
                "the upstream got {}, and may serve /{} ({reading})",
                path.escape_ascii(),
                segments.escape_ascii()
            );
        }
        return Ok(());
    }
    match (answer.status, who) {
        (400 | 404 | 431 | 401, Who::RuleAuth) | (400 | 404 | 431 | 403, Who::Key) => Ok(()),
        // The filter's introspection reply, which is about the key that was sent.
        (200, Who::Key) => {
            let about = answer.text();
            ensure!(about.contains(ID), "not about the key: {about}");
            Ok(())
        }
        (307, _) => {
            // A redirect to the same host, by a path that goes through all of this again. If Envoy
            // merges slashes, no path begins with two slashes and a host; it leaves only a path that
            // is just two slashes.
            let to = answer.header("location")?.context("to nowhere")?;
            let two = to.strip_prefix(['/', '\\']);
            let host = two.and_then(|rest| rest.strip_prefix(['/', '\\']));
            let host = host.filter(|_| place.normalizes);
            let is_here =
                two.is_some() && host.is_none_or(|host| host.is_empty() || host.starts_with('?'));
            ensure!(is_here, "sent on to {to}");
            Ok(())
        }
        _ => anyhow::bail!("{answer:?}"),
    }
}
