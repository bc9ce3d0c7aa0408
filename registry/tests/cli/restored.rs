//! The feed of a database that has lost its newest changes. Their numbers are assigned again, and a
//! reader that has seen the lost changes must not mistake the new ones for them.

use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Registry, Server, exchange, field, get};
use crate::test_database::{Postgres, TestDatabase};

/// What a poll of the feed returns.
#[derive(Debug, PartialEq)]
enum News {
    Nothing,
    Kinds(Vec<String>),
    Reset,
}

/// Returns what comes after a cursor, and the cursor for the next poll.
fn poll(server: &Server, cursor: &str) -> (News, String) {
    let path = format!("/v1/changes?after={cursor}");
    let request = format!("GET {path} HTTP/1.1\r\nhost: registry\r\nconnection: close\r\n\r\n");
    let (status, body) = exchange(server.address, request.as_bytes());
    if status == 204 {
        return (News::Nothing, cursor.to_owned());
    }
    assert_eq!(status, 200, "{cursor}: {body}");
    let page: Value = serde_json::from_str(&body).expect("JSON");
    let next = field(&page, "cursor").to_owned();
    if page["reset"] == json!(true) {
        return (News::Reset, next);
    }
    let changes = page["changes"].as_array().expect("changes").iter();
    let kinds = changes.map(|change| field(change, "kind").to_owned());
    (News::Kinds(kinds.collect()), next)
}

fn newest(server: &Server) -> String {
    field(&get(server.address, "/v1/changes").1, "cursor").to_owned()
}

/// Makes changes, has `lose` remove all except the first two, and makes others, which get the same
/// numbers. A reader at one of the lost changes must get a reset, however many changes there are by
/// then. A reader from before must get the new changes.
///
/// `keep` is called when everything changed so far must be kept. Both are called while no server runs.
fn changes_are_lost(mut registry: Registry, keep: impl FnOnce(), lose: impl FnOnce(&mut Registry)) {
    const LOST: usize = 3;
    let server = registry.serve();
    let keys = ["a", "b"].map(|account| {
        let created = registry.json(&["create", "--account", account]);
        field(&created, "key_id").to_owned()
    });
    let common = newest(&server);
    server.stop(Signal::SIGTERM);
    keep();

    let server = registry.serve();
    assert_eq!(poll(&server, &common).0, News::Nothing, "nothing is lost");
    let mut readers = Vec::new();
    for _ in 0..LOST {
        registry.json(&["create", "--account=lost"]);
        readers.push(newest(&server));
    }
    let (news, end) = poll(&server, &common);
    assert_eq!(news, News::Kinds(vec!["created".to_owned(); LOST]));
    assert_eq!(Some(&end), readers.last());
    server.stop(Signal::SIGTERM);
    lose(&mut registry);

    let mut server = registry.serve();
    for reader in &readers {
        assert_eq!(poll(&server, reader).0, News::Reset, "{reader}, at once");
    }
    assert_eq!(poll(&server, &common).0, News::Nothing, "from before");
    // As many changes as were lost, then more, made in turn while the server is stopped and while
    // it runs.
    let changes: [&[&str]; 5] = [
        &["revoke", &keys[0]],
        &["update", &keys[1], "--name=x"],
        &["delete", &keys[0]],
        &["revoke", &keys[1]],
        &["delete", &keys[1]],
    ];
    let mut kinds = Vec::new();
    for (at, change) in changes.iter().enumerate() {
        if at % 2 == 0 {
            server.stop(Signal::SIGTERM);
            registry.json(change);
            server = registry.serve();
        } else {
            registry.json(change);
        }
        kinds.push(
            match change[0] {
                "revoke" => "revoked",
                "update" => "updated",
                _ => "deleted",
            }
            .to_owned(),
        );
        for reader in &readers {
            let (news, next) = poll(&server, reader);
            assert_eq!(news, News::Reset, "{reader}, after {kinds:?}");
            assert_eq!(poll(&server, &next).0, News::Nothing, "after the reset");
        }
        let (news, _) = poll(&server, &common);
        assert_eq!(news, News::Kinds(kinds.clone()), "from before");
    }
}

/// Returns the existing files of the database of [`Registry::new`].
fn files(folder: &Path) -> Vec<PathBuf> {
    let names = ["keystile.db", "keystile.db-wal", "keystile.db-shm"];
    let paths = names.iter().map(|name| folder.join(name));
    paths.filter(|path| path.exists()).collect()
}

#[test]
fn an_older_copy_of_the_file_is_another_history() {
    let registry = Registry::new();
    let (folder, copy) = (
        registry.dir.path().to_owned(),
        TempDir::new().expect("folder"),
    );
    let copy_all = |from: &Path, to: &Path| {
        for file in files(from) {
            let name = file.file_name().expect("a name");
            std::fs::copy(&file, to.join(name)).expect("copy");
        }
    };
    changes_are_lost(
        registry,
        || copy_all(&folder, copy.path()),
        |_| {
            for file in files(&folder) {
                std::fs::remove_file(file).expect("remove");
            }
            copy_all(copy.path(), &folder);
        },
    );
}

#[test]
fn a_promoted_replica_is_another_history() {
    let primary = Postgres::start("");
    let replica = primary.replica();
    changes_are_lost(
        Registry::on(TestDatabase::on(&primary)),
        || {
            // From here on, the replica receives nothing.
            replica.catch_up(&primary);
            replica.control(&["stop"]);
        },
        |registry| {
            primary.control(&["--mode=immediate", "stop"]);
            replica.control(&["start"]);
            replica.control(&["promote"]);
            registry.database = Some(TestDatabase::on(&replica));
        },
    );
}
