//! What must hold after everything else: no key leaked, and no VM died.

use anyhow::{Result, ensure};

use crate::world::World;

trials! { Last:
    "after: every VM lives" => every_vm_lives,
    "after: no key leaked" => no_key_leaked,
    "after: the log has the reasons" => the_log_has_the_reasons,
}

/// No key is in anything that was written, stored, received or answered.
fn no_key_leaked(world: &World) -> Result<()> {
    let mut places = vec![
        (
            "what the auth cluster received".to_owned(),
            world.auth.text().into_bytes(),
        ),
        (
            "what the upstream received".to_owned(),
            world.upstream.text().into_bytes(),
        ),
        ("the replies".to_owned(), world.replies().into_bytes()),
    ];
    for (path, bytes) in world.logs()? {
        places.push((path.display().to_string(), bytes));
    }
    let secrets = world.secrets();
    ensure!(secrets.len() > 50, "{} keys were used", secrets.len());
    for (place, text) in &places {
        ensure!(
            !text.is_empty() || place.ends_with("-wal"),
            "nothing in {place}"
        );
        let text = String::from_utf8_lossy(text);
        for secret in &secrets {
            ensure!(!text.contains(secret), "the key {secret} is in {place}");
        }
    }
    Ok(())
}

/// No VM failed or was reloaded, and the filter never panicked.
fn every_vm_lives(world: &World) -> Result<()> {
    world.envoy.no_vm_died()?;
    let response = keystile_e2e::client::get(world.envoy.listener("plain")?, "/", [])?;
    ensure!(response.status == 401, "{response:?}");
    Ok(())
}

/// The log says why requests got a 503.
fn the_log_has_the_reasons(world: &World) -> Result<()> {
    let written = world.envoy.written();
    let reasons: Vec<_> = written
        .lines()
        .filter_map(|line| line.split_once("refused with 503, "))
        .map(|(_, reason)| reason)
        .collect();
    for expected in [
        "cluster \"nowhere\": no lookup was made: Envoy has no such cluster",
        "cluster \"refused\": answer 503: no connection to the auth cluster",
        "cluster \"hostless\": no lookup was made: Envoy could not send it: no healthy host",
        "cluster \"auth\": answer 504: lookup.timeout passed",
    ] {
        let found = reasons.iter().any(|reason| reason.starts_with(expected));
        ensure!(found, "no {expected} among {reasons:#?}");
    }
    Ok(())
}
