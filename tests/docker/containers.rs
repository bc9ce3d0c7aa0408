//! What the containers may do, which can reach which, and what Prometheus sees.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::compose::{Project, SERVICE_TOKEN, docker};
use crate::wait_until;

/// A container has no more rights than it needs.
pub(crate) fn hardened(project: &Project, service: &str) -> Result<()> {
    let inspected: Value =
        serde_json::from_str(&docker(&["inspect", &project.container(service)?])?)?;
    let container = &inspected[0];
    let expected = [
        ("/HostConfig/ReadonlyRootfs", "true"),
        ("/HostConfig/CapDrop", r#"["ALL"]"#),
        ("/HostConfig/SecurityOpt", r#"["no-new-privileges:true"]"#),
        ("/HostConfig/Privileged", "false"),
    ];
    for (pointer, value) in expected {
        let found = container.pointer(pointer).context(pointer)?.to_string();
        ensure!(found == value, "{pointer} is {found}, not {value}");
    }
    let ports = container["HostConfig"]["PortBindings"].to_string();
    if service == "envoy" {
        let port = project.to.port();
        let only = format!(r#"{{"10000/tcp":[{{"HostIp":"127.0.0.1","HostPort":"{port}"}}]}}"#);
        ensure!(ports == only, "published: {ports}, not {only}");
    } else {
        ensure!(
            ["{}", "null"].contains(&ports.as_str()),
            "published: {ports}"
        );
    }
    // What the kernel reports about the process, whatever was configured.
    let status = project.exec(service, &["cat", "/proc/1/status"])?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.map(str::trim)
            .with_context(|| format!("no {name} in {status}"))
    };
    let user = field("Uid:")?.split_whitespace().next().unwrap_or_default();
    ensure!(user != "0", "it runs as root");
    ensure!(field("CapEff:")?.trim_matches('0').is_empty(), "{status}");
    ensure!(field("NoNewPrivs:")? == "1", "{status}");
    let touched = project.exec(service, &["touch", "/etc/touched"]);
    ensure!(touched.is_err(), "its root filesystem can be written");
    Ok(())
}

/// The engine enforces the limits of a service's container. Its use is printed, for comparison.
///
/// The figures are those of the compose file, in MiB and processes. `docs/docker.md` has the
/// measurements.
pub(crate) fn limited(project: &Project, service: &str) -> Result<()> {
    let (memory, processes) = match service {
        "envoy" | "postgres" => (1024, 200),
        "registry" | "prometheus" => (512, 200),
        "upstream" => (256, 100),
        _ => anyhow::bail!("no known limits for {service}"),
    };
    let inspected: Value =
        serde_json::from_str(&docker(&["inspect", &project.container(service)?])?)?;
    let host = &inspected[0]["HostConfig"];
    let expected = [
        ("/Memory", json!(memory << 20)),
        ("/PidsLimit", json!(processes)),
        (
            "/LogConfig",
            json!({"Type": "json-file", "Config": {"max-file": "3", "max-size": "10m"}}),
        ),
    ];
    for (pointer, value) in expected {
        let found = host.pointer(pointer).context(pointer)?;
        ensure!(*found == value, "{pointer} is {found}, not {value}");
    }
    // What the kernel reports, in version 1 or 2 of control groups.
    for files in [
        [
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory.max",
        ],
        ["/sys/fs/cgroup/pids/pids.max", "/sys/fs/cgroup/pids.max"],
    ] {
        let limit = if files[1].contains("memory") {
            memory << 20
        } else {
            processes
        };
        let read = format!("cat {} 2>/dev/null || cat {}", files[0], files[1]);
        let found = project.exec(service, &["sh", "-c", &read])?;
        ensure!(
            found == limit.to_string(),
            "{files:?}: {found}, not {limit}"
        );
    }
    let used = docker(&[
        "stats",
        "--no-stream",
        "--format",
        "{{.MemUsage}}, {{.PIDs}} processes",
        &project.container(service)?,
    ])?;
    println!("{service} uses {used}");
    Ok(())
}

/// Sends a request from one container to a port of another, and returns the status line.
fn asked_from(project: &Project, service: &str, to: &str, request: &str) -> Result<String> {
    let (host, port) = to.split_once(':').context("host:port")?;
    let script = format!(
        "exec 3<>/dev/tcp/{host}/{port} && printf '{request}\\r\\n\\r\\n' >&3 && head -n 1 <&3"
    );
    project.exec(service, &["timeout", "5", "bash", "-c", &script])
}

/// Which container may send which requests to which other.
pub(crate) fn reach(project: &Project) -> Result<()> {
    let with_token = format!("GET /v1/changes HTTP/1.0\\r\\nauthorization: Bearer {SERVICE_TOKEN}");
    let rows = [
        // The registry answers requests that have the token.
        ("envoy", "registry:8081", with_token.as_str(), Some("200")),
        (
            "envoy",
            "registry:8081",
            "GET /v1/changes HTTP/1.0",
            Some("401"),
        ),
        // The admin API and the metrics have their own ports, and there is no admin token.
        (
            "envoy",
            "registry:8081",
            "GET /admin/v1/keys HTTP/1.0",
            Some("400"),
        ),
        (
            "envoy",
            "registry:8081",
            "GET /metrics HTTP/1.0",
            Some("400"),
        ),
        (
            "envoy",
            "registry:8082",
            "GET /admin/v1/keys HTTP/1.0",
            Some("404"),
        ),
        (
            "envoy",
            "registry:8083",
            "GET /metrics HTTP/1.0",
            Some("200"),
        ),
        (
            "envoy",
            "registry:8083",
            "GET /v1/changes HTTP/1.0",
            Some("400"),
        ),
        // Other containers can read only what Prometheus needs of Envoy's admin page.
        (
            "registry",
            "envoy:9902",
            "GET /stats/prometheus HTTP/1.1\\r\\nhost: x",
            Some("200"),
        ),
        (
            "registry",
            "envoy:9902",
            "GET /ready HTTP/1.1\\r\\nhost: x",
            Some("200"),
        ),
        (
            "registry",
            "envoy:9902",
            "GET /config_dump HTTP/1.1\\r\\nhost: x",
            Some("404"),
        ),
        (
            "registry",
            "envoy:9902",
            "GET /stats/prometheus/../../config_dump HTTP/1.1\\r\\nhost: x",
            Some("404"),
        ),
        (
            "registry",
            "envoy:9902",
            "POST /quitquitquit HTTP/1.1\\r\\nhost: x\\r\\ncontent-length: 0",
            Some("404"),
        ),
        (
            "registry",
            "envoy:9902",
            "POST /stats/prometheus HTTP/1.1\\r\\nhost: x\\r\\ncontent-length: 0",
            Some("404"),
        ),
        (
            "registry",
            "envoy:9901",
            "GET /ready HTTP/1.1\\r\\nhost: x",
            None,
        ),
        // The API can be reached only through Envoy.
        (
            "registry",
            "upstream:8080",
            "GET / HTTP/1.1\\r\\nhost: x",
            None,
        ),
        ("upstream", "registry:8081", "GET /healthz HTTP/1.0", None),
    ];
    for (from, to, request, expected) in rows {
        let answer = asked_from(project, from, to, request);
        let case = format!("{from} to {to}, {request}: {answer:?}");
        match (&answer, expected) {
            (Ok(line), Some(status)) => ensure!(
                line.contains(&format!(" {status} ")),
                "{case}, not {status}"
            ),
            (Err(_), None) => {}
            _ => anyhow::bail!("{case}, not {expected:?}"),
        }
    }
    Ok(())
}

/// Prometheus reaches both targets, and has Keystile's counters.
pub(crate) fn prometheus(project: &Project) -> Result<()> {
    let ask = ["promtool", "query", "instant", "http://127.0.0.1:9090"];
    for (query, expected) in [
        (r#"up{job="envoy"}"#, "=> 1 @"),
        (r#"up{job="keystile-registry"}"#, "=> 1 @"),
        (r#"keystile_requests_total{outcome="allowed"} > 0"#, "=> "),
        ("keystile_registry_requests_total > 0", "=> "),
    ] {
        wait_until(&format!("Prometheus has {query}"), || {
            let command = [&ask[..], &[query]].concat();
            // Prometheus may not be up yet.
            let answer = project.exec("prometheus", &command).unwrap_or_default();
            Ok(answer.contains(expected))
        })?;
    }
    Ok(())
}

/// The registry's image is small, and has the certificates of public authorities. Its size is printed.
pub(crate) fn registry_image(project: &Project) -> Result<()> {
    let image = project.inspect("registry", "{{.Image}}")?;
    let size: u64 = docker(&["image", "inspect", "--format", "{{.Size}}", &image])?.parse()?;
    let layers = docker(&["history", "--format", "{{.Size}}  {{.CreatedBy}}", &image])?;
    println!(
        "the registry's image has {} MB:\n{layers}",
        size / 1_000_000
    );
    ensure!(size < 150_000_000, "more than 150 MB");
    let user = docker(&["image", "inspect", "--format", "{{.Config.User}}", &image])?;
    ensure!(user == "10001:10001", "its user is {user:?}");
    let trusted = project.exec("registry", &["cat", "/etc/ssl/certs/ca-certificates.crt"])?;
    ensure!(
        trusted.contains("BEGIN CERTIFICATE"),
        "no trusted authorities"
    );
    let left = project.exec("registry", &["bash", "-c", "command -v cargo cc || true"])?;
    ensure!(left.is_empty(), "it contains build tools: {left}");
    Ok(())
}
