//! What each service in `envoy/docker-compose.yaml` must have, checked without Docker. `make
//! test-docker` asks the engine whether it is in effect.

use std::fs;

use anyhow::{Context, Result, ensure};
use keystile_e2e::root;
use serde_json::Value;

fn services() -> Result<Vec<(String, Value)>> {
    let text = fs::read_to_string(root().join("envoy/docker-compose.yaml"))?;
    let file: Value = serde_saphyr::from_str(&text)?;
    let services = file["services"].as_object().context("no services")?;
    ensure!(services.len() >= 5, "only {} services", services.len());
    Ok(services
        .iter()
        .map(|(name, service)| (name.clone(), service.clone()))
        .collect())
}

/// Returns the bytes of a size in compose's notation.
fn bytes(size: &str) -> Option<u64> {
    let digits = size.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = size.split_at(digits);
    let unit = match unit {
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        _ => return None,
    };
    Some(number.parse::<u64>().ok()? * unit)
}

#[test]
fn every_service_has_limits() -> Result<()> {
    for (name, service) in services()? {
        let logging = &service["logging"];
        ensure!(
            logging["driver"] == "json-file",
            "{name}: its log goes to {}",
            logging["driver"]
        );
        let size = logging["options"]["max-size"].as_str();
        let size = size
            .and_then(bytes)
            .with_context(|| format!("{name}: no max-size"))?;
        let files = logging["options"]["max-file"].as_str();
        let files: u64 = files
            .with_context(|| format!("{name}: no max-file"))?
            .parse()?;
        ensure!(
            (1..=100 << 20).contains(&(size * files)) && files > 1,
            "{name}: {files} files of {size} bytes"
        );
        let memory = service["mem_limit"].as_str();
        let memory = memory
            .and_then(bytes)
            .with_context(|| format!("{name}: no mem_limit"))?;
        ensure!(
            (64 << 20..=2 << 30).contains(&memory),
            "{name}: mem_limit is {memory}"
        );
        let processes = service["pids_limit"].as_u64();
        let processes = processes.with_context(|| format!("{name}: no pids_limit"))?;
        ensure!(
            (20..=1000).contains(&processes),
            "{name}: pids_limit is {processes}"
        );
    }
    Ok(())
}

/// The registry knows only the password of its own PostgreSQL role, and no password has a default.
#[test]
fn the_registry_has_no_superuser() -> Result<()> {
    for (name, service) in services()? {
        let environment = service["environment"]
            .as_object()
            .cloned()
            .unwrap_or_default();
        for (variable, value) in environment {
            let value = value.as_str().unwrap_or_default();
            let case = format!("{name}: {variable}={value}");
            let superuser = |text: &str| {
                text.replace("KEYSTILE_POSTGRES_PASSWORD", "")
                    .contains("POSTGRES_PASSWORD")
            };
            ensure!(
                name == "postgres" || !superuser(value) && !superuser(&variable),
                "{case}: the superuser's password outside of PostgreSQL"
            );
            ensure!(
                !variable.contains("PASSWORD")
                    || ["", "${KEYSTILE_POSTGRES_PASSWORD:-}"].contains(&value),
                "{case}: a default"
            );
            ensure!(
                variable != "POSTGRES_USER",
                "{case}: the superuser is the image's own"
            );
        }
    }
    let role = fs::read_to_string(root().join("envoy/postgres/role.sql"))?;
    for word in [
        "NOSUPERUSER",
        "NOCREATEDB",
        "NOCREATEROLE",
        "NOREPLICATION",
        "NOBYPASSRLS",
    ] {
        ensure!(role.contains(word), "role.sql: no {word}");
    }
    Ok(())
}
