//! A real Envoy: its configuration, its start and its admin page.

use std::collections::HashMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::process::{Process, wait_until};
use crate::{client, root};

/// A listener with the filter, in front of the cluster `upstream`.
pub struct Listener {
    /// Its name, by which [`Envoy::listener`] finds its address.
    pub name: &'static str,
    /// The plugin configuration.
    pub plugin: String,
    /// Whether Envoy first normalizes `..` and `//` in paths.
    pub normalize_path: bool,
    /// Whether a paused request's body still runs through the filter.
    pub allow_on_headers_stop_iteration: bool,
    /// Whether each request writes a line of JSON to standard output: its `path`, `status` and
    /// `keystile`, the filter's own entry. `--file-flush-interval-msec` sets how soon.
    pub access_log: bool,
}

impl Listener {
    /// Creates a listener with the recommended settings and this plugin configuration.
    pub fn new(name: &'static str, plugin: &Value) -> Self {
        Self {
            name,
            plugin: plugin.to_string(),
            normalize_path: true,
            allow_on_headers_stop_iteration: false,
            access_log: false,
        }
    }

    fn config(&self) -> Value {
        json!({
            "name": self.name,
            "address": address(0),
            "filter_chains": [{"filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                    "stat_prefix": self.name,
                    "access_log": self.access_logs(),
                    "codec_type": "AUTO",
                    "normalize_path": self.normalize_path,
                    "merge_slashes": self.normalize_path,
                    // The tests identify their requests by x-request-id.
                    "preserve_external_request_id": true,
                    // Enough for oversized headers to reach the filter.
                    "max_request_headers_kb": 96,
                    "common_http_protocol_options": {"max_headers_count": 500},
                    "http_protocol_options": {"enable_trailers": true},
                    "route_config": {"virtual_hosts": [{
                        "name": "all",
                        "domains": ["*"],
                        "routes": [
                            {"match": {"prefix": "/"}, "route": {"cluster": "upstream"}},
                        ],
                    }]},
                    "http_filters": [
                        {"name": "keystile", "typed_config": {
                            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                            "config": {
                                "name": self.name,
                                "failure_policy": "FAIL_CLOSED",
                                "allow_on_headers_stop_iteration": self.allow_on_headers_stop_iteration,
                                "vm_config": {
                                    "runtime": "envoy.wasm.runtime.v8",
                                    "code": {"local": {"filename": module()}},
                                },
                                "configuration": {
                                    "@type": "type.googleapis.com/google.protobuf.StringValue",
                                    "value": self.plugin,
                                },
                            },
                        }},
                        {"name": "envoy.filters.http.router", "typed_config": {
                            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
                        }},
                    ],
                },
            }]}],
        })
    }

    fn access_logs(&self) -> Value {
        if !self.access_log {
            return json!([]);
        }
        json!([{
            "name": "envoy.access_loggers.stdout",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
                "log_format": {"json_format": {
                    "path": "%PATH(NQ:PATH)%",
                    "status": "%RESPONSE_CODE%",
                    "keystile": "%FILTER_STATE(wasm.keystile:PLAIN)%",
                }},
            },
        }])
    }
}

/// Returns the path of the module under test.
pub fn module() -> PathBuf {
    root().join("dist/keystile.wasm")
}

fn address(port: u16) -> Value {
    json!({"socket_address": {"address": "127.0.0.1", "port_value": port}})
}

/// Returns a cluster with one host or none.
pub fn cluster(name: &str, host: Option<SocketAddr>) -> Value {
    let hosts: Vec<_> = host
        .iter()
        .map(|host| json!({"endpoint": {"address": address(host.port())}}))
        .collect();
    json!({
        "name": name,
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": hosts}]},
    })
}

/// Returns a cluster over HTTP/2, which carries trailers.
pub fn http2_cluster(name: &str, host: SocketAddr) -> Value {
    let mut cluster = cluster(name, Some(host));
    cluster["typed_extension_protocol_options"] = json!({
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        },
    });
    cluster
}

/// Returns a complete configuration for Envoy.
pub fn config(listeners: &[Listener], clusters: &[Value]) -> Value {
    let listeners: Vec<_> = listeners.iter().map(Listener::config).collect();
    json!({
        "admin": {"address": address(0)},
        "static_resources": {"listeners": listeners, "clusters": clusters},
    })
}

/// Returns a cluster of a configuration.
///
/// # Errors
/// When the configuration has no such cluster.
pub fn cluster_in<'a>(config: &'a mut Value, name: &str) -> Result<&'a mut Value> {
    let clusters = config["static_resources"]["clusters"].as_array_mut();
    let mut clusters = clusters.into_iter().flatten();
    let cluster = clusters.find(|cluster| cluster["name"] == name);
    cluster.with_context(|| format!("no cluster {name}"))
}

