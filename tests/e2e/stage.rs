//! A separate Envoy for tests with outages, floods or special times, with its own auth cluster,
//! registry and upstream.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use keystile_e2e::client::{self, Response, Sent};
use keystile_e2e::envoy::{self, Launch, Listener, http2_cluster};
use keystile_e2e::keys::{hash, made_up_key};
use keystile_e2e::load::{self, Outcomes, Request};
use keystile_e2e::log_entry::without_key_id;
use keystile_e2e::process::{Process, wait_until};
use keystile_e2e::recording_upstream::RecordingUpstream;
use keystile_e2e::registry::{Created, Registry, SERVICE_TOKEN};
use keystile_e2e::scripted_auth::{Fallback, Script, ScriptedAuth};
use keystile_e2e::stack::{self, Stack};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::test_database::TestDatabase;

pub(crate) struct Stage {
    stack: Stack,
    pub(crate) to: SocketAddr,
    pub(crate) registry: Registry,
    /// Where the registry serves lookups and its admin API.
    pub(crate) registry_at: SocketAddr,
    /// The registry's server, or `None` while it is down.
    server: Option<Process>,
    pub(crate) database: TestDatabase,
    keys: Vec<String>,
    /// The registry's logs.
    logs: TempDir,
}

impl Deref for Stage {
    type Target = Stack;

    fn deref(&self) -> &Stack {
        &self.stack
    }
}

impl DerefMut for Stage {
    fn deref_mut(&mut self) -> &mut Stack {
        &mut self.stack
    }
}

/// Who answers lookups.
#[derive(Clone, Copy)]
pub(crate) enum Asks {
    /// [`Stack::auth`], which forwards to the registry.
    Auth,
    /// The registry, over HTTP/2.
    Registry,
    /// Another server, over HTTP/2.
    Other(SocketAddr),
}

/// What differs between [`Stage`]s.
pub(crate) struct Setup {
    pub(crate) workers: u32,
    /// The object `cache` of the plugin configuration.
    pub(crate) cache: Value,
    /// Further objects of the plugin configuration.
    pub(crate) more: Value,
    /// The registry's database.
    pub(crate) database: fn() -> TestDatabase,
    /// The timeout of lookups.
    pub(crate) timeout: &'static str,
    /// Who answers lookups.
    pub(crate) asks: Asks,
    /// Becomes [`Stack::auth`]. Its scripts apply from the first poll and lookup on.
    pub(crate) auth: ScriptedAuth,
    /// The `lookup.max_concurrent`.
    pub(crate) max_concurrent: u32,
    /// The limit of simultaneous lookups, if it is not the default of circuit breakers.
    pub(crate) most_lookups: Option<u32>,
    /// How long a request may wait before Envoy itself answers it.
    pub(crate) stream_idle_timeout: Option<&'static str>,
    /// Whether a paused request's body still runs through the filter.
    pub(crate) allow_on_headers_stop_iteration: bool,
    /// Further options for Envoy.
    pub(crate) options: Vec<String>,
}

impl Setup {
    /// Creates a setup with one worker, and with lookups of up to 10 s for slow machines.
    pub(crate) fn new(cache: Value) -> Self {
        Self {
            workers: 1,
            cache,
            more: json!({}),
            database: TestDatabase::sqlite,
            timeout: "10s",
            asks: Asks::Auth,
            auth: ScriptedAuth::default(),
            max_concurrent: 256,
            most_lookups: None,
            stream_idle_timeout: None,
            allow_on_headers_stop_iteration: false,
            options: Vec::new(),
        }
    }

    /// Runs a test, then checks what holds for all of them: no VM died, and no key is in Envoy's log.
    pub(crate) fn run(self, test: impl FnOnce(&mut Stage) -> Result<()>) -> Result<()> {
        let mut stage = Stage::new(self)?;
        let outcome = test(&mut stage).with_context(|| {
            let log = stage.envoy.written();
            let warnings = log.lines().filter(|line| line.contains("keystile: "));
            warnings.map(|line| format!("\n{line}")).collect::<String>()
        });
        let log = stage.envoy.written();
        stage.envoy.no_vm_died()?;
        for key in &stage.keys {
            ensure!(!log.contains(key), "the key {key} is in Envoy's log");
        }
        outcome
    }
}

