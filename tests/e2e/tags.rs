//! Key tags, as the pages on the registry and on the configuration set them up.

use anyhow::{Context, Result, ensure};
use keystile_e2e::client;
use keystile_e2e::envoy::Listener;
use keystile_e2e::keys::hash;
use keystile_e2e::pages::json_blocks;
use keystile_e2e::registry::Registry;
use keystile_e2e::root;
use keystile_e2e::scripted_auth::Fallback;
use keystile_e2e::stack::{Setup, Stack};
use serde_json::{Value, json};

use crate::world::World;

trials! { Together:
    "tags: as documented" => as_documented,
}

const SECRET: &str = "a tag secret of the end-to-end tests";

/// The pages with formats for tagged and for old keys, and what stands for the secret there.
const PAGES: [(&str, &str); 2] = [
    ("docs/registry.md", "TAG_SECRET"),
    ("docs/configuration.md", "a secret of your own"),
];

/// Returns the configuration on a page, with our secret.
fn documented(page: &str, secret: &str) -> Result<Value> {
    let text = std::fs::read_to_string(root().join(page))?;
    let block = json_blocks(&text).find(|block| block.contains(secret));
    let block = block.context("no formats")?.replace(secret, SECRET);
    let mut plugin: Value = serde_json::from_str(&block)?;
    plugin["lookup"] = json!({"cluster": "auth", "timeout": "10s"});
    Ok(plugin)
}

/// Returns a key with another last character.
fn with_another_end(key: &str) -> Result<String> {
    let (rest, last) = key.split_at(key.len() - 1);
    Ok(format!("{rest}{}", if last == "A" { "B" } else { "A" }))
}

/// Keys with a tag and keys from before it work. Made-up keys with the length of a tagged one are
/// refused without a lookup.
fn as_documented(world: &World) -> Result<()> {
    for (page, secret) in PAGES {
        let folder = tempfile::tempdir()?;
        let database = folder.path().join("keys.db");
        let old = Registry::new(&database, None).create(&["--account", "acct_1"])?;
        let registry = Registry::new(&database, None).tagged(SECRET);
        let any = ([127, 0, 0, 1], 0).into();
        let (_server, at) = registry.serve(any, &folder.path().join("registry.log"))?;
        let new = registry.create(&["--account", "acct_1"])?;
        let rotated = registry.run(&["rotate", &old.key_id])?;
        let rotated = rotated["key"].as_str().context("no key")?.to_owned();
        for key in [&old.key, &new.key, &rotated] {
            world.keep_secret(key);
        }
        let made_up = |length: usize| format!("aw_{}", "x".repeat(length - 3));
        // The key, its length, and the error and the lookups that it costs.
        let rows = [
            ("new", new.key.clone(), 54, None, 1),
            ("old", old.key.clone(), 46, None, 1),
            ("rotated", rotated, 54, None, 1),
            (
                "another tag",
                with_another_end(&new.key)?,
                54,
                Some("api_key_invalid"),
                0,
            ),
            (
                "tag in another place",
                new.key.replacen("aw_", "aw_A", 1),
                55,
                Some("api_key_invalid"),
                0,
            ),
            (
                "no tag",
                new.key[..46].to_owned(),
                46,
                Some("api_key_not_found"),
                1,
            ),
            ("made up", made_up(54), 54, Some("api_key_invalid"), 0),
            (
                "made up, as long as an old one",
                made_up(46),
                46,
                Some("api_key_not_found"),
                1,
            ),
            (
                "of another length",
                made_up(50),
                50,
                Some("api_key_invalid"),
                0,
            ),
        ];
        let plugin = documented(page, secret).context(page)?;
        let stack = Stack::start(Setup {
            fallback: Fallback::Registry(at),
            ..Setup::new(vec![Listener::new("tags", &plugin)])
        })?;
        for (name, key, length, error, lookups) in rows {
            let line = format!("x-api-key: {key}");
            let answer = client::get(stack.envoy.listener("tags")?, "/v1/x", [&*line])?;
            let got: Option<Value> = (answer.status != 200)
                .then(|| serde_json::from_slice(&answer.body))
                .transpose()?;
            let got = got.as_ref().and_then(|body| body["error"].as_str());
            ensure!(
                key.len() == length && got == error,
                "{page}, {name}, {} characters: {answer:?}",
                key.len()
            );
            let made = stack.auth.lookups_about(&hash(&key)?);
            ensure!(made == lookups, "{page}, {name}: {made} lookups");
        }
        stack.envoy.no_vm_died()?;
    }
    Ok(())
}
