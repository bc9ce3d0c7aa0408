//! The Kubernetes manifests under `envoy/`: whether the API server would take them, whether the
//! filter would, and whether they fit together.

mod broken;
mod rules;
mod schema;

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use keystile::config::Config;
use keystile_e2e::manifests::{Document, FOLDERS, documents};
use keystile_e2e::root;
use serde_json::{Value, json};

use crate::schema::Definitions;

/// What has no definition to be held against, and why.
const NOT_VALIDATED: [(&str, &str); 4] = [
    ("Service", "is Kubernetes' own"),
    (
        "HTTPRoute",
        "is the Gateway API's, of which there is no copy",
    ),
    (
        "SecurityPolicy",
        "is Envoy Gateway's, of which there is no copy",
    ),
    (
        "BackendTrafficPolicy",
        "is Envoy Gateway's, of which there is no copy",
    ),
];

/// The definitions, where they are beside the project.
fn definitions(test: &str) -> Result<Option<Definitions>> {
    let folder: PathBuf = root().join("../shared/crds");
    if !folder.is_dir() {
        // Past the test harness, which keeps what a test that passes prints.
        writeln!(
            std::io::stderr(),
            "{test} is SKIPPED: there are no definitions (CRDs) in {}",
            folder.display()
        )?;
        return Ok(None);
    }
    Definitions::read(&folder).map(Some)
}

fn all() -> Result<Vec<Document>> {
    let folders: Vec<_> = FOLDERS.into_iter().map(documents).collect::<Result<_>>()?;
    Ok(folders.concat())
}

/// The documents that load the module.
fn plugins() -> Result<Vec<Document>> {
    let mut plugins = all()?;
    plugins.retain(|document| document.plugin().is_some());
    ensure!(plugins.len() >= 6, "only {} load the module", plugins.len());
    Ok(plugins)
}

#[test]
fn each_manifest_is_as_defined() -> Result<()> {
    let Some(definitions) = definitions("each_manifest_is_as_defined")? else {
        return Ok(());
    };
    let (mut problems, mut run) = (Vec::new(), 0);
    for document in all()? {
        let kind = document.text("/kind");
        if let Some((_, why)) = NOT_VALIDATED.iter().find(|(known, _)| *known == kind) {
            ensure!(!definitions.knows(kind), "{kind} can be validated now");
            println!("{} is not validated: {kind} {why}", document.name());
            continue;
        }
        let (found, rules) = definitions
            .check(&document.value)
            .with_context(|| document.name())?;
        run += rules;
        problems.extend(
            found
                .iter()
                .map(|problem| format!("{}: {problem}", document.name())),
        );
    }
    println!("{run} rules in CEL ran");
    ensure!(run > 50, "only {run} rules in CEL ran");
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}

#[test]
fn broken_manifests_are_refused() -> Result<()> {
    let Some(definitions) = definitions("broken_manifests_are_refused")? else {
        return Ok(());
    };
    let all = all()?;
    for case in broken::cases() {
        let shipped = all.iter().find(|document| {
            document.file.ends_with(case.file) && document.text("/kind") == case.kind
        });
        let mut value = shipped.context(case.file).context(case.name)?.value.clone();
        let (object, field, new) = case.at;
        value
            .pointer_mut(object)
            .context(object)
            .context(case.name)?[field] = new;
        let said = match definitions.check(&value) {
            Ok((problems, _)) => problems,
            Err(problem) => vec![problem.to_string()],
        };
        let [path, what] = case.says;
        let expected = |problem: &String| problem.starts_with(path) && problem.contains(what);
        let as_expected = said.iter().any(expected);
        ensure!(as_expected, "{}: no {:?} in {said:?}", case.name, case.says);
    }
    Ok(())
}

/// The filter takes each configuration, and asks the cluster that the folder's service gets.
#[test]
fn each_configuration_fits() -> Result<()> {
    for plugin in plugins()? {
        let name = plugin.name();
        let config = plugin
            .plugin_config()
            .with_context(|| format!("{name}: no configuration"))?;
        let config = Config::parse(config.as_bytes()).with_context(|| name.clone())?;
        ensure!(config.feed.is_some(), "{name}: without the feed");

        let folder = plugin
            .file
            .parent()
            .and_then(|folder| folder.to_str())
            .context("no folder")?;
        let clusters: Vec<_> = documents(folder)?
            .iter()
            .flat_map(Document::clusters)
            .collect();
        let cluster = &config.lookup.cluster;
        ensure!(
            clusters.contains(cluster),
            "{name}: asks {cluster}, but there are {clusters:?}"
        );
        ensure!(
            config.lookup.authority == "auth.keystile.svc.cluster.local",
            "{name}: asks for {}",
            config.lookup.authority
        );
    }
    Ok(())
}