impl Stage {
    fn new(setup: Setup) -> Result<Self> {
        let logs = tempfile::tempdir()?;
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let database = (setup.database)();
        let registry = Registry::guarded(database.url.clone());
        let (server, registry_at) = registry.serve(any, &logs.path().join("registry.log"))?;
        // For polls of the feed, if the plugin uses it.
        let mut clusters = vec![http2_cluster("auth_feed", registry_at)];
        clusters.extend(match setup.asks {
            Asks::Auth => None,
            Asks::Registry => Some(http2_cluster("auth", registry_at)),
            Asks::Other(address) => Some(http2_cluster("auth", address)),
        });
        let mut plugin = json!({
            "lookup": {
                "cluster": "auth",
                "timeout": setup.timeout,
                "max_concurrent": setup.max_concurrent,
                "headers": {"authorization": format!("Bearer {SERVICE_TOKEN}")},
            },
            "cache": setup.cache,
        });
        for (name, value) in setup.more.as_object().into_iter().flatten() {
            plugin[name] = value.clone();
        }
        let listener = Listener {
            access_log: true,
            allow_on_headers_stop_iteration: setup.allow_on_headers_stop_iteration,
            ..Listener::new("stage", &plugin)
        };
        let (most_lookups, idle) = (setup.most_lookups, setup.stream_idle_timeout);
        let stack = Stack::start(stack::Setup {
            clusters,
            edit: Box::new(move |config| {
                // Over HTTP/2, many clients that leave at once would look like an attack.
                let upstream = envoy::cluster_in(config, "upstream")?;
                upstream["typed_extension_protocol_options"] = json!({});
                let asked = envoy::cluster_in(config, "auth")?;
                // As in envoy/envoy.yaml: less than a long page of the feed.
                asked["per_connection_buffer_limit_bytes"] = json!(65_536);
                if let Some(most) = most_lookups {
                    asked["circuit_breakers"] = json!({"thresholds": [{"max_requests": most}]});
                }
                if let Some(timeout) = idle {
                    envoy::http_settings(config)?["stream_idle_timeout"] = json!(timeout);
                }
                Ok(())
            }),
            launch: Launch {
                options: setup.options,
                ..Launch::workers(setup.workers)
            },
            auth: setup.auth,
            fallback: Fallback::Registry(registry_at),
            upstream: RecordingUpstream::echoing(),
            ..stack::Setup::new(vec![listener])
        })?;
        Ok(Self {
            to: stack.envoy.listener("stage")?,
            stack,
            registry,
            registry_at,
            server: Some(server),
            database,
            keys: Vec::new(),
            logs,
        })
    }

    /// Kills the registry.
    pub(crate) fn crash_registry(&mut self) -> Result<()> {
        self.server.take().context("it is down already")?.crash()
    }

    /// Starts the registry again at the same address.
    pub(crate) fn start_registry(&mut self) -> Result<()> {
        let log = self.logs.path().join("registry-again.log");
        let (server, _) = self.registry.serve(self.registry_at, &log)?;
        self.server = Some(server);
        Ok(())
    }

    /// Sends a request to the registry's admin API.
    pub(crate) fn admin(&self, method: &str, path: &str) -> Result<Value> {
        Registry::ask(self.registry_at, method, path, None)
    }

    /// Returns a new key whose lookups are answered by script.
    pub(crate) fn scripted_key(&mut self, script: Script) -> Result<String> {
        let key = made_up_key();
        self.auth.script(&hash(&key)?, script);
        self.keys.push(key.clone());
        Ok(key)
    }

    /// Returns a made-up key, and permits. Each lookup of it waits for a permit to be answered.
    pub(crate) fn held_key(&mut self, answer: Vec<u8>) -> Result<(String, Arc<Semaphore>)> {
        let verdict = Arc::new(Semaphore::new(0));
        let script = Script::AnswerWhen(Arc::clone(&verdict), answer);
        Ok((self.scripted_key(script)?, verdict))
    }

