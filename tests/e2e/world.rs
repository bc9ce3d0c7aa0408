//! What all cases share: one Envoy with a listener for each configuration, the registries with their
//! keys, and everything that was written and received.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, anyhow};
use keystile_e2e::client::Response;
use keystile_e2e::envoy::{Launch, Listener, cluster, copy_cluster};
use keystile_e2e::keys::{hash, made_up_key};
use keystile_e2e::process::Process;
use keystile_e2e::recording_upstream::RecordingUpstream;
use keystile_e2e::registry::Registry;
use keystile_e2e::scripted_auth::{Fallback, Script};
use keystile_e2e::stack::{Setup, Stack};
use keystile_e2e::trials;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpSocket;

/// The pepper of the registry behind the listener `pepper`.
const PEPPER: &str = "a pepper of the tests";

pub(crate) struct World {
    stack: Stack,
    keys: HashMap<&'static str, String>,
    /// Keys that must not appear anywhere.
    secrets: Mutex<Vec<String>>,
    replies: Mutex<String>,
    _registries: [Process; 2],
    _closed_port: TcpSocket,
    /// The registries' databases and logs.
    folder: TempDir,
}

impl Deref for World {
    type Target = Stack;

    fn deref(&self) -> &Stack {
        &self.stack
    }
}

/// The world, once a test has started it.
static SHARED: Mutex<Option<Result<Arc<World>, String>>> = Mutex::new(None);

/// A function that tests something, with or without the world. `T` tells the two apart.
pub(crate) trait Test<T>: Send + 'static {
    fn run(self) -> Result<()>;
}

impl<F: FnOnce() -> Result<()> + Send + 'static> Test<()> for F {
    fn run(self) -> Result<()> {
        self()
    }
}

impl<F: FnOnce(&World) -> Result<()> + Send + 'static> Test<World> for F {
    fn run(self) -> Result<()> {
        self(&*shared()?)
    }
}

/// Creates a test.
pub(crate) fn trial<T>(name: &str, test: impl Test<T>) -> Trial {
    trials::trial(name, move || test.run())
}

/// Returns the world, which the first test starts.
fn shared() -> Result<Arc<World>> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    let start = || {
        World::new()
            .map(Arc::new)
            .map_err(|problem| format!("{problem:#}"))
    };
    let world = shared.get_or_insert_with(start);
    world.clone().map_err(|problem| anyhow!("{problem}"))
}

/// Stops everything, after the last test.
pub(crate) fn stop() {
    drop(SHARED.lock().unwrap_or_else(PoisonError::into_inner).take());
}

impl World {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let at = |name: &str| folder.path().join(name);
        let any = SocketAddr::from(([127, 0, 0, 1], 0));

        let registry = Registry::new(&at("keys.db"), None);
        let (server, lookups) = registry.serve(any, &at("registry.log"))?;
        let peppered = Registry::new(&at("peppered.db"), Some(PEPPER));
        let (peppered_server, peppered_lookups) =
            peppered.serve(any, &at("peppered-registry.log"))?;

        // Bound, so that no other socket gets it, but not listened on.
        let closed_port = TcpSocket::new_v4()?;
        closed_port.bind(any)?;
        let stack = Stack::start(Setup {
            clusters: vec![
                cluster("peppered", Some(peppered_lookups)),
                cluster("refused", Some(closed_port.local_addr()?)),
                cluster("hostless", None),
            ],
            edit: Box::new(|config| {
                let mesh = "outbound|80||auth.default.svc.cluster.local";
                copy_cluster(config, "auth", mesh)?;
                let full = copy_cluster(config, "auth", "full")?;
                full["circuit_breakers"] = json!({"thresholds": [{"max_requests": 0}]});
                Ok(())
            }),
            launch: Launch {
                log_level: "trace",
                ..Launch::workers(2).with(LOG_OPTIONS)
            },
            fallback: Fallback::Registry(lookups),
            upstream: RecordingUpstream::echoing(),
            ..Setup::new(listeners())
        })?;

