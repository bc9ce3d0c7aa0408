//! Options and environment variables: which are refused, and what the error says.

use std::net::TcpListener;

use serde_json::json;

use crate::harness::{Registry, field, text};
use crate::test_database::{TestDatabase, on_both};

on_both! {
    no_argument_is_a_failure_of_the_database,
}

#[test]
fn bad_options_are_named() {
    let long = "a".repeat(257);
    let create = ["create", "--account", "acct_1"];
    let cases: &[(&[&str], i32, &[&str])] = &[
        (&["create"], 2, &["--account"]),
        (
            &["create", "--account", ""],
            2,
            &["--account", "from 1 to 256"],
        ),
        (
            &["create", "--account", "a b"],
            2,
            &["--account", "visible ASCII"],
        ),
        (&["create", "--account", &long], 2, &["--account", "257"]),
        (
            &["--environment", "é"],
            2,
            &["--environment", "visible ASCII"],
        ),
        (&["--name", "a\nb"], 2, &["--name", "control characters"]),
        (
            &["--expires-at", "soon"],
            2,
            &["--expires-at", "RFC 3339", "2027-01-01T00:00:00Z"],
        ),
        (
            &["--endpoint", "v1"],
            2,
            &["--endpoint", "would match nothing", "write \"/v1\""],
        ),
        (
            &["--key-stdin", "--endpoint", "*"],
            2,
            &["--endpoint", "leave endpoints out"],
        ),
        (
            &["update", "key_none", "--endpoint", "/v1/*"],
            2,
            &["--endpoint", "would match nothing", "write \"/v1\""],
        ),
        (
            &["--endpoint", "/a", "--endpoint", "/a/../b"],
            2,
            &["--endpoint", "\"..\""],
        ),
        (
            &["--endpoint", "/a?b"],
            2,
            &["--endpoint", "without the query"],
        ),
        (&["--pepper", ""], 2, &["--pepper", "empty"]),
        (
            &["--database-url", "postgres://db:port/x"],
            1,
            &["--database-url", "postgres://USER"],
        ),
        (
            &["--database-url", "redis://db"],
            1,
            &["--database-url", "sqlite://FILE"],
        ),
        (
            &["--database-url", "sqlite://no/such/dir.db"],
            1,
            &["no/such/dir.db", "directory"],
        ),
        (
            &["serve", "--listen", "8081"],
            2,
            &["--listen", "127.0.0.1:8081"],
        ),
        (
            &["serve", "--listen", "localhost:0"],
            2,
            &["--listen", "IP address"],
        ),
        (
            &["serve", "--keep-changes", "1w"],
            2,
            &["--keep-changes", "`24h`"],
        ),
        (
            &["serve", "--max-age-active", "soon"],
            2,
            &["--max-age-active", "`90s`"],
        ),
        (
            &["serve", "--concurrency", "0"],
            2,
            &["--concurrency", "1 to"],
        ),
        (&["revoke"], 2, &["KEY_ID"]),
        (&["rotate", "key_none"], 1, &["key_none", "list"]),
        (
            &["rotate", "key_none", "--grace=1w"],
            2,
            &["--grace", "`24h`"],
        ),
        (
            &["update", "key_none", "--no-name"],
            1,
            &["key_none", "list"],
        ),
        (
            &["update", "key_none", "--no-name", "--name=x"],
            2,
            &["--no-name"],
        ),
        (&["get", "aw_secret"], 1, &["starts with `key_`"]),
        (&["delete", "key_none"], 1, &["key_none", "list"]),
        (&["delete", "aw_secret"], 1, &["starts with `key_`"]),
    ];
    let registry = Registry::new();
    for (args, code, parts) in cases {
        let mut args = args.to_vec();
        if args[0].starts_with("--") {
            args = [&create[..], &args].concat();
        }
        args.push("--json");
        let (got, message) = registry.error(&args);
        assert_eq!(got, Some(*code), "{args:?}: {message}");
        assert!(!message.contains("aw_secret"), "{args:?}: {message}");
        for part in *parts {
            assert!(message.contains(part), "{args:?}: {message}");
        }
    }
}

