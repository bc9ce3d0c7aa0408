//! Keys with tags.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use keystile::request::key_tag::KeyTagger;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::audit::ADMIN;
use crate::harness::{Registry, Server, exchange, field, text};
use crate::sha256;
use crate::test_database::{TestDatabase, on_both};

on_both! {
    new_keys_carry_a_tag,
}

const VARIABLE: &str = "KEYSTILE_TAG_SECRET";
const SECRET: &str = "a-secret-for-the-tags-of-these-tests";

/// A key that was made elsewhere.
const IMPORTED: &str = "aw_legacy-0123456789abcdef0123456789abcdef01234567";

fn serve(registry: &Registry) -> Server {
    let mut command = registry.command(&["serve", "--listen=127.0.0.1:0", "--json"]);
    command
        .env("KEYSTILE_ADMIN_TOKEN", ADMIN)
        .env(VARIABLE, SECRET);
    registry.start(command)
}

/// Sends a POST request to the admin API. Returns the new key.
fn post(server: &Server, path: &str, body: &Value) -> Value {
    let body = body.to_string();
    let request = format!(
        "POST /admin/v1/keys{path} HTTP/1.1\r\nhost: registry\r\nconnection: close\r\n\
         authorization: Bearer {ADMIN}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let (status, answer) = exchange(server.address, request.as_bytes());
    assert_eq!(status, 201, "{answer}");
    serde_json::from_str(&answer).expect("JSON")
}

fn is_tagged(key: &str) -> bool {
    let tagger = KeyTagger::new(&[SECRET]).expect("a tagger");
    tagger.accepts(key.as_bytes())
}

/// Returns what `create --key-stdin` printed, and its log.
fn import(registry: &Registry, options: &[&str], key: &str) -> (Value, String) {
    let args = [&["create", "--account=a", "--json", "--key-stdin"], options].concat();
    let output = registry.run_with(&args, key);
    assert!(output.status.success(), "{output:?}");
    let created = serde_json::from_slice(&output.stdout).expect("JSON");
    (created, text(&output.stderr))
}

async fn new_keys_carry_a_tag(database: TestDatabase) {
    let registry = Registry::on(database);
    let server = serve(&registry);
    let option = format!("--tag-secret={SECRET}");
    let (imported, _) = import(&registry, &[], IMPORTED);
    let rotate = format!("/{}/rotate", field(&imported, "key_id"));
    let by_option = registry.json(&["create", "--account=a", &option]);
    let output = registry
        .command(&["create", "--account=a", "--json"])
        .env(VARIABLE, SECRET)
        .output()
        .expect("run");
    let made = [
        registry.json(&["rotate", field(&by_option, "key_id"), &option]),
        by_option,
        serde_json::from_slice(&output.stdout).expect("JSON"),
        post(&server, "", &json!({"account_id": "a"})),
        post(&server, &rotate, &json!({})),
    ];
    for new in &made {
        let key = field(new, "key");
        assert!(key.starts_with("aw_") && key.len() == 54, "{new}");
        assert!(is_tagged(key), "{new}");
        let preview = format!("{}…{}", &key[..8], &key[50..]);
        assert_eq!(field(new, "preview"), preview);
        assert_eq!(server.lookup(&sha256(key)).0, 200, "{new}");
    }
    let untagged = registry.json(&["create", "--account=a"]);
    let key = field(&untagged, "key");
    assert!(key.len() == 46 && !is_tagged(key), "{untagged}");
    let log = server.stop(Signal::SIGTERM);
    assert!(!log.contains(SECRET) && !log.contains("valid tag"), "{log}");
}

/// They are not refused, because the filter may have a format without a tag for them.
#[test]
fn imported_keys_without_a_tag_are_warned_about() {
    let registry = Registry::new();
    let server = serve(&registry);
    let option = format!("--tag-secret={SECRET}");
    let tag = KeyTagger::new(&[SECRET]).expect("a tagger");
    let tag = tag.tag(IMPORTED.as_bytes()).expect("a tag");
    let tagged = format!("{IMPORTED}{tag}");
    let other = format!("{IMPORTED}AAAAAAAA");
    let cases: [(&str, &[&str], bool); 4] = [
        (IMPORTED, &[&option], true),
        (&other, &[&option], true),
        (&tagged, &[&option], false),
        (&other.replace("AAAA", "BBBB"), &[], false),
    ];
    for (key, options, warned) in cases {
        let (created, log) = import(&registry, options, key);
        assert_eq!(field(&created, "key"), key);
        let warning = format!(
            "an imported key has no valid tag; the filter needs a format without `tag` for it \
             key_id=\"{}\"",
            field(&created, "key_id")
        );
        assert_eq!(log.contains(&warning), warned, "{key}: {log}");
        assert!(!log.contains(&key[8..40]), "{log}");
    }
    let key = other.replace("AAAA", "CCCC");
    let created = post(&server, "", &json!({"account_id": "a", "key": key}));
    assert_eq!(server.lookup(&sha256(&key)).0, 200);
    let log = server.stop(Signal::SIGTERM);
    let warnings = log.lines().filter(|line| line.contains("no valid tag"));
    let warnings: Vec<_> = warnings.collect();
    let [warning] = warnings[..] else {
        panic!("{} lines: {log}", warnings.len());
    };
    assert!(warning.contains(" WARN "), "{log}");
    assert!(warning.contains(field(&created, "key_id")), "{log}");
    assert!(!log.contains(&key[8..40]), "{log}");
}

#[test]
fn a_tag_secret_that_could_be_guessed_is_refused_and_not_repeated() {
    let registry = Registry::new();
    let secrets: [&[u8]; 4] = [b"", b"x", b"Sauerkraut12345", b"Sauerkraut123456\xff"];
    for secret in secrets.map(OsStr::from_bytes) {
        let mut by_variable = registry.command(&["create", "--account=a"]);
        by_variable.env(VARIABLE, secret);
        let mut by_option = registry.command(&["create", "--account=a", "--tag-secret"]);
        by_option.arg(secret);
        for mut command in [by_variable, by_option] {
            let output = command.output().expect("run");
            assert_eq!(output.status.code(), Some(2), "{secret:?}: {output:?}");
            let message = text(&output.stderr);
            for part in [VARIABLE, "--tag-secret", "at least 16 characters"] {
                assert!(message.contains(part), "{secret:?}: {message}");
            }
            assert!(!message.contains("Sauerkraut"), "{message}");
        }
    }
    assert!(!registry.dir.path().join("keystile.db").exists());
}
