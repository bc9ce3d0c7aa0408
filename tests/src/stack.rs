//! The stack of most tests: one Envoy, a scripted auth server and a recording upstream.

use anyhow::Result;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::envoy::{self, Envoy, Launch, Listener, cluster, http2_cluster};
use crate::recording_upstream::RecordingUpstream;
use crate::scripted_auth::{Fallback, ScriptedAuth};
use crate::serving::Serving;

/// A change to Envoy's configuration.
pub type Edit = Box<dyn FnOnce(&mut Value) -> Result<()>>;

/// What differs between stacks.
pub struct Setup {
    /// Envoy's listeners.
    pub listeners: Vec<Listener>,
    /// Clusters in addition to `auth` and `upstream`, or instead of the one with the same name.
    pub clusters: Vec<Value>,
    /// A change to Envoy's whole configuration.
    pub edit: Edit,
    /// How to start Envoy.
    pub launch: Launch,
    /// Becomes [`Stack::auth`]. Its scripts apply from the first lookup on.
    pub auth: ScriptedAuth,
    /// Who answers lookups without a script.
    pub fallback: Fallback,
    /// Whether the auth server keeps its connections open.
    pub keep_alive: bool,
    /// Becomes [`Stack::upstream`].
    pub upstream: RecordingUpstream,
    /// Further clusters with their servers, which count in [`Stack::upstream`].
    pub upstreams: fn(&Runtime, &RecordingUpstream) -> Result<Vec<Upstream>>,
    /// The servers of `clusters`, which live as long as the stack.
    pub servers: Vec<Serving>,
    /// The runtime of all servers. By default, the stack creates one.
    pub runtime: Option<Runtime>,
}

/// A cluster and its server.
pub type Upstream = (Value, Serving);

impl Setup {
    /// Returns settings with these listeners and one worker, in which each lookup needs a script.
    pub fn new(listeners: Vec<Listener>) -> Self {
        Self {
            listeners,
            clusters: Vec::new(),
            edit: Box::new(|_| Ok(())),
            launch: Launch::default(),
            auth: ScriptedAuth::default(),
            fallback: Fallback::None,
            keep_alive: false,
            upstream: RecordingUpstream::default(),
            upstreams: |_, _| Ok(Vec::new()),
            servers: Vec::new(),
            runtime: None,
        }
    }
}

/// The running stack. Dropping it ends it.
pub struct Stack {
    /// Envoy, which stops first.
    pub envoy: Envoy,
    /// The auth server's scripts and lookups.
    pub auth: ScriptedAuth,
    /// The auth server, which can be stopped for outages.
    pub serving: Serving,
    /// What arrived at the upstream and at the setup's further ones, even if a cluster of the setup
    /// takes the place of `upstream`.
    pub upstream: RecordingUpstream,
    /// The servers' runtime.
    pub runtime: Runtime,
    /// Envoy's configuration and logs.
    pub folder: TempDir,
    _servers: Vec<Serving>,
}

impl Stack {
    /// Starts the auth server, the upstreams and Envoy.
    ///
    /// # Errors
    /// When a part does not become ready; says which.
    pub fn start(setup: Setup) -> Result<Self> {
        let runtime = setup.runtime.map_or_else(Runtime::new, Ok)?;
        let folder = tempfile::tempdir()?;
        let (auth, upstream) = (setup.auth, setup.upstream);
        let (serving, upstream_serving) = runtime.block_on(async {
            let serving = auth.serve(setup.fallback, setup.keep_alive).await?;
            anyhow::Ok((serving, upstream.serve().await?))
        })?;
        let (mut clusters, mut servers) = (setup.clusters, setup.servers);
        for (cluster, serving) in (setup.upstreams)(&runtime, &upstream)? {
            clusters.push(cluster);
            servers.push(serving);
        }
        for mut own in [
            cluster("auth", Some(serving.address)),
            // HTTP/2 carries trailers.
            http2_cluster("upstream", upstream_serving.address),
        ] {
            if clusters.iter().any(|other| other["name"] == own["name"]) {
                continue;
            }
            // Many connections at once, on a machine that may be busy. If one is not ready in time,
            // Envoy fails all requests that wait for a connection.
            own["connect_timeout"] = json!("10s");
            own["circuit_breakers"] = json!({"thresholds": [
                {"max_connections": 10_000, "max_requests": 10_000, "max_pending_requests": 10_000},
            ]});
            clusters.push(own);
        }
        let mut config = envoy::config(&setup.listeners, &clusters);
        (setup.edit)(&mut config)?;
        servers.push(upstream_serving);
        let envoy = setup.launch.start(config, folder.path())?;
        Ok(Self {
            envoy,
            auth,
            serving,
            upstream,
            runtime,
            folder,
            _servers: servers,
        })
    }
}
