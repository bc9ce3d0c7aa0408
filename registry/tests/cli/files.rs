//! The permissions of a SQLite database's files.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use nix::sys::signal::Signal;

use crate::harness::{Registry, text};

const FILES: [&str; 3] = ["keystile.db", "keystile.db-wal", "keystile.db-shm"];

/// Returns the permissions of a file, or `None` if it does not exist.
fn mode(file: &Path) -> Option<u32> {
    Some(fs::metadata(file).ok()?.mode() & 0o7777)
}

/// Returns a command that runs this one with a umask.
fn with_umask(command: &Command, umask: &str) -> Command {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "umask $0; exec \"$@\"", umask])
        .arg(command.get_program())
        .args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        shell.current_dir(folder);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

/// Other users must have no access to the files, not even for a moment while the tool runs.
#[test]
fn a_new_database_is_its_owners_alone() {
    for umask in ["000", "022", "027", "077", "0277", "0777"] {
        let registry = Registry::new();
        let files = FILES.map(|name| registry.dir.path().join(name));
        let (done, seen) = (AtomicBool::new(false), AtomicU32::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    for file in &files {
                        seen.fetch_or(mode(file).unwrap_or(0), Ordering::Relaxed);
                    }
                }
            });
            let serve = registry.command(&["serve", "--listen=127.0.0.1:0", "--json"]);
            let server = registry.start(with_umask(&serve, umask));
            // A running server keeps the other two files in place.
            let modes = files.each_ref().map(|file| mode(file));
            let create = registry.command(&["create", "--account=a"]);
            let created = with_umask(&create, umask).output().expect("run");
            done.store(true, Ordering::Relaxed);
            assert_eq!(modes, [Some(0o600); 3], "umask {umask}");
            assert!(created.status.success(), "umask {umask}: {created:?}");
            let log = server.stop(Signal::SIGTERM);
            assert!(!log.contains("other users"), "umask {umask}: {log}");
        });
        let seen = seen.into_inner();
        assert_eq!(seen & !0o600, 0, "umask {umask}: {seen:o} for a moment");
        assert_eq!(mode(&files[0]), Some(0o600), "umask {umask}");
    }
}

#[test]
fn a_link_to_a_missing_file_is_followed() {
    let registry = Registry::new();
    let folder = registry.dir.path();
    fs::create_dir(folder.join("volume")).expect("folder");
    symlink("volume/second", folder.join("keystile.db")).expect("link");
    symlink("real.db", folder.join("volume/second")).expect("link");
    let create = registry.command(&["create", "--account=a"]);
    let created = with_umask(&create, "000").output().expect("run");
    assert!(created.status.success(), "{created:?}");
    assert_eq!(mode(&folder.join("volume/real.db")), Some(0o600));

    let circle = Registry::new();
    symlink("keystile.db", circle.dir.path().join("keystile.db")).expect("link");
    let (code, message) = circle.error(&["list"]);
    assert_eq!(code, Some(1), "{message}");
    assert!(message.contains("keystile.db"), "{message}");
}

#[test]
fn an_existing_file_keeps_its_mode_and_serve_warns() {
    let cases = [
        (0o600, false),
        (0o700, false),
        (0o711, false),
        (0o640, true),
        (0o620, true),
        (0o604, true),
        (0o602, true),
        (0o644, true),
        (0o666, true),
    ];
    // A database with keys, and an empty file such as `install -m 640 /dev/null keystile.db` makes.
    for is_empty in [false, true] {
        for (permissions, warns) in cases {
            let registry = Registry::new();
            let file = registry.dir.path().join("keystile.db");
            if is_empty {
                fs::write(&file, "").expect("write");
            } else {
                registry.json(&["create", "--account=a"]);
            }
            fs::set_permissions(&file, Permissions::from_mode(permissions)).expect("mode");
            let log = registry.serve().stop(Signal::SIGTERM);
            let shown = format!("{permissions:04o}, empty: {is_empty}: {log}");
            assert_eq!(mode(&file), Some(permissions), "{shown}");
            let warning = log.lines().find(|line| line.contains("other users"));
            assert_eq!(warning.is_some(), warns, "{shown}");
            if let Some(line) = warning {
                let mode = format!("mode={permissions:04o}");
                for part in ["WARN", "keystile.db", "chmod 600", &mode] {
                    assert!(line.contains(part), "{shown}");
                }
            }
            assert_eq!(log.contains("there was no database"), is_empty, "{shown}");
            registry.json(&["create", "--account=b"]);
            assert_eq!(mode(&file), Some(permissions), "{shown}");
        }
    }
}

#[test]
fn a_file_that_cannot_be_made_is_named() {
    let registry = Registry::new();
    fs::create_dir(registry.dir.path().join("folder")).expect("folder");
    for url in ["sqlite://no/such.db", "sqlite://folder"] {
        let mut command = registry.command(&["list", "--database-url", url]);
        let output = command.stdout(Stdio::null()).output().expect("run");
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{url}: {message}");
        assert!(
            message.contains("cannot open the database"),
            "{url}: {message}"
        );
    }
}