    /// Sends requests with this key, each on its own connection, without reading the responses.
    pub(crate) fn send(&self, key: &str, requests: usize) -> Result<Vec<Sent>> {
        let key = format!("x-api-key: {key}");
        let head = client::head("GET", "/v1/x", [key.as_str()]);
        (0..requests)
            .map(|_| client::send(self.to, head.as_bytes()))
            .collect()
    }

    /// Sends requests with this key over HTTP/2, all at once and up to 100 on a connection. The
    /// returned task ends with their outcomes.
    pub(crate) fn load(
        &self,
        path: &str,
        key: &str,
        requests: usize,
    ) -> JoinHandle<Result<Outcomes>> {
        let (to, request) = (self.to, Request::new(path, key.to_owned()));
        let connections = requests.div_ceil(100);
        self.runtime.spawn(async move {
            let requests = std::iter::repeat_n(request, requests);
            load::run(to, connections, 100, requests).await
        })
    }

    /// Creates a key in the registry.
    pub(crate) fn create(&mut self) -> Result<Created> {
        self.create_with(&[])
    }

    /// Does the same with further options.
    pub(crate) fn create_with(&mut self, options: &[&str]) -> Result<Created> {
        let created = self
            .registry
            .create(&[&["--account", "acct_1"], options].concat())?;
        self.keys.push(created.key.clone());
        Ok(created)
    }

    /// Sends one request with this key, on its own connection.
    pub(crate) fn get(&self, key: &str) -> Result<Response> {
        client::get(self.to, "/v1/x", [format!("x-api-key: {key}").as_str()])
    }

    /// Sends one request below `path`. Returns its status and its log entry without the key ID.
    pub(crate) fn logged(&mut self, path: &str, key: &str) -> Result<(u16, String)> {
        let (response, entry) = self.entry(path, key)?;
        Ok((response.status, without_key_id(&entry)?))
    }

    /// Sends one request below `path`. Returns its response and its log entry.
    pub(crate) fn entry(&mut self, path: &str, key: &str) -> Result<(Response, String)> {
        let path = format!("{path}/{}", ulid::Ulid::generate());
        let line = format!("x-api-key: {key}");
        let response = client::get(self.to, &path, [line.as_str()])?;
        let entry = self.envoy.process().wait_for_line(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            let entry = line["keystile"].as_str().unwrap_or_default().to_owned();
            (line["path"] == path).then_some(entry)
        })?;
        Ok((response, entry))
    }

    /// Returns the number of lookups of this key at the auth cluster.
    pub(crate) fn lookups(&self, key: &str) -> Result<usize> {
        Ok(self.auth.lookups_about(&hash(key)?))
    }

    pub(crate) fn begin_outage(&self) -> Result<()> {
        self.runtime.block_on(self.serving.stop())
    }

    pub(crate) fn end_outage(&self) -> Result<()> {
        self.runtime.block_on(self.serving.start())
    }

    /// Returns a counter of the filter, such as `verdicts.cache.total`.
    pub(crate) fn counter(&self, name: &str) -> Result<u64> {
        self.envoy.counter(&metric(name))
    }

    /// Waits until a counter of the filter has this value.
    pub(crate) fn wait_for(&self, name: &str, expected: u64) -> Result<()> {
        self.envoy.wait_for_counter(&metric(name), expected)
    }

    /// Waits until Envoy has this number of active requests.
    pub(crate) fn wait_for_requests(&self, expected: u64) -> Result<()> {
        let active = "http.stage.downstream_rq_active";
        self.envoy.wait_for_counter(active, expected)
    }

    /// Waits until the auth cluster has got at least this number of lookups of this key.
    pub(crate) fn wait_for_lookups(&self, key: &str, expected: usize) -> Result<()> {
        let mut lookups = 0;
        wait_until(|| {
            lookups = self.lookups(key)?;
            Ok(lookups >= expected)
        })
        .with_context(|| format!("{lookups} lookups, not {expected}"))
    }
}

fn metric(name: &str) -> String {
    format!("wasmcustom.keystile.{name}")
}
