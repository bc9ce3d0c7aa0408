//! Only a request with exactly a known key gets in, and no other spelling of it does. A credential
//! that is not a well-formed key costs no lookup.

mod generated;
mod places;
mod sweeps;

use anyhow::{Context, Result, ensure};
use http_body_util::Full;
use keystile_e2e::client::{self, Response};
use keystile_e2e::counters::Counters;
use keystile_e2e::envoy::{Listener, http2_cluster};
use keystile_e2e::keep_alive;
use keystile_e2e::keys;
use keystile_e2e::recording_upstream::{ENTITLED, NAMED};
use keystile_e2e::rule_auth::RuleAuth;
use keystile_e2e::stack::Setup;
use keystile_fuzz_oracles::credential_model::{Alphabet, Reading, Rules, is_space};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::range::{self, OnDemand, PATH, Range, end_of, key_id, plugin, uncached};

/// The only keys that the auth cluster of these cases knows: one of 43 bytes, another of the same
/// form, one of hex digits, and one of base64.
const KEY: &str = "aw_0aB3dE-fG7hI_kLmN0pQrStUvWxYz1234567890A";
const OTHER: &str = "aw_0-therefGhIjKlMnOpQrStUvWxYz_0123456789B";
const HEX: &str = "k.0123456789abcdefABCDEF";
const BASE64: &str = "0aB+/=cdEF12";
const KNOWN: [&str; 4] = [KEY, OTHER, HEX, BASE64];

/// Connections for sweeps.
const CONNECTIONS: usize = 4;

fn is_known(hash: &str) -> bool {
    KNOWN
        .iter()
        .any(|key| keys::hash(key).is_ok_and(|known| known == hash))
}

/// Listeners with their own auth cluster, where lookups are counted, and one for steady traffic.
fn setup(known: &RuleAuth) -> Result<Setup> {
    let runtime = Runtime::new()?;
    let serving = runtime.block_on(known.serve())?;
    let own = |name, credential: Value| {
        let lookup = json!({"cluster": "known", "timeout": "10s"});
        let more = json!({"lookup": lookup, "cache": uncached(), "credential": credential});
        Listener::new(name, &plugin(&more))
    };
    let mut setup = range::setup(vec![
        Listener::new("steady", &plugin(&json!({"cache": uncached()}))),
        own("default", json!({})),
        own("forward", json!({"forward": true})),
        own(
            "schemes",
            json!({
                "sources": [
                    {"header": "x-token"},
                    {"header": "authorization", "scheme": "ApiKey"},
                    {"header": "authorization", "scheme": "Token"},
                    {"header": "X-API-Key", "scheme": "Key"},
                ],
                "formats": [{"prefix": "k.", "min_length": 10, "max_length": 30, "alphabet": "hex"}],
            }),
        ),
        own(
            "no_prefix",
            json!({
                "sources": [{"header": "x-api-key"}],
                "formats": [{"prefix": "", "min_length": 8, "max_length": 64, "alphabet": "base64"}],
            }),
        ),
    ]);
    setup.clusters.push(http2_cluster("known", serving.address));
    setup.servers.push(serving);
    setup.runtime = Some(runtime);
    Ok(setup)
}

/// Returns how the filter reads credentials on a listener.
fn rules(listener: &str) -> Rules {
    match listener {
        "schemes" => Rules {
            sources: &[
                ("x-token", None),
                ("authorization", Some("apikey")),
                ("authorization", Some("token")),
                ("x-api-key", Some("key")),
            ],
            prefix: "k.",
            lengths: (10, 30),
            alphabet: Alphabet::HEX,
        },
        "no_prefix" => Rules {
            sources: &[("x-api-key", None)],
            prefix: "",
            lengths: (8, 64),
            alphabet: Alphabet::BASE64,
        },
        _ => Rules::DEFAULT,
    }
}

keystile_e2e::suite!(Together, trials);

