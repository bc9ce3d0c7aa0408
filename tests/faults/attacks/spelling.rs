//! Identity headers in other spellings, in front of a real PHP. PHP turns headers into variables, and
//! most special characters in their names become the same one.

use std::net::{SocketAddr, TcpListener};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use keystile_e2e::client;
use keystile_e2e::process::{Process, wait_until};
use keystile_e2e::trials::trial;
use libtest_mimic::Trial;
use serde_json::Value;

use super::Attacked;

/// The characters of a header name that are neither letters nor digits (RFC 9110 section 5.6.2).
const SEPARATORS: &str = "!#$%&'*+-.^_`|~";

/// The value that the attacker claims for its account, key, path and method.
const VICTIM: &str = "acct_victim";

/// A page that shows what an application would read.
const PAGE: &str = r#"<?php
header('content-type: application/json');
echo json_encode([
    'account' => $_SERVER['HTTP_X_KEYSTILE_ACCOUNT_ID'] ?? null,
    'key' => $_SERVER['HTTP_X_KEYSTILE_KEY_ID'] ?? null,
    'path' => $_SERVER['HTTP_X_ORIGINAL_URL'] ?? null,
    'method' => $_SERVER['HTTP_X_HTTP_METHOD_OVERRIDE'] ?? null,
]);
"#;

keystile_e2e::suite!(Together, trials);

fn trials() -> Vec<Trial> {
    vec![trial("attack: identity in another spelling, PHP", php)]
}

fn php() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let page = folder.path().join("index.php");
    std::fs::write(&page, PAGE)?;
    // PHP does not report which port it took, so it gets one that was free a moment ago.
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut server = Command::new("php");
    server.arg("-S").arg(address.to_string()).arg(&page);
    let log = folder.path().join("php.log");
    let _server = Process::start("php", &mut server, &log, false)
        .context("is Debian's php-cli there? `make setup` installs it")?;
    wait_until(|| Ok(client::get(address, "/", []).is_ok()))?;

    let attacked = Attacked::start(address)?;
    let envoy = attacked.stack.listener;
    let key = format!("x-api-key: {}", attacked.own.key);
    let own = [Some("acct_attacker"), Some(&*attacked.own.key_id)];
    let (mut dangerous, mut sent) = (Vec::new(), 0);
    for separator in SEPARATORS.chars() {
        let name = |name: &str| name.replace('-', &separator.to_string());
        let claims = [
            format!("{}: {VICTIM}", name("x-keystile-account-id")),
            format!("{}: {VICTIM}", name("x-keystile-key-id")),
            format!("{}: {VICTIM}", name("x-original-url")),
            format!("{}: {VICTIM}", name("x-http-method-override")),
        ];
        let claims = claims.each_ref().map(String::as_str);
        if ask(address, "/v1/x", &claims)?.contains(&Some(VICTIM.to_owned())) {
            dangerous.push(separator);
        }
        for (case, target, more, expected) in [
            ("with a key of its own", "/v1/x", &[&*key][..], own),
            ("on an exempt path", "/healthz", &[], [None, None]),
        ] {
            for order in [[&claims[..], more].concat(), [more, &claims].concat()] {
                let read = ask(envoy, target, &order)?;
                let [account, id, others @ ..] = &read[..] else {
                    anyhow::bail!("{read:?}");
                };
                sent += 1;
                ensure!(
                    [account.as_deref(), id.as_deref()] == expected
                        && others.iter().all(Option::is_none),
                    "{separator}, {case}: PHP reads {read:?}"
                );
            }
        }
    }
    // Otherwise the attack would prove nothing.
    let dangerous = String::from_iter(dangerous);
    ensure!(
        "-._".chars().all(|known| dangerous.contains(known)),
        "PHP maps only {dangerous} to underscores"
    );
    println!(
        "attack: identity in another spelling, PHP: PHP takes {dangerous} for one; \
         {sent} requests through Envoy, 0 of them in another's name"
    );
    Ok(())
}

/// Returns what PHP reads, in the order of the page.
fn ask(to: SocketAddr, target: &str, lines: &[&str]) -> Result<Vec<Option<String>>> {
    let response = client::get(to, target, lines.iter().copied())?;
    ensure!(response.status == 200, "{target} {lines:?}: {response:?}");
    let read: Value = serde_json::from_slice(&response.body)?;
    let fields = ["account", "key", "path", "method"];
    Ok(fields
        .map(|field| read[field].as_str().map(str::to_owned))
        .to_vec())
}