#[test]
fn an_empty_pepper_in_the_environment_is_an_error() {
    let registry = Registry::new();
    let output = registry
        .command(&["create", "--account=a"])
        .env("KEYSTILE_PEPPER", "")
        .output()
        .expect("run");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(text(&output.stderr).contains("the pepper is empty"));
    assert!(!registry.dir.path().join("keystile.db").exists());
}

#[test]
fn help_does_not_show_the_environment() {
    let registry = Registry::new();
    let output = registry
        .command(&["create", "--help"])
        .env("KEYSTILE_PEPPER", "Sauerkraut")
        .env("KEYSTILE_TAG_SECRET", "Sauerkraut-with-a-tag")
        .env("KEYSTILE_DATABASE_URL", "postgres://u:hunter2@db/x")
        .output()
        .expect("run");
    let help = text(&output.stdout);
    for variable in ["KEYSTILE_PEPPER", "KEYSTILE_TAG_SECRET"] {
        assert!(help.contains(variable), "{help}");
    }
    assert!(
        !help.contains("Sauerkraut") && !help.contains("hunter2"),
        "{help}"
    );
}

#[test]
fn the_database_can_be_named_in_the_environment() {
    let registry = Registry::new();
    let output = registry
        .command(&["create", "--account=a"])
        .env("KEYSTILE_DATABASE_URL", "sqlite://other.db")
        .output()
        .expect("run");
    assert!(output.status.success(), "{output:?}");
    let has = |file: &str| registry.dir.path().join(file).exists();
    assert!(has("other.db") && !has("keystile.db"));
}

#[test]
fn a_taken_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = taken.local_addr().expect("address").to_string();
    let registry = Registry::new();
    let (code, message) = registry.error(&["serve", "--json", "--listen", &address]);
    assert_eq!(code, Some(1), "{message}");
    assert!(
        message.contains(&address) && message.contains("--listen"),
        "{message}"
    );
}

async fn no_argument_is_a_failure_of_the_database(database: TestDatabase) {
    let registry = Registry::on(database);
    for id in [
        "key_",
        "key_✓",
        "key_'",
        "key_ ",
        "aw_not_to_be_shown",
        &"9".repeat(10_000),
    ] {
        let commands: [&[&str]; 6] = [
            &["get", id],
            &["update", id, "--no-name"],
            &["rotate", id],
            &["revoke", id],
            &["delete", id],
            &["list", "--after", id],
        ];
        for args in commands {
            let (code, message) = registry.error(args);
            assert_eq!(code, Some(1), "{args:?}: {message}");
            assert!(
                message.contains("starts with `key_`"),
                "{args:?}: {message}"
            );
            assert!(!message.contains("not_to_be_shown"), "{args:?}: {message}");
            assert!(!message.contains("database"), "{args:?}: {message}");
        }
    }
    // An empty `--after` starts at the first page.
    assert_eq!(registry.json(&["list", "--after", ""]), json!([]));
    for limit in ["0", "4294967295"] {
        assert_eq!(
            registry.json(&["list", "--limit", limit]),
            json!([]),
            "{limit}"
        );
    }
    let (code, message) = registry.error(&["list", "--limit", "4294967296"]);
    assert_eq!(code, Some(2), "{message}");
}

#[test]
fn a_name_beyond_the_databases_encoding_is_named() {
    let registry = Registry::on(TestDatabase::latin_1());
    let created = registry.json(&["create", "--account=a", "--name=größer"]);
    assert_eq!(created["name"], "größer");
    let key_id = field(&created, "key_id");
    for args in [
        &["create", "--account=a", "--name=✓"][..],
        &["update", key_id, "--name=✓"],
    ] {
        let (code, message) = registry.error(args);
        assert_eq!(code, Some(1), "{message}");
        assert!(
            message.contains("name: the database's encoding"),
            "{message}"
        );
        assert!(!message.contains("failed"), "{message}");
    }
}