        let world = Self {
            stack,
            keys: keys(&registry, &peppered)?,
            secrets: Mutex::default(),
            replies: Mutex::default(),
            _registries: [server, peppered_server],
            _closed_port: closed_port,
            folder,
        };
        for (name, key) in &world.keys {
            // This one is meant to reach the upstream.
            if *name != "forwarded" {
                world.keep_secret(key);
            }
        }
        Ok(world)
    }

    /// Returns a key by its name in [`keys`].
    pub(crate) fn key(&self, name: &str) -> Result<&str> {
        let key = self.keys.get(name).map(String::as_str);
        key.with_context(|| format!("no key {name}"))
    }

    /// Returns a new key whose lookups are answered by script.
    pub(crate) fn scripted_key(&self, script: Script) -> Result<String> {
        let key = made_up_key();
        self.auth.script(&hash(&key)?, script);
        self.keep_secret(&key);
        Ok(key)
    }

    pub(crate) fn keep_secret(&self, key: &str) {
        let mut secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        secrets.push(key.to_owned());
    }

    pub(crate) fn secrets(&self) -> Vec<String> {
        let secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        secrets.clone()
    }

    pub(crate) fn keep_reply(&self, response: &Response) {
        let mut replies = self.replies.lock().unwrap_or_else(PoisonError::into_inner);
        replies.push_str(&format!("{:?}{}", response.headers, response.text()));
    }

    pub(crate) fn replies(&self) -> String {
        let replies = self.replies.lock().unwrap_or_else(PoisonError::into_inner);
        replies.clone()
    }

    pub(crate) fn logs(&self) -> Result<Vec<(PathBuf, Vec<u8>)>> {
        let mut logs = Vec::new();
        for folder in [&self.folder, &self.stack.folder] {
            for entry in std::fs::read_dir(folder.path())? {
                let path = entry?.path();
                logs.push((path.clone(), std::fs::read(path)?));
            }
        }
        Ok(logs)
    }
}

/// All loggers at their most verbose, except those with which Envoy itself logs the headers of each
/// request. No filter can prevent that, as docs/envoy.md says.
const LOG_OPTIONS: &[&str] = &[
    "--component-log-level",
    "http:info,http2:info,dns:info,pool:info,main:info",
];

