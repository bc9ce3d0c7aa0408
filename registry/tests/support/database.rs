//! Databases for tests. PostgreSQL runs one server for each test process, with a separate database
//! for each test.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A database without tables. It is removed when it is dropped, or at the latest when the test
/// process ends.
pub(crate) struct TestDatabase {
    /// For `--database-url`.
    pub(crate) url: String,
    _folder: Option<TempDir>,
}

impl TestDatabase {
    pub(crate) fn sqlite() -> Self {
        let folder = TempDir::new().expect("folder");
        Self {
            url: format!("sqlite://{}/keys.db", folder.path().display()),
            _folder: Some(folder),
        }
    }

    pub(crate) fn postgres() -> Self {
        Self::with_encoding("UTF8")
    }

    /// Creates a PostgreSQL database that cannot store every character.
    #[allow(
        dead_code,
        reason = "not every crate that this file is part of needs it"
    )]
    pub(crate) fn latin_1() -> Self {
        Self::with_encoding("LATIN1")
    }

    fn with_encoding(encoding: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let server = Postgres::shared();
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let created = Command::new(server.programs.join("createdb"))
            .args(["--username=keystile", "--template=template0"])
            .args(["--encoding", encoding, "--host", &server.folder, &name])
            .output()
            .expect("createdb");
        assert!(created.status.success(), "{created:?}");
        Self {
            url: format!("postgres:///{name}?host={}&user=keystile", server.folder),
            _folder: None,
        }
    }

    /// Returns a database on a server that the test has started itself and still owns.
    #[allow(
        dead_code,
        reason = "not every crate that this file is part of needs it"
    )]
    pub(crate) fn on(server: &Postgres) -> Self {
        Self {
            url: format!("postgres:///postgres?host={}&user=keystile", server.folder),
            _folder: None,
        }
    }

    /// Returns the same database on a replica of its server.
    #[allow(
        dead_code,
        reason = "not every crate that this file is part of needs it"
    )]
    pub(crate) fn moved(&self, primary: &Postgres, replica: &Postgres) -> Self {
        Self {
            url: self.url.replace(&primary.folder, &replica.folder),
            _folder: None,
        }
    }

    /// Stops the shared PostgreSQL server, and so all databases on it, as a crash would.
    #[allow(
        dead_code,
        reason = "not every crate that this file is part of needs it"
    )]
    pub(crate) fn crash_postgres() {
        Postgres::shared().control(&["--mode=immediate", "stop"]);
    }

    /// Starts the shared PostgreSQL server again.
    #[allow(
        dead_code,
        reason = "not every crate that this file is part of needs it"
    )]
    pub(crate) fn start_postgres() {
        Postgres::shared().control(&["start"]);
    }
}

/// A PostgreSQL server that listens in a folder that only its user may enter, and on no port unless
/// its settings say so.
pub(crate) struct Postgres {
    programs: PathBuf,
    folder: String,
    /// Holds the pipe that [`SCRIPT`] reads: when it is closed, the script stops the server.
    _script: Child,
}

/// Starts a server with its data in a new folder, and prints the folder. Stops the server and
/// removes the folder when its standard input ends. That happens when the test process ends,
/// however it ends: a static is never dropped, and a killed process drops nothing. Given the folder
/// of another server, it starts a replica of that one.
const SCRIPT: &str = r#"
folder=$(mktemp -d /tmp/keystile-postgres.XXXXXX) || exit
trap 'rm -rf "$folder"' EXIT
data=$folder/data
if [ "$2" ]; then
    "$0/pg_basebackup" --pgdata="$data" --host="$2" --username=keystile --checkpoint=fast \
        --wal-method=stream --write-recovery-conf --no-sync >"$folder/log" 2>&1
else
    "$0/initdb" --pgdata="$data" --username=keystile --auth=trust --encoding=UTF8 --locale=C \
        --no-sync >"$folder/log" 2>&1
fi &&
cat >>"$data/postgresql.conf" <<END &&
unix_socket_directories = '$folder'
listen_addresses = ''
fsync = off
max_connections = 300
shared_buffers = 32MB
$1
END
"$0/pg_ctl" --pgdata="$data" --wait --log="$folder/log" \
    start >/dev/null || { cat "$folder/log" >&2; exit 1; }
