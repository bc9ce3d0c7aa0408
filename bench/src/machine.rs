//! The machine and the software of the measurement.

use std::process::Command;

use anyhow::{Context, Result};
use keystile_e2e::{envoy, root};

use crate::cpu::Cores;
use crate::load;

/// A description of them, as strings.
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: String,
    pub(crate) kernel: String,
    pub(crate) envoy: String,
    pub(crate) load: String,
    pub(crate) commit: String,
}

impl Machine {
    /// Collects the description.
    pub(crate) fn inspect(cores: &Cores) -> Result<Self> {
        let read = |path| std::fs::read_to_string(path).context(path);
        let cpus = read("/proc/cpuinfo")?;
        let model = cpus
            .lines()
            .find_map(|line| line.strip_prefix("model name"));
        let model = model.and_then(|rest| rest.split_once(": "));
        let hypervisor = cpus.contains(" hypervisor");
        let memory = read("/proc/meminfo")?;
        let memory = memory
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"));
        let memory = memory.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<f64>().ok());
        let load_cores: Vec<_> = cores.load.iter().map(ToString::to_string).collect();
        let apart = if cores.are_apart() {
            ""
        } else {
            "; they share it, so the figures are unreliable"
        };
        Ok(Self {
            cpu: format!(
                "{}{}, {:.0} GiB of memory",
                model.map_or("unknown", |(_, model)| model),
                if hypervisor { " (virtual machine)" } else { "" },
                memory.context("no MemTotal")? / 1024.0 / 1024.0,
            ),
            cores: format!(
                "Envoy with one worker on core {}, everything else on {}{apart}",
                cores.envoy,
                load_cores.join(", "),
            ),
            kernel: format!("Linux {}", read("/proc/sys/kernel/osrelease")?.trim()),
            envoy: envoy_version()?,
            load: load::version()?,
            commit: commit(),
        })
    }
}

/// Returns Envoy's version, from `envoy  version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL`.
fn envoy_version() -> Result<String> {
    let output = Command::new(envoy::program()?).arg("--version").output()?;
    let written = String::from_utf8_lossy(&output.stdout);
    let version = written.split_once("version: ");
    let version = version.and_then(|(_, rest)| rest.split('/').nth(1));
    let version = version.with_context(|| format!("Envoy's version in {written:?}"))?;
    Ok(version.to_owned())
}

/// Returns the commit that was measured, or `unknown` outside of Git.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .current_dir(root())
            .args(arguments)
            .output();
        let output = output.ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["log", "-1", "--format=%h of %cs"]) else {
        return "unknown".to_owned();
    };
    // The folder that the report itself is written to does not count.
    let changes = git(&[
        "status",
        "--porcelain",
        "--untracked-files=no",
        "--",
        ".",
        ":!docs",
    ]);
    match changes.as_deref() {
        Some("") => commit,
        _ => format!("{commit}, with changes"),
    }
}