fn listeners() -> Vec<Listener> {
    // Without the cache, the lookups that a case costs do not depend on earlier cases.
    let asking = |lookup: Value, rest: &Value| {
        let mut plugin = json!({
            "lookup": lookup,
            "cache": {"allow_ttl": "0s", "not_found_ttl": "0s", "revoked_ttl": "0s"},
        });
        if let (Some(plugin), Some(rest)) = (plugin.as_object_mut(), rest.as_object()) {
            plugin.extend(rest.clone());
        }
        plugin
    };
    // Far above the default of 250 ms, so that a machine under load does not change the result.
    let lookup = |cluster: &str| json!({"cluster": cluster, "timeout": "10s"});
    let with = |rest: &Value| asking(lookup("auth"), rest);
    let to = |cluster: &str| asking(lookup(cluster), &json!({}));
    vec![
        Listener::new("plain", &with(&json!({}))),
        Listener {
            allow_on_headers_stop_iteration: true,
            ..Listener::new("stop_iteration", &with(&json!({})))
        },
        Listener {
            normalize_path: false,
            ..Listener::new(
                "raw_paths",
                &with(&json!({"exempt": {"path_prefixes": ["/public"]}})),
            )
        },
        Listener::new(
            "exempt",
            &with(&json!({"exempt": {"paths": ["/healthz"], "path_prefixes": ["/public"]}})),
        ),
        Listener::new(
            "exempt_post",
            &with(&json!({"exempt": {"paths": ["/hook"], "methods": ["POST"]}})),
        ),
        Listener::new("strip", &with(&json!({"strip_headers": ["X-Debug"]}))),
        Listener::new(
            "no_preflight",
            &with(&json!({"exempt": {"preflight": false}})),
        ),
        Listener::new(
            "propagating",
            &asking(
                json!({
                    "cluster": "auth",
                    "timeout": "10s",
                    "propagate_headers": ["b3", "x-b3-traceid", "baggage"],
                }),
                &json!({}),
            ),
        ),
        Listener::new("production", &with(&json!({"environment": "production"}))),
        Listener::new("forward", &with(&json!({"credential": {"forward": true}}))),
        Listener::new(
            "custom",
            &asking(
                json!({
                    "cluster": "outbound|80||auth.default.svc.cluster.local",
                    "path": "/v1/key-hashes/{key_hash}?from=gateway",
                    "timeout": "10s",
                    "headers": {"Authorization": "Bearer service-token"},
                }),
                &json!({
                    "credential": {
                        "sources": [{"header": "X-Token"}, {"header": "authorization", "scheme": "ApiKey"}],
                        "formats": [{"prefix": "", "min_length": 8, "max_length": 64, "alphabet": "url_safe"}],
                    },
                    "identity_headers": {"X-Key": "key_id", "x-env": "environment"},
                    "replies": {
                        "service_name": "Example",
                        "doc_base_url": "https://example.com/errors#",
                        "realm": "example",
                        "retry_after_seconds": 7,
                        "messages": {"api_key_missing": "Bring a key, s'il vous plaît."},
                    },
                }),
            ),
        ),
        Listener::new(
            "impatient",
            &asking(json!({"cluster": "auth", "timeout": "200ms"}), &json!({})),
        ),
        Listener::new(
            "pepper",
            &asking(lookup("peppered"), &json!({"hash": {"pepper": PEPPER}})),
        ),
        Listener::new("no_pepper", &to("peppered")),
        Listener::new("unknown_cluster", &to("nowhere")),
        Listener::new("refused", &to("refused")),
        Listener::new("hostless", &to("hostless")),
        Listener::new("breaker", &to("full")),
    ]
}

/// Creates the keys, and returns them by the names that cases use.
fn keys(registry: &Registry, peppered: &Registry) -> Result<HashMap<&'static str, String>> {
    let create = |name: &str, options: &[&str]| {
        let always = ["--account", "acct_1", "--name", name];
        registry.create(&[&always, options].concat())
    };
    let revoked = create("revoked", &[])?;
    registry.run(&["revoke", &revoked.key_id])?;
    let deleted = create("deleted", &[])?;
    registry.run(&["delete", &deleted.key_id])?;
    let active = create("active", &[])?;
    let revoked_elsewhere = create("revoked_staging", &["--environment", "staging"])?;
    registry.run(&["revoke", &revoked_elsewhere.key_id])?;
    let revoked_here = create("revoked_production", &["--environment", "production"])?;
    registry.run(&["revoke", &revoked_here.key_id])?;
    Ok(HashMap::from([
        ("active", active.key),
        ("revoked", revoked.key),
        ("deleted", deleted.key),
        ("revoked_staging", revoked_elsewhere.key),
        ("revoked_production", revoked_here.key),
        ("unknown", made_up_key()),
        ("other", create("other", &[])?.key),
        ("forwarded", create("forwarded", &[])?.key),
        (
            "expired",
            create("expired", &["--expires-at", "2020-01-01T00:00:00Z"])?.key,
        ),
        (
            "lasting",
            create("lasting", &["--expires-at", "2999-01-01T00:00:00+02:00"])?.key,
        ),
        (
            "staging",
            create("staging", &["--environment", "staging"])?.key,
        ),
        (
            "production",
            create("production", &["--environment", "production"])?.key,
        ),
        (
            "astro",
            create(
                "astro",
                &["--endpoint", "/v1/astro", "--endpoint", "/v1/moon/"],
            )?
            .key,
        ),
        ("peppered", peppered.create(&["--account", "acct_1"])?.key),
    ]))
}
