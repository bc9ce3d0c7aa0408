//! The shipped stack: `envoy/envoy.yaml` with the registry and the upstream, as `make run` starts it.

use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::envoy::{Envoy, Launch};
use crate::process::Process;
use crate::recording_upstream::RecordingUpstream;
use crate::registry::{Created, Registry};
use crate::root;
use crate::serving::Serving;

/// The ports of the stack, all on 127.0.0.1. 0 means any free port.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// Envoy's listener.
    pub listener: u16,
    /// Envoy's admin page.
    pub admin: u16,
    /// The upstream.
    pub upstream: u16,
    /// The registry.
    pub registry: u16,
}

/// The ports in `envoy/envoy.yaml`.
pub const SHIPPED: Ports = Ports {
    listener: 10000,
    admin: 9901,
    upstream: 8080,
    registry: 8081,
};

/// Any free ports.
pub const FREE: Ports = Ports {
    listener: 0,
    admin: 0,
    upstream: 0,
    registry: 0,
};

/// The running stack. Dropping it ends it.
pub struct Stack {
    /// Envoy, which stops first.
    pub envoy: Envoy,
    /// Envoy's listener.
    pub listener: SocketAddr,
    /// The command line on the registry's database.
    pub registry: Registry,
    /// The registry's server.
    pub server: Process,
    /// Logs and the configuration, removed with the stack.
    pub folder: TempDir,
    /// The stack's own upstream, if it has one.
    _upstream: Option<Serving>,
}

/// Keys to try.
pub struct Keys {
    /// Gets a 200.
    pub active: Created,
    /// Gets `api_key_revoked`.
    pub revoked: Created,
    /// Gets `api_key_not_found`.
    pub deleted: Created,
}

impl Stack {
    /// Starts everything on a database file. With `echo`, Envoy's access log is shown.
    ///
    /// # Errors
    /// When a port is taken or a part does not become ready; says which.
    pub async fn start(ports: Ports, database: &Path, echo: bool) -> Result<Self> {
        ensure_free("the upstream", "UPSTREAM_PORT", ports.upstream)?;
        let upstream = RecordingUpstream::echoing();
        let upstream = upstream.serve_on(ports.upstream).await?;
        let mut stack = Self::before(upstream.address, ports, database, echo)?;
        stack._upstream = Some(upstream);
        Ok(stack)
    }

    /// Starts everything in front of the caller's upstream on 127.0.0.1.
    ///
    /// # Errors
    /// When a port is taken or a part does not become ready; says which.
    pub fn before(upstream: SocketAddr, ports: Ports, database: &Path, echo: bool) -> Result<Self> {
        Self::with(config_on, upstream, ports, database, echo)
    }

    /// Starts everything on free ports in front of the caller's upstream, with changes to
    /// `envoy/envoy.yaml`: a text that it has once, and the text in its place.
    ///
    /// # Errors
    /// When the file has changed, or a part does not become ready; says which.
    pub fn changed(
        upstream: SocketAddr,
        database: &Path,
        changes: &[(&str, &str)],
    ) -> Result<Self> {
        let changed = |ports| {
            let mut config = config_on(ports)?;
            for (from, to) in changes {
                let times = config.matches(from).count();
                ensure!(times == 1, "envoy/envoy.yaml has {from:?} {times} times");
                config = config.replace(from, to);
            }
            Ok(config)
        };
        Self::with(changed, upstream, FREE, database, false)
    }

    /// Does the same with another configuration of Envoy, which has a listener `api`.
    ///
    /// # Errors
    /// When a port is taken or a part does not become ready; says which.
    pub fn with<C: Display>(
        config: impl FnOnce(Ports) -> Result<C>,
        upstream: SocketAddr,
        ports: Ports,
        database: &Path,
        echo: bool,
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        ensure_free("Envoy's listener", "LISTENER_PORT", ports.listener)?;
        ensure_free("Envoy's admin page", "ADMIN_PORT", ports.admin)?;
        ensure_free("the registry", "REGISTRY_PORT", ports.registry)?;

        let registry = Registry::new(database, None);
        let (server, auth) =
            registry.serve(local(ports.registry), &folder.path().join("registry.log"))?;

        let ports = Ports {
            upstream: upstream.port(),
            registry: auth.port(),
            ..ports
        };
        let launch = Launch {
            echo,
            ..Launch::all_processors()
        };
        let envoy = launch.start(config(ports)?, folder.path())?;
        Ok(Self {
            listener: envoy.listener("api")?,
            envoy,
            registry,
            server,
            folder,
            _upstream: None,
        })
    }

    /// Creates an active, a revoked and a deleted key.
    ///
    /// # Errors
    /// When a command of the registry fails.
    pub fn keys(&self) -> Result<Keys> {
        let create = |name: &str| {
            self.registry
                .create(&["--account", "acct_demo", "--name", name])
        };
        let keys = Keys {
            active: create("active")?,
            revoked: create("revoked")?,
            deleted: create("deleted")?,
        };
        self.registry.run(&["revoke", &keys.revoked.key_id])?;
        self.registry.run(&["delete", &keys.deleted.key_id])?;
        Ok(keys)
    }
}

