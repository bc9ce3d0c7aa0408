//! Child processes that end with their owner. Their output is kept in a file.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::memory;

/// How long a process may take to start or to end. Generous: passing tests never wait for it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Calls `is_so` repeatedly until it returns true.
///
/// # Errors
/// When `is_so` fails, or does not return true within [`PATIENCE`].
pub fn wait_until(mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so()? {
        ensure!(Instant::now() < deadline, "not in time");
        thread::park_timeout(Duration::from_millis(5));
    }
    Ok(())
}

/// Waits until a moment. Only for tests that are about time.
pub fn until(moment: Instant) {
    while let Some(left) = moment.checked_duration_since(Instant::now()) {
        if left.is_zero() {
            return;
        }
        thread::park_timeout(left);
    }
}

/// A running program. Dropping it ends it.
pub struct Process {
    name: &'static str,
    child: Child,
    lines: Mutex<Receiver<String>>,
    log: PathBuf,
}

impl Process {
    /// Starts a program whose output goes to `log`. With `echo`, its standard output is also shown,
    /// and its standard error is only shown.
    ///
    /// # Errors
    /// When the program cannot be started or the log cannot be written.
    pub fn start(
        name: &'static str,
        command: &mut Command,
        log: &Path,
        echo: bool,
    ) -> Result<Self> {
        let mut file = File::create(log).with_context(|| format!("cannot write {log:?}"))?;
        let stderr = if echo {
            Stdio::inherit()
        } else {
            file.try_clone()?.into()
        };
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .with_context(|| format!("cannot start {name}: {command:?}"))?;
        let (sender, lines) = channel();
        if let Some(stdout) = child.stdout.take() {
            thread::spawn(move || {
                for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
                    let line = String::from_utf8_lossy(&line).into_owned();
                    // Reading goes on even if the log can no longer be written.
                    let _ = writeln!(file, "{line}");
                    if echo {
                        println!("{line}");
                    }
                    // The receiver may be gone.
                    let _ = sender.send(line);
                }
            });
        }
        Ok(Self {
            name,
            child,
            lines: Mutex::new(lines),
            log: log.to_owned(),
        })
    }

    /// Waits for a line on standard output for which `pick` returns something, and returns that.
    ///
    /// # Errors
    /// When the program ends or [`PATIENCE`] runs out first. The error includes the output.
    pub fn wait_for_line<T>(&mut self, pick: impl Fn(&str) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let lines = self.lines.get_mut().unwrap_or_else(PoisonError::into_inner);
            match lines.recv_timeout(left) {
                Ok(line) => {
                    if let Some(found) = pick(&line) {
                        return Ok(found);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    bail!("{} is not ready: {}", self.name, self.written());
                }
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("{} ended early: {}", self.name, self.written());
                }
            }
        }
    }

    /// Calls `probe` repeatedly until it returns something, and returns that.
    ///
    /// # Errors
    /// When the program ends or [`PATIENCE`] runs out first. The error includes the output.
    pub fn wait_until<T>(&mut self, mut probe: impl FnMut() -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = probe() {
                return Ok(found);
            }
            if let Some(status) = self.ended()? {
                bail!("{} ended with {status}: {}", self.name, self.written());
            }
            if Instant::now() > deadline {
                bail!("{} is not ready: {}", self.name, self.written());
            }
            thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// Returns the program's exit status, if it has ended.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Returns the process ID.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills the program without a chance to finish anything, as in a crash.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn crash(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Returns how much memory the program has in RAM, in bytes.
    ///
    /// # Errors
    /// When the program has ended, or the system does not say.
    pub fn resident_bytes(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.id());
        memory::resident(&std::fs::read_to_string(&path).context(path)?)
    }

    /// Returns how much private memory the program has in RAM, in bytes.
    ///
    /// # Errors
    /// When the program has ended, or the system does not say.
    pub fn private_bytes(&self) -> Result<u64> {
        let path = format!("/proc/{}/smaps_rollup", self.id());
        memory::private(&std::fs::read_to_string(&path).context(path)?)
    }

    /// Returns how much of V8's linear memories is in RAM, in bytes.
    ///
    /// # Errors
    /// When the program has ended or has no linear memory, or the system does not say.
    pub fn wasm_memory_bytes(&self) -> Result<u64> {
        let path = format!("/proc/{}/smaps", self.id());
        memory::linear(&std::fs::read_to_string(&path).context(path)?)
    }

    /// Returns everything that the program has written so far.
    pub fn written(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Process {
    /// Sends SIGTERM, and SIGKILL to a program that does not end in time.
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // The program may have ended already.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
            }
            thread::park_timeout(Duration::from_millis(10));
        }
    }
}
