//! Which core each process uses, and the CPU time of Envoy's threads, as the kernel counts it.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Envoy's core, and those of everything else.
pub(crate) struct Cores {
    pub(crate) envoy: usize,
    pub(crate) load: Vec<usize>,
}

impl Cores {
    /// Gives Envoy the last core that this process may use, and the load the others. If there is
    /// only one core, they share it, and the report says so.
    pub(crate) fn split() -> Result<Self> {
        let allowed = sched_getaffinity(Pid::from_raw(0))?;
        let mut load: Vec<_> = (0..CpuSet::count())
            .filter(|core| allowed.is_set(*core).unwrap_or(false))
            .collect();
        let envoy = load.pop().context("no core")?;
        if load.is_empty() {
            load.push(envoy);
        }
        Ok(Self { envoy, load })
    }

    /// Keeps this process, and those that it starts, off Envoy's core.
    pub(crate) fn move_to_load(&self) -> Result<()> {
        let mut set = CpuSet::new();
        for core in &self.load {
            set.set(*core)?;
        }
        Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
    }

    /// Returns true if Envoy has a core that the load does not use.
    pub(crate) fn are_apart(&self) -> bool {
        !self.load.contains(&self.envoy)
    }

    /// Returns a command that runs Envoy on its core.
    pub(crate) fn envoy_command(&self) -> Result<Command> {
        let mut command = Command::new("taskset");
        command
            .args(["--cpu-list", &self.envoy.to_string()])
            .arg(keystile_e2e::envoy::program()?);
        Ok(command)
    }
}

/// CPU time of a running Envoy so far, in nanoseconds.
#[derive(Clone, Copy)]
pub(crate) struct Cpu {
    /// Of its only worker.
    pub(crate) worker: u64,
    /// Of all its other threads.
    pub(crate) rest: u64,
}

impl Cpu {
    /// Reads the CPU time of a running Envoy. That of a running thread may lag by some
    /// milliseconds; that of a sleeping one is exact.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let (mut cpu, mut workers) = (Self { worker: 0, rest: 0 }, 0);
        for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
            let task = task?.path();
            let read = |name| std::fs::read_to_string(task.join(name));
            // A thread may end meanwhile.
            let (Ok(name), Ok(books)) = (read("comm"), read("schedstat")) else {
                continue;
            };
            let time = books.split(' ').next().and_then(|time| time.parse().ok());
            let time: u64 = time.with_context(|| format!("schedstat is {books:?}"))?;
            if name.starts_with("wrk:worker") {
                cpu.worker += time;
                workers += 1;
            } else {
                cpu.rest += time;
            }
        }
        ensure!(workers == 1, "Envoy has {workers} workers, not 1");
        Ok(cpu)
    }
}