/// Who copies a file reads in it what to put into `lookup.cluster`.
#[test]
fn each_service_names_its_cluster() -> Result<()> {
    for document in all()? {
        let text = std::fs::read_to_string(root().join(&document.file))?;
        for cluster in document.clusters() {
            ensure!(
                text.contains(&cluster),
                "{} does not say {cluster}",
                document.name()
            );
        }
    }
    Ok(())
}

#[test]
fn each_plugin_fails_closed() -> Result<()> {
    for document in plugins()? {
        let name = document.name();
        let (plugin, _) = document.plugin().context("no plugin")?;
        if document.text("/kind") == "EnvoyExtensionPolicy" {
            ensure!(
                plugin["failOpen"] == false,
                "{name}: failOpen is {}",
                plugin["failOpen"]
            );
        } else {
            let strategy = &plugin["failStrategy"];
            ensure!(
                strategy == "FAIL_CLOSE",
                "{name}: failStrategy is {strategy}"
            );
            ensure!(
                document.value["spec"]["phase"] == "AUTHN",
                "{name}: another phase"
            );
        }
    }
    Ok(())
}

/// Istio: what is attached to a sidecar without `SERVER` asks for keys in what the API sends, and
/// to a gateway with it, is not there at all.
#[test]
fn each_plugin_is_on_requests_to_the_api() -> Result<()> {
    for document in plugins()? {
        let file = document.file.to_string_lossy().into_owned();
        let matched = document.value["spec"].get("match");
        if file.ends_with("-sidecar.yaml") {
            let server = json!([{"mode": "SERVER"}]);
            ensure!(matched == Some(&server), "{file}: match is {matched:?}");
        } else {
            ensure!(matched.is_none(), "{file}: match is {matched:?}");
        }
    }
    Ok(())
}

/// The module's hash is pinned, and nobody takes what is shipped for a real one.
#[test]
fn each_hash_is_a_placeholder_that_says_so() -> Result<()> {
    let placeholder = "0".repeat(64);
    for document in plugins()? {
        let name = document.name();
        let (plugin, _) = document.plugin().context("no plugin")?;
        let code = &plugin["code"];
        let hash = [
            &plugin["sha256"],
            &code["image"]["sha256"],
            &code["http"]["sha256"],
        ];
        let hash: Vec<_> = hash.into_iter().filter_map(Value::as_str).collect();
        ensure!(hash == [placeholder.as_str()], "{name}: sha256 is {hash:?}");
        let text = std::fs::read_to_string(root().join(&document.file))?;
        let lines: Vec<_> = text.lines().collect();
        let at = lines
            .iter()
            .position(|line| line.contains(&placeholder))
            .context("no line")?;
        ensure!(
            lines[at - 1].contains("# A placeholder: "),
            "{name}: says no placeholder"
        );
        ensure!(
            text.contains("example.com/"),
            "{name}: no example of an address"
        );
    }
    Ok(())
}

/// A Sidecar that restricts what proxies know leaves the auth service in.
#[test]
fn the_sidecar_knows_the_auth_services() -> Result<()> {
    let all = documents("envoy/istio")?;
    let of = |kind: &'static str| {
        all.iter()
            .filter(move |document| document.text("/kind") == kind)
    };
    let sidecar = of("Sidecar").next().context("no Sidecar")?;
    let known = sidecar.value["spec"]["egress"][0]["hosts"]
        .as_array()
        .context("no hosts")?;
    let clusters = of("Service").chain(of("ServiceEntry"));
    for cluster in clusters.flat_map(Document::clusters) {
        let host = cluster.rsplit('|').next().unwrap_or_default();
        let entry = json!(format!("keystile/{host}"));
        ensure!(known.contains(&entry), "the Sidecar does not have {entry}");
    }
    Ok(())
}