fn trials() -> Vec<Trial> {
    let known = RuleAuth::new(is_known);
    let field = Field(known.clone());
    let range = OnDemand::new(move || setup(&known));
    [
        sweeps::trials(&range, &field),
        places::trials(&range, &field),
        generated::trials(&range, &field),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A header as it is sent: name and value.
type Line = (String, Vec<u8>);

/// A request: its name, its target, and the headers under test.
#[derive(Clone, Debug)]
struct Probe {
    name: String,
    target: String,
    lines: Vec<Line>,
}

impl Probe {
    fn new(name: impl Into<String>, lines: Vec<Line>) -> Self {
        Self {
            name: name.into(),
            target: PATH.to_owned(),
            lines,
        }
    }

    fn bytes(&self, more: &[(&str, &str)]) -> Vec<u8> {
        let mut bytes = format!("GET {} HTTP/1.1\r\nhost: test\r\n", self.target).into_bytes();
        for (name, value) in more {
            bytes.extend(format!("{name}: {value}\r\n").as_bytes());
        }
        for (name, value) in &self.lines {
            bytes.extend(format!("{name}: ").as_bytes());
            bytes.extend(value);
            bytes.extend(b"\r\n");
        }
        // A separate last line, whatever the values do to the lines.
        bytes.extend(b"x-end: 1\r\n\r\n");
        bytes
    }

    /// Returns true if Envoy may refuse the request before any filter runs: no value may contain
    /// control characters.
    fn is_malformed(&self) -> bool {
        let mut values = self.lines.iter().flat_map(|(_, value)| value);
        values.any(|byte| byte.is_ascii_control() && *byte != b'\t')
    }

    /// Returns true if a server may read a part of a value as separate lines.
    fn breaks_lines(&self) -> bool {
        let mut values = self.lines.iter().flat_map(|(_, value)| value);
        values.any(|byte| matches!(byte, 0 | b'\r' | b'\n'))
    }
}

/// Returns a header line.
fn line(name: &str, value: impl AsRef<[u8]>) -> Line {
    (name.to_owned(), value.as_ref().to_vec())
}

/// Sends requests and compares their outcomes with the model.
#[derive(Clone)]
struct Field(RuleAuth);

impl Field {
    /// Sends the probes over HTTP/1.1, with exactly their bytes.
    fn send(
        &self,
        range: &Range,
        counters: &Counters,
        listener: &str,
        probes: &[Probe],
    ) -> Result<()> {
        let to = range.envoy.listener(listener)?;
        self.hold(
            range,
            counters,
            listener,
            probes,
            Protocol::Http1,
            |requests| {
                let bytes = requests.iter().map(|one| one.probe.bytes(&one.marks()));
                let bytes: Vec<_> = bytes.collect();
                let (alone, kept): (Vec<_>, Vec<_>) =
                    (0..requests.len()).partition(|at| requests[*at].probe.breaks_lines());
                let kept_bytes: Vec<_> = kept.iter().map(|at| &bytes[*at]).collect();
                let mut answers: Vec<_> = kept
                    .into_iter()
                    .zip(keep_alive::exchange_all(to, CONNECTIONS, &kept_bytes))
                    .collect();
                // Each of these needs a separate connection: a part of the request may
                // get a second answer.
                answers.extend(alone.into_iter().map(|at| {
                    let answer = client::send(to, &bytes[at]).and_then(client::Sent::response);
                    (at, answer)
                }));
                answers.sort_by_key(|(at, _)| *at);
                Ok(answers.into_iter().map(|(_, answer)| answer).collect())
            },
        )
    }

    /// Sends the probes over HTTP/2, except those that it cannot carry.
    fn send_by_http2(
        &self,
        range: &Range,
        counters: &Counters,
        listener: &str,
        probes: &[Probe],
    ) -> Result<()> {
        let to = range.envoy.listener(listener)?;
        let probes: Vec<_> = probes
            .iter()
            .filter(|p| !p.is_malformed())
            .cloned()
            .collect();
        self.hold(
            range,
            counters,
            listener,
            &probes,
            Protocol::Http2,
            |requests| {
                let requests = requests.iter().map(|one| {
                    let mut request =
                        hyper::Request::get(format!("http://{to}{}", one.probe.target));
                    for (name, value) in one.marks() {
                        request = request.header(name, value);
                    }
                    for (name, value) in &one.probe.lines {
                        request = request.header(name, &value[..]);
                    }
                    Ok(request.body(Full::default())?)
                });
                let requests = requests.collect::<Result<_>>()?;
                let all = keep_alive::exchange_all_http2(to, 4, requests);
                range.runtime.block_on(all)
            },
        )
    }

    /// Sends the probes without a well-formed key, which must make no lookup, and then the others.
    /// Checks all answers.
    fn hold(
        &self,
        range: &Range,
        counters: &Counters,
        listener: &str,
        probes: &[Probe],
        protocol: Protocol,
        send: impl Fn(&[Marked<'_>]) -> Result<Vec<Result<Response>>>,
    ) -> Result<()> {
        let rules = rules(listener);
        let run = ulid::Ulid::generate().to_string();
        let marked = probes.iter().enumerate().map(|(at, probe)| {
            let expected = Expected::of(rules.read(&as_envoy_reads(protocol, &probe.lines)))?;
            Ok(Marked {
                probe,
                expected,
                name: format!("{run}-{at}"),
            })
        });
        let marked = marked.collect::<Result<Vec<_>>>()?;
        let (keys, others): (Vec<_>, Vec<_>) = marked
            .into_iter()
            .partition(|marked| marked.expected.key.is_some());
        for marked in [others, keys] {
            let before = self.0.lookups();
            let answers = send(&marked)?;
            let mut asked = Vec::new();
            for (marked, answer) in marked.iter().zip(answers) {
                counters.count(
                    &format!("expected {}", marked.expected.outcome),
                    end_of(&answer),
                );
                let answer = answer.with_context(|| format!("{:?}", marked.probe))?;
                if answer.status != 400 || !marked.probe.is_malformed() {
                    marked.hold(range, &rules, listener == "forward", &answer)?;
                    asked.extend(&marked.expected.key);
                }
            }
            let made = self.0.lookups() - before;
            // Concurrent requests with the same key share a lookup.
            let most = asked.len();
            asked.sort();
            asked.dedup();
            let first = marked.first().map(|marked| &marked.probe.name);
            ensure!(
                (asked.len()..=most).contains(&made),
                "{made} lookups about {} keys in {most} of {} requests from {first:?} on",
                asked.len(),
                marked.len()
            );
        }
        Ok(())
    }
}

/// A request, its expected outcome, and the name that marks it.
struct Marked<'a> {
    probe: &'a Probe,
    expected: Expected,
    /// The name under which the upstream records the request.
    name: String,
}

impl Marked<'_> {
    /// Returns the headers that mark the request as allowed to reach the upstream, if it is.
    fn marks(&self) -> Vec<(&str, &str)> {
        let id = self.expected.id.as_deref();
        id.map_or_else(Vec::new, |id| vec![(ENTITLED, id), (NAMED, &self.name)])
    }

    fn hold(&self, range: &Range, rules: &Rules, forwards: bool, answer: &Response) -> Result<()> {
        let Self {
            probe,
            expected,
            name,
        } = self;
        if expected.id.is_none() {
            let error = format!("\"{}\"", expected.outcome);
            let is_so = answer.status == 401 && answer.text().contains(&error);
            ensure!(is_so, "{probe:?}: expected {error}: {answer:?}");
            return Ok(());
        }
        ensure!(
            answer.status == 200,
            "{probe:?}: expected to pass: {answer:?}"
        );
        let arrived = range.upstream.named(name);
        let [arrived] = &arrived[..] else {
            anyhow::bail!("{probe:?} arrived {} times", arrived.len());
        };
        // A server might look for the key under another spelling of the header name, too.
        let is_source = |name: &str| {
            let name = name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
            rules.sources.iter().any(|(source, _)| *source == name)
        };
        let mut sources = arrived.headers.iter().filter(|(name, _)| is_source(name));
        // Only a separate word is a key, not a part of a longer one.
        let is_known = |word: &[u8]| KNOWN.iter().any(|key| key.as_bytes() == word);
        let has_key = sources.any(|(_, value)| {
            let mut words = rules.words(value.as_bytes()).into_iter();
            words.any(|word| rules.is_key(word) && is_known(word))
        });
        ensure!(
            has_key == forwards,
            "{probe:?}: a key at the upstream: {has_key}: {arrived:?}"
        );
        Ok(())
    }
}

/// The protocol that carries a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

/// Returns the headers as Envoy passes them to the filters. Nothing that Envoy does turns another
/// value into a key.
fn as_envoy_reads(protocol: Protocol, lines: &[Line]) -> Vec<Line> {
    let mut lines = lines.to_vec();
    if protocol == Protocol::Http1 {
        for (_, value) in &mut lines {
            // A bare LF ends a line (RFC 9112 section 2.2), which a space then continues. A
            // bare CR is removed.
            value.pop_if(|last| *last == b'\n');
            if let Some(fold) = value.windows(2).position(|pair| pair == b"\n ") {
                value.remove(fold);
            }
            value.retain(|byte| *byte != b'\r');
        }
    }
    // Envoy drops `authorization` headers without a value if there are several. Only in HTTP/1 is
    // whitespace around a value not part of the value.
    let is_empty = |(name, value): &Line| {
        let mut rest = value.iter();
        name.eq_ignore_ascii_case("authorization")
            && rest.all(|byte| protocol == Protocol::Http1 && is_space(*byte))
    };
    lines.retain(|line| !is_empty(line));
    lines
}

/// The expected outcome of a request.
struct Expected {
    /// The reply's error, or "to pass".
    outcome: &'static str,
    /// The key that is looked up.
    key: Option<Vec<u8>>,
    /// The key's id, if the key is known.
    id: Option<String>,
}

impl Expected {
    fn of(reading: Reading) -> Result<Self> {
        let (outcome, key) = match reading {
            Reading::Missing => ("api_key_missing", None),
            Reading::Invalid => ("api_key_invalid", None),
            Reading::Key(key) => ("api_key_not_found", Some(key)),
        };
        let known = KNOWN
            .iter()
            .find(|known| key.as_deref() == Some(known.as_bytes()));
        Ok(Self {
            outcome: known.map_or(outcome, |_| "to pass"),
            key,
            id: known.map(|known| key_id(known)).transpose()?,
        })
    }
}