/// Adds a copy of a cluster under another name to a configuration, and returns it.
///
/// # Errors
/// When there is no such cluster.
pub fn copy_cluster<'a>(config: &'a mut Value, from: &str, to: &str) -> Result<&'a mut Value> {
    let mut copy = cluster_in(config, from)?.clone();
    copy["name"] = json!(to);
    copy["load_assignment"]["cluster_name"] = json!(to);
    let clusters = config["static_resources"]["clusters"].as_array_mut();
    clusters.context("no clusters")?.push(copy);
    cluster_in(config, to)
}

/// Returns the HTTP settings of a configuration's first listener.
///
/// # Errors
/// When there is no listener.
pub fn http_settings(config: &mut Value) -> Result<&mut Value> {
    let first = each_http_settings(config).next();
    first.map(|(_, http)| http).context("no listener")
}

/// Returns the name and the HTTP settings of each listener in a configuration.
pub fn each_http_settings(config: &mut Value) -> impl Iterator<Item = (String, &mut Value)> {
    let listeners = config["static_resources"]["listeners"].as_array_mut();
    listeners.into_iter().flatten().filter_map(|listener| {
        let name = listener["name"].as_str()?.to_owned();
        let http = listener.pointer_mut("/filter_chains/0/filters/0/typed_config")?;
        Some((name, http))
    })
}

/// A running Envoy.
pub struct Envoy {
    process: Process,
    admin: SocketAddr,
    listeners: HashMap<String, SocketAddr>,
}

/// Returns the Envoy to use: `ENVOY`, or the one that `make setup` installed.
///
/// # Errors
/// When there is none.
pub fn program() -> Result<PathBuf> {
    let found = Command::new(root().join("scripts/find-envoy.sh")).output()?;
    ensure!(
        found.status.success(),
        "no Envoy; run `make setup`, or set ENVOY. {}",
        String::from_utf8_lossy(&found.stderr)
    );
    Ok(PathBuf::from(String::from_utf8(found.stdout)?.trim_end()))
}

/// How to start Envoy. The default is one worker that logs warnings.
pub struct Launch {
    /// The number of workers, or `None` for as many as there are processors.
    pub workers: Option<u32>,
    /// The level of all loggers.
    pub log_level: &'static str,
    /// Further command-line options.
    pub options: Vec<String>,
    /// `KEYSTILE_SERVICE_TOKEN` in Envoy's environment.
    pub token: Option<String>,
    /// The command to start instead of [`program`], which takes Envoy's arguments.
    pub command: Option<Command>,
    /// Whether Envoy's output is also shown.
    pub echo: bool,
}

impl Default for Launch {
    fn default() -> Self {
        Self {
            workers: Some(1),
            log_level: "warning",
            options: Vec::new(),
            token: None,
            command: None,
            echo: false,
        }
    }
}

impl Launch {
    /// Returns the default with this number of workers.
    pub fn workers(workers: u32) -> Self {
        Self {
            workers: Some(workers),
            ..Self::default()
        }
    }

    /// Returns the default with a worker for each processor, as operators start Envoy.
    pub fn all_processors() -> Self {
        Self {
            workers: None,
            ..Self::default()
        }
    }

    /// Adds command-line options.
    #[must_use]
    pub fn with(mut self, options: &[&str]) -> Self {
        let options = options.iter().map(|&option| option.to_owned());
        self.options.extend(options);
        self
    }

    /// Starts Envoy on a configuration, YAML or JSON, from the project's root, and waits until it is
    /// ready. Its configuration and log go to `folder`, which is created if it does not exist.
    ///
    /// # Errors
    /// When it does not become ready. The error includes its output.
    pub fn start(self, config: impl Display, folder: &Path) -> Result<Envoy> {
        ensure!(
            module().exists(),
            "dist/keystile.wasm is missing; run `make build`"
        );
        std::fs::create_dir_all(folder)?;
        let (file, admin_file) = (folder.join("envoy.yaml"), folder.join("envoy-admin"));
        std::fs::write(&file, config.to_string())?;
        let mut command = match self.command {
            Some(command) => command,
            None => Command::new(program()?),
        };
        command
            .current_dir(root())
            .env_remove("KEYSTILE_SERVICE_TOKEN")
            .envs(self.token.map(|token| ("KEYSTILE_SERVICE_TOKEN", token)))
            .arg("--config-path")
            .arg(&file)
            .arg("--admin-address-path")
            .arg(&admin_file)
            .arg("--disable-hot-restart")
            .args(["--log-level", self.log_level])
            // Access logs are written after 50 ms instead of 10 s.
            .args(["--file-flush-interval-msec", "50"])
            .args(self.options);
        if let Some(workers) = self.workers {
            command.arg("--concurrency").arg(workers.to_string());
        }
        let mut process =
            Process::start("Envoy", &mut command, &folder.join("envoy.log"), self.echo)?;
        let admin = process.wait_until(|| {
            let admin = std::fs::read_to_string(&admin_file).ok()?.parse().ok()?;
            (client::get(admin, "/ready", []).ok()?.status == 200).then_some(admin)
        })?;
        let listeners = listeners(&client::get(admin, "/listeners?format=json", [])?.text())?;
        Ok(Envoy {
            process,
            admin,
            listeners,
        })
    }
}

