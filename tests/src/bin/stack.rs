//! `make run`: the shipped stack with keys to try, until Ctrl-C.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use keystile_e2e::root;
use keystile_e2e::shipped::{Ports, SHIPPED, Stack};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("keystile-stack: {problem:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // The terminal was closed. Envoy itself ignores this signal.
    let mut hang_up = signal(SignalKind::hangup())?;
    let ports = Ports {
        listener: port("LISTENER_PORT", SHIPPED.listener)?,
        admin: port("ADMIN_PORT", SHIPPED.admin)?,
        upstream: port("UPSTREAM_PORT", SHIPPED.upstream)?,
        registry: port("REGISTRY_PORT", SHIPPED.registry)?,
    };
    let database = root().join("keystile.db");
    let mut stack = Stack::start(ports, &database, true).await?;
    print(&stack, &database)?;

    let mut outage = false;
    let mut check = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            _ = hang_up.recv() => break,
            _ = check.tick() => {
                if let Some(status) = stack.envoy.process().ended()? {
                    bail!("Envoy ended with {status}: {}", stack.envoy.written());
                }
                // Deliberately no reason to stop: this shows what an outage looks like.
                if let (false, Some(status)) = (outage, stack.server.ended()?) {
                    println!(
                        "the registry ended with {status}: recently used keys still get 200, all \
                         others get 503 internal_error"
                    );
                    outage = true;
                }
            }
        }
    }
    println!("\nstopping");
    drop(stack);
    println!("stopped; the keys are still in keystile.db");
    Ok(())
}

fn port(variable: &str, default: u16) -> Result<u16> {
    match std::env::var(variable) {
        Ok(text) => text.parse().with_context(|| {
            format!("{variable}={text} is not a port; use a number from 0 to 65535")
        }),
        Err(_) => Ok(default),
    }
}

fn print(stack: &Stack, database: &Path) -> Result<()> {
    let keys = stack.keys()?;
    let at = stack.listener;
    println!(
        "Keystile is up on http://{at}, with keys in {}.",
        database.display()
    );
    println!("Ctrl-C stops it. What to try, and what to expect:\n");
    let tries = [
        (
            "active key",
            &keys.active.key,
            "200, and what the upstream received",
        ),
        ("deleted key", &keys.deleted.key, "401 api_key_not_found"),
        ("revoked key", &keys.revoked.key, "401 api_key_revoked"),
    ];
    for (name, key, expected) in tries {
        println!("# {name}: {expected}");
        println!("curl -i http://{at}/v1/hello -H 'Authorization: Bearer {key}'\n");
    }
    println!("# no key: 401 api_key_missing");
    println!("curl -i http://{at}/v1/hello\n");
    Ok(())
}
