//! Runs the binary, and sends requests to its server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::test_database::TestDatabase;

const PROGRAM: &str = env!("CARGO_BIN_EXE_keystile-registry");

/// A directory with its own database.
pub(crate) struct Registry {
    pub(crate) dir: TempDir,
    /// The database to use instead of the default one in the directory.
    pub(crate) database: Option<TestDatabase>,
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self {
            dir: TempDir::new().expect("directory"),
            database: None,
        }
    }

    pub(crate) fn on(database: TestDatabase) -> Self {
        Self {
            database: Some(database),
            ..Self::new()
        }
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        self.prepared(Command::new(PROGRAM), args)
    }

    /// Returns the command with a limit on open files that it cannot raise.
    pub(crate) fn command_with_files(&self, files: u32, args: &[&str]) -> Command {
        let mut command = Command::new("sh");
        let script = format!("ulimit -n {files} && exec \"$@\"");
        command.args(["-c", &script, "sh", PROGRAM]);
        self.prepared(command, args)
    }

    fn prepared(&self, mut command: Command, args: &[&str]) -> Command {
        command
            .current_dir(self.dir.path())
            .env_remove("KEYSTILE_DATABASE_URL")
            .env_remove("KEYSTILE_PEPPER")
            .env_remove("KEYSTILE_TAG_SECRET")
            .env_remove("KEYSTILE_ADMIN_TOKEN")
            .env_remove("KEYSTILE_SERVICE_TOKEN")
            .env_remove("KEYSTILE_LOG_FORMAT")
            .env_remove("RUST_LOG")
            .env_remove("SUDO_USER")
            .args(args);
        if let Some(database) = &self.database {
            command.env("KEYSTILE_DATABASE_URL", &database.url);
        }
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("run")
    }

    /// Runs the command with this standard input.
    pub(crate) fn run_with(&self, args: &[&str], input: &str) -> Output {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().expect("spawn");
        let mut stdin = child.stdin.take().expect("stdin");
        // A command that does not read it may have exited already.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        child.wait_with_output().expect("output")
    }

    /// Returns the one JSON value that a command with `--json` prints.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let output = self.run(&[args, &["--json"]].concat());
        assert!(output.status.success(), "{args:?}: {output:?}");
        serde_json::from_slice(&output.stdout).expect("exactly one JSON value on stdout")
    }

    /// Returns the exit code and the error message of a command that must fail.
    pub(crate) fn error(&self, args: &[&str]) -> (Option<i32>, String) {
        let mut command = self.command(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("spawn");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("stdout");
        // Waits only for the first line: a server that starts would keep running.
        BufReader::new(stdout).read_line(&mut line).expect("stdout");
        if !line.is_empty() {
            child.kill().expect("kill");
        }
        let output = child.wait_with_output().expect("output");
        assert_eq!(line, "", "{args:?}: {output:?}");
        (output.status.code(), text(&output.stderr))
    }

    /// Returns the contents of the database's files, including the write-ahead log.
    pub(crate) fn database_bytes(&self) -> Vec<u8> {
        let files = std::fs::read_dir(self.dir.path()).expect("directory");
        files
            .flat_map(|file| std::fs::read(file.expect("entry").path()).expect("file"))
            .collect()
    }

    pub(crate) fn serve(&self) -> Server {
        self.start(self.command(&["serve", "--listen", "127.0.0.1:0", "--json"]))
    }

    /// Starts a server with a command that has it listen on a free port and print JSON.
    pub(crate) fn start(&self, command: Command) -> Server {
        Server::start(command, |line| {
            let ready: Value = serde_json::from_str(line).expect("JSON");
            field(&ready, "listening").to_owned()
        })
    }
}

/// A registry that serves until it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// The first line that it printed.
    ready: String,
    child: Child,
    log: Arc<Mutex<String>>,
    /// Reads the log until it ends. `None` after it has been taken.
    reading: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server, and reads its address from the first line that it prints.
    pub(crate) fn start(mut command: Command, address: impl Fn(&str) -> String) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("spawn");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("stdout"))
            .read_line(&mut line)
            .expect("the address");
        let address = address(&line).parse().expect("address");
        // Read all the time, because a server whose log is not read blocks when the pipe is full.
        let stderr = BufReader::new(child.stderr.take().expect("stderr"));
        let log = Arc::<Mutex<String>>::default();
        let to = Arc::clone(&log);
        let reading = thread::spawn(move || {
            for line in stderr.lines() {
                let line = line.expect("log") + "\n";
                to.lock().expect("the log").push_str(&line);
            }
        });
        Self {
            address,
            ready: line,
            child,
            log,
            reading: Some(reading),
        }
    }

    /// Returns the first line that the server printed.
    pub(crate) fn ready(&self) -> Value {
        serde_json::from_str(&self.ready).expect("JSON")
    }

    /// Returns the address of the separate listener of the admin API or the metrics.
    pub(crate) fn secondary(&self, name: &str) -> SocketAddr {
        field(&self.ready(), name).parse().expect("address")
    }

    /// Returns the server's resident memory, in KiB.
    pub(crate) fn resident(&self) -> u64 {
        let file = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(file).expect("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let size = line.and_then(|line| line.trim().strip_suffix(" kB"));
        size.expect("VmRSS").parse().expect("a number")
    }

    pub(crate) fn lookup(&self, hash: &str) -> (u16, Value) {
        get(self.address, &format!("/v1/key-hashes/{hash}"))
    }

    /// Waits until the server logs something.
    pub(crate) fn logs(&self, what: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let log = self.log.lock().expect("the log").clone();
            if log.contains(what) {
                return;
            }
            assert!(Instant::now() < deadline, "no {what:?}: {log}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Stops the server with a signal, and returns its log.
    pub(crate) fn stop(self, signal: Signal) -> String {
        self.signal(signal);
        self.ended()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("pid");
        kill(Pid::from_raw(pid), signal).expect("kill");
    }

    /// Waits until the server has exited successfully, and returns its log.
    pub(crate) fn ended(mut self) -> String {
        let exit = self.child.wait().expect("exit");
        let reading = self.reading.take().expect("a server ends once");
        reading.join().expect("the log's reader");
        let log = self.log.lock().expect("the log").clone();
        assert!(exit.success(), "{exit}: {log}");
        log
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails only if the server has already exited.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn get(address: SocketAddr, path: &str) -> (u16, Value) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: registry\r\nconnection: close\r\n\r\n");
    let (status, body) = exchange(address, request.as_bytes());
    (status, serde_json::from_str(&body).expect("JSON"))
}

/// Sends a request that asks to close the connection, and returns the response's status and body.
pub(crate) fn exchange(address: SocketAddr, request: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("connect");
    stream.write_all(request).expect("send");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("receive");
    let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
    let status = head.split(' ').nth(1).expect("status");
    (status.parse().expect("status"), body.to_owned())
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

pub(crate) fn field<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().expect(name)
}