/// Returns the first listener of `envoy/envoy.yaml` with this name, on a free port, and with `plugin`
/// as its plugin configuration.
///
/// # Errors
/// When the file is missing or has changed its structure.
pub fn listener(name: &str, plugin: &Value) -> Result<Value> {
    let config: Value = serde_saphyr::from_str(&config_on(FREE)?)?;
    let mut listener = config["static_resources"]["listeners"][0].clone();
    listener["name"] = json!(name);
    let http = listener
        .pointer_mut("/filter_chains/0/filters/0/typed_config")
        .context("no HTTP settings")?;
    http["stat_prefix"] = json!(name);
    *plugin_in(http)? = json!(plugin.to_string());
    Ok(listener)
}

/// Returns the plugin configuration, a string, in HTTP settings such as those of `envoy/envoy.yaml`.
///
/// # Errors
/// When there is none.
pub fn plugin_in(http: &mut Value) -> Result<&mut Value> {
    let filters = http["http_filters"].as_array_mut().into_iter().flatten();
    let mut plugins =
        filters.filter_map(|it| it.pointer_mut("/typed_config/config/configuration/value"));
    plugins.next().context("no plugin configuration")
}

/// Lets lookups take so long that a slow machine does not change a test's result.
///
/// # Errors
/// When there is no plugin configuration.
pub fn with_patience(http: &mut Value) -> Result<()> {
    let plugin = plugin_in(http)?;
    let mut settings: Value = serde_json::from_str(plugin.as_str().context("no string")?)?;
    settings["lookup"]["timeout"] = json!("10s");
    *plugin = json!(settings.to_string());
    Ok(())
}

/// Returns the cluster `upstream` of `envoy/envoy.yaml`, with this host.
///
/// # Errors
/// When the file is missing or has changed its structure.
pub fn upstream(host: SocketAddr) -> Result<Value> {
    let ports = Ports {
        upstream: host.port(),
        ..FREE
    };
    cluster("upstream", ports)
}

/// Returns the settings of Envoy's memory allocator in `envoy/envoy.yaml`.
///
/// # Errors
/// When the file is missing or has changed its structure.
pub fn allocator() -> Result<Value> {
    const NAME: &str = "memory_allocator_manager";
    let config: Value = serde_saphyr::from_str(&config_on(FREE)?)?;
    let allocator = config.get(NAME).cloned();
    allocator.with_context(|| format!("no {NAME}"))
}

/// Returns the cluster `auth` of `envoy/envoy.yaml`, with this host.
///
/// # Errors
/// When the file is missing or has changed its structure.
pub fn auth(host: SocketAddr) -> Result<Value> {
    let ports = Ports {
        registry: host.port(),
        ..FREE
    };
    cluster("auth", ports)
}

/// Returns the circuit breakers of the cluster `auth` in `envoy/envoy.yaml`.
///
/// # Errors
/// When the file is missing or has changed its structure.
pub fn auth_limits() -> Result<Value> {
    Ok(cluster("auth", FREE)?["circuit_breakers"].clone())
}

fn cluster(name: &str, ports: Ports) -> Result<Value> {
    let config: Value = serde_saphyr::from_str(&config_on(ports)?)?;
    let clusters = config["static_resources"]["clusters"].as_array();
    let mut clusters = clusters.into_iter().flatten();
    let cluster = clusters.find(|cluster| cluster["name"] == name);
    cluster
        .cloned()
        .with_context(|| format!("no cluster {name}"))
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn ensure_free(who: &str, variable: &str, port: u16) -> Result<()> {
    TcpListener::bind(local(port)).map(drop).with_context(|| {
        format!("port {port}, for {who}, is taken: stop the process that uses it, or set {variable} to another port")
    })
}

/// Inserts the second lock of `envoy/envoy.yaml` after the filter in a listener's HTTP settings.
///
/// # Errors
/// When the file is missing or has no such lock.
pub fn lock(http: &mut Value) -> Result<()> {
    let listener = listener("shipped", &Value::Null)?;
    let shipped = listener
        .pointer("/filter_chains/0/filters/0/typed_config")
        .context("no HTTP settings")?;
    let mut filters = shipped["http_filters"].as_array().into_iter().flatten();
    let lock = filters.find(|filter| filter["name"] == "proof");
    let lock = lock.context("no proof")?.clone();
    http["local_reply_config"] = shipped["local_reply_config"].clone();
    let filters = http["http_filters"].as_array_mut();
    filters.context("no filters")?.insert(1, lock);
    Ok(())
}

/// Returns `envoy/envoy.yaml` with these ports.
///
/// # Errors
/// When it is missing or lacks one of the shipped ports.
pub fn config_on(ports: Ports) -> Result<String> {
    file_on("envoy/envoy.yaml", ports)
}

/// Returns a shipped configuration with these ports.
pub(crate) fn file_on(file: &'static str, ports: Ports) -> Result<String> {
    let mut config = std::fs::read_to_string(root().join(file)).context(file)?;
    let changes = [
        (SHIPPED.listener, ports.listener),
        (SHIPPED.admin, ports.admin),
        (SHIPPED.upstream, ports.upstream),
        (SHIPPED.registry, ports.registry),
    ];
    // In two steps, so that one port's new number is not mistaken for another's old one.
    for (from, _) in changes {
        let old = format!("port_value: {from} }}");
        ensure!(config.contains(&old), "{file} has no {old}");
        config = config.replace(&old, &format!("port_value: <{from}> }}"));
    }
    for (from, to) in changes {
        config = config.replace(&format!("<{from}>"), &to.to_string());
    }
    Ok(config)
}
