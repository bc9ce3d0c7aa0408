//! The Kubernetes manifests under `envoy/`: whether the API server accepts them, whether the filter
//! accepts their configurations, and whether they fit together.

mod admission;
mod broken;
mod consistency;
mod rules;
mod schema;

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use keystile::config;
use keystile_e2e::manifests::{Document, FOLDERS, clusters, documents};
use keystile_e2e::pages::yaml_blocks;
use keystile_e2e::root;
use serde_json::{Value, json};

use crate::schema::Definitions;

/// Returns the definitions, if those of custom resources are beside the project.
fn definitions(test: &str) -> Result<Option<Definitions>> {
    let folder: PathBuf = root().join("../shared/crds");
    if !folder.is_dir() {
        // Not with `eprintln!`, because the test harness hides what a passing test prints.
        writeln!(
            std::io::stderr(),
            "{test} is SKIPPED: there are no definitions (CRDs) in {}",
            folder.display()
        )?;
        return Ok(None);
    }
    let own = root().join("tests/manifests/definitions");
    let kubernetes = root().join(".tools/kubernetes-1.37.0.json");
    Definitions::read(&folder, &own, &kubernetes).map(Some)
}

fn all() -> Result<Vec<Document>> {
    let folders: Vec<_> = FOLDERS.into_iter().map(documents).collect::<Result<_>>()?;
    Ok(folders.concat())
}

/// Returns the documents that load the module.
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
        let (found, rules) = definitions
            .check(&document.complete())
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

/// Manifests in the documentation match the definitions too.
#[test]
fn each_documented_manifest_is_as_defined() -> Result<()> {
    let Some(definitions) = definitions("each_documented_manifest_is_as_defined")? else {
        return Ok(());
    };
    let mut run = 0;
    for page in ["docs/istio.md", "docs/envoy-gateway.md"] {
        let text = std::fs::read_to_string(root().join(page))?;
        for block in yaml_blocks(&text) {
            let document: Value = serde_saphyr::from_str(block).context(page)?;
            if document.get("apiVersion").is_some() {
                let (problems, _) = definitions.check(&document).context(page)?;
                ensure!(problems.is_empty(), "{page}: {}", problems.join("\n"));
                run += 1;
            }
        }
    }
    ensure!(run > 0, "no page shows a manifest");
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

/// The filter accepts each configuration, and uses a cluster that exists in the folder.
#[test]
fn each_configuration_fits() -> Result<()> {
    for plugin in plugins()? {
        let name = plugin.name();
        let config = plugin
            .plugin_config()
            .with_context(|| format!("{name}: no configuration"))?;
        let feed = serde_json::from_str::<Value>(&config)?["feed"]["cluster"].clone();
        let settings = config::parse(config.as_bytes()).with_context(|| name.clone())?;
        ensure!(settings.feed.is_some(), "{name}: without the feed");

        let folder = plugin
            .file
            .parent()
            .and_then(|folder| folder.to_str())
            .context("no folder")?;
        let clusters = clusters(&documents(folder)?);
        let cluster = &settings.lookup.cluster;
        ensure!(
            clusters.contains(cluster),
            "{name}: asks {cluster}, but there are {clusters:?}"
        );
        if let Some(feed) = feed.as_str() {
            let own = clusters.iter().any(|it| it == feed) && feed != cluster;
            ensure!(own, "{name}: polls {feed}, but there are {clusters:?}");
        }
        ensure!(
            settings.lookup.authority == "auth.keystile.svc.cluster.local",
            "{name}: asks for {}",
            settings.lookup.authority
        );
    }
    Ok(())
}

/// Each folder's files name the clusters, so that users can copy them into `lookup.cluster` and
/// `feed.cluster`.
#[test]
fn each_service_names_its_cluster() -> Result<()> {
    for folder in FOLDERS {
        let mut documents = documents(folder)?;
        let mut text = String::new();
        for document in &documents {
            text += &std::fs::read_to_string(root().join(&document.file))?;
        }
        // Envoy Gateway makes clusters from routes. Istio also makes some from Services that are
        // not for lookups.
        documents.retain(|document| {
            document.text("/kind") != "Service"
                || folder.ends_with("istio") && document.text("/metadata/name") == "auth"
        });
        let clusters = clusters(&documents);
        ensure!(!clusters.is_empty(), "{folder} has no cluster");
        for cluster in clusters {
            ensure!(text.contains(&cluster), "{folder} does not name {cluster}");
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

/// In Istio, a plugin on a sidecar without `SERVER` also asks for keys in requests that the API
/// sends, and a plugin on a gateway with `SERVER` has no effect.
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

/// The module's hash is pinned, and the shipped value is recognizable as a placeholder.
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
            "{name}: not marked as a placeholder"
        );
        ensure!(text.contains("example.com/"), "{name}: no example address");
    }
    Ok(())
}

/// A Sidecar that restricts what proxies know includes the auth service.
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
    let auth = of("Service").filter(|service| service.text("/metadata/name") == "auth");
    let clusters = auth.chain(of("ServiceEntry"));
    for cluster in clusters.flat_map(Document::clusters) {
        let host = cluster.rsplit('|').next().unwrap_or_default();
        let entry = json!(format!("keystile/{host}"));
        ensure!(known.contains(&entry), "the Sidecar does not have {entry}");
    }
    Ok(())
}