echo "$folder"
cat
"$0/pg_ctl" --pgdata="$data" --mode=immediate stop >/dev/null 2>&1
"#;

impl Postgres {
    /// Runs `pg_ctl` on this server, and waits until it is done.
    pub(crate) fn control(&self, what: &[&str]) {
        let done = as_postgres(&self.programs.join("pg_ctl"))
            .args(["--wait", "--silent", "--pgdata"])
            .arg(format!("{}/data", self.folder))
            .args(["--log", &format!("{}/log", self.folder)])
            .args(what)
            .status()
            .expect("pg_ctl");
        assert!(done.success(), "pg_ctl {what:?}: {done}");
    }

    pub(crate) fn shared() -> &'static Self {
        static SERVER: OnceLock<Postgres> = OnceLock::new();
        SERVER.get_or_init(|| Self::start(""))
    }

    /// Starts a server with additional settings, given as lines of `postgresql.conf`.
    pub(crate) fn start(settings: &str) -> Self {
        Self::run(settings, "")
    }

    /// Starts an asynchronous replica, which also receives what this server writes from now on.
    #[allow(
        dead_code,
        reason = "not every crate that this file is part of needs it"
    )]
    pub(crate) fn replica(&self) -> Self {
        Self::run("", &self.folder)
    }

    /// Waits until this replica has everything that the primary has written so far.
    #[allow(
        dead_code,
        reason = "not every crate that this file is part of needs it"
    )]
    pub(crate) fn catch_up(&self, primary: &Self) {
        let written = primary.query("SELECT pg_current_wal_lsn()");
        let has_it = format!("SELECT pg_last_wal_replay_lsn() >= '{written}'");
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.query(&has_it) != "t" {
            assert!(Instant::now() < deadline, "the replica is not at {written}");
        }
    }

    /// Returns the one value that a statement returns.
    fn query(&self, sql: &str) -> String {
        let output = Command::new(self.programs.join("psql"))
            .args(["--no-psqlrc", "--tuples-only", "--no-align"])
            .args(["--username=keystile", "--dbname=postgres", "--host"])
            .args([&self.folder, "--command", sql])
            .output()
            .expect("psql");
        assert!(output.status.success(), "{sql}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn run(settings: &str, primary: &str) -> Self {
        let programs = programs().unwrap_or_else(|| {
            panic!("PostgreSQL is missing: scripts/setup.sh installs it (Debian's `postgresql`)")
        });
        let mut script = as_postgres(Path::new("sh"))
            .args(["-c", SCRIPT])
            .arg(&programs)
            .arg(settings)
            .arg(primary)
            // Ctrl-C must not reach the script, which has to outlive the tests for a moment.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("runuser or sh");
        let mut folder = String::new();
        BufReader::new(script.stdout.take().expect("stdout"))
            .read_line(&mut folder)
            .expect("the server's folder");
        let folder = folder.trim_end().to_owned();
        assert!(!folder.is_empty(), "PostgreSQL did not start; see above");
        Self {
            programs,
            folder,
            _script: script,
        }
    }
}

/// Returns a command that does not run as root, because the server refuses to. Debian's package
/// creates a user for it.
fn as_postgres(program: &Path) -> Command {
    let mut command = if nix::unistd::geteuid().is_root() {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir("/");
    command
}

/// Returns the folder of the newest server's programs. Debian keeps them off the PATH.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let debian = versions
        .filter_map(|version| Some(version.ok()?.path().join("bin")))
        .filter(|folder| folder.join("initdb").exists())
        .max_by_key(|folder| {
            let version = folder.parent().and_then(|version| version.file_name());
            version.and_then(|version| version.to_str()?.parse::<u32>().ok())
        });
    let path = std::env::var_os("PATH").unwrap_or_default();
    debian.or_else(|| std::env::split_paths(&path).find(|dir| dir.join("initdb").exists()))
}

/// Defines tests that run each `async fn(TestDatabase)` on SQLite and on PostgreSQL.
macro_rules! on_both {
    ($($test:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test($crate::test_database::TestDatabase::sqlite()).await;
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test($crate::test_database::TestDatabase::postgres()).await;
            })+
        }
    };
}
pub(crate) use on_both;