impl Envoy {
    /// Returns the address of a listener.
    ///
    /// # Errors
    /// When there is no listener with that name.
    pub fn listener(&self, name: &str) -> Result<SocketAddr> {
        let address = self.listeners.get(name).copied();
        address.with_context(|| format!("no listener {name}"))
    }

    /// Returns the address of the admin page.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Returns the value of a counter or a gauge, or 0 if Envoy does not have it.
    ///
    /// # Errors
    /// When the admin page does not answer.
    pub fn counter(&self, name: &str) -> Result<u64> {
        // A regular expression: other characters become dots, and extra matches are dropped below.
        let filter = name.replace(|c: char| !c.is_ascii_alphanumeric() && c != '_', ".");
        let path = format!("/stats?filter=^{filter}$");
        let stats = client::get(self.admin, &path, [])?.text();
        Ok(stats
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(other, _)| *other == name)
            .and_then(|(_, value)| value.parse().ok())
            .unwrap_or(0))
    }

    /// Waits until a counter or a gauge has exactly this value.
    ///
    /// # Errors
    /// When the value is not reached in time, with the last value, or when Envoy is gone.
    pub fn wait_for_counter(&self, name: &str, expected: u64) -> Result<()> {
        let mut value = 0;
        wait_until(|| {
            value = self.counter(name)?;
            Ok(value == expected)
        })
        .with_context(|| format!("{name} is {value}, not {expected}"))
    }

    /// Waits until a counter has not changed for three times as long as the filter takes to report.
    ///
    /// # Errors
    /// When it does not stop in time, or when Envoy is gone.
    pub fn wait_until_constant(&self, name: &str) -> Result<()> {
        const LONG: Duration = Duration::from_millis(1500);
        let mut last = (self.counter(name)?, Instant::now());
        wait_until(|| {
            let value = self.counter(name)?;
            if value != last.0 {
                last = (value, Instant::now());
            }
            Ok(last.1.elapsed() > LONG)
        })
        .with_context(|| format!("{name} still changes"))
    }

    /// Returns the counters of a cluster that have been used so far, one per line.
    ///
    /// # Errors
    /// When the admin page does not answer.
    pub fn counted_of_cluster(&self, name: &str) -> Result<String> {
        let path = format!("/stats?usedonly&type=Counters&filter=^cluster.{name}.");
        Ok(client::get(self.admin, &path, [])?.text())
    }

    /// Returns the statistics in Prometheus' format.
    ///
    /// # Errors
    /// When the admin page does not answer.
    pub fn prometheus(&self) -> Result<String> {
        Ok(client::get(self.admin, "/stats/prometheus", [])?.text())
    }

    /// Returns the process ID.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Returns the process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Returns how much memory Envoy has in RAM, in bytes.
    ///
    /// # Errors
    /// As [`Process::resident_bytes`].
    pub fn resident_bytes(&self) -> Result<u64> {
        self.process.resident_bytes()
    }

    /// Returns how much private memory Envoy has in RAM, in bytes.
    ///
    /// # Errors
    /// As [`Process::private_bytes`].
    pub fn private_bytes(&self) -> Result<u64> {
        self.process.private_bytes()
    }

    /// Returns how much linear memory of the filter's VMs is in RAM, in bytes.
    ///
    /// # Errors
    /// As [`Process::wasm_memory_bytes`].
    pub fn wasm_memory_bytes(&self) -> Result<u64> {
        self.process.wasm_memory_bytes()
    }

    /// Checks that no VM of the filter has died so far and that the filter has never panicked.
    ///
    /// # Errors
    /// When Envoy's log says otherwise.
    pub fn no_vm_died(&self) -> Result<()> {
        let written = self.written();
        for word in [
            "panicked",
            "Proxy-Wasm plugin in-VM backtrace",
            "Function: proxy_on_",
        ] {
            ensure!(!written.contains(word), "{word} in Envoy's log");
        }
        Ok(())
    }

    /// Returns everything that Envoy has written so far.
    pub fn written(&self) -> String {
        self.process.written()
    }
}

fn listeners(json: &str) -> Result<HashMap<String, SocketAddr>> {
    let all: Value = serde_json::from_str(json).context("Envoy's list of listeners")?;
    let statuses = all["listener_statuses"].as_array().into_iter().flatten();
    statuses
        .map(|status| {
            let socket = &status["local_address"]["socket_address"];
            let name = status["name"].as_str().context("no name")?;
            let host = socket["address"].as_str().context("no address")?;
            let port = u16::try_from(socket["port_value"].as_u64().context("no port")?)?;
            Ok((name.to_owned(), SocketAddr::new(host.parse()?, port)))
        })
        .collect()
}

/// Runs `envoy --mode validate`, which configures the filter too.
///
/// # Errors
/// When Envoy refuses the configuration. The error is Envoy's output.
pub fn validate(config: &Path) -> Result<()> {
    let output = Command::new(program()?)
        .current_dir(root())
        .args(["--mode", "validate", "--config-path"])
        .arg(config)
        .output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
