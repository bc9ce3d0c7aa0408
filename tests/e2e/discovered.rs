//! The filter is discovered (ECDS) and swapped under load, for valid and for broken configurations. No
//! request passes without a key meanwhile, and the last valid configuration stays in force.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use keystile_e2e::client;
use keystile_e2e::discovery::Discovery;
use keystile_e2e::envoy::{Launch, Listener, module};
use keystile_e2e::keys::{GOOD, hash, made_up_key};
use keystile_e2e::process::wait_until;
use keystile_e2e::recording_upstream::RecordingUpstream;
use keystile_e2e::scripted_auth::{Script, ScriptedAuth, answer};
use keystile_e2e::stack::{Setup, Stack};
use keystile_e2e::traffic::Traffic;
use serde_json::{Value, json};

use crate::capabilities::all_but;

trials! { Together:
    "discovered: swapped under load" => swapped_under_load,
    "discovered: nothing passes before the first" => nothing_passes_before_the_first,
}

const NAME: &str = "keystile.wasm";
/// Requests per second of each kind.
const RATE: u32 = 100;
/// How many requests of each kind must be answered before the next swap.
const BETWEEN: usize = 30;

/// Returns a plugin configuration whose replies can be recognised by their realm.
fn plugin(realm: &str) -> Value {
    json!({
        "lookup": {"cluster": "auth", "timeout": "10s"},
        "replies": {"realm": realm},
    })
}

/// Returns broken filters that Envoy may be handed.
fn broken(discovery: &Discovery, folder: &Path) -> Result<Vec<(&'static str, String)>> {
    let text = folder.join("text.wasm");
    std::fs::write(&text, "not a module")?;
    let good = plugin("broken").to_string();
    let of = |module: &Path, plugin: &str| {
        json!({"resources": [discovery.resource(module, plugin)]}).to_string()
    };
    let whole = of(&module(), &good);
    let half = whole.split_at(whole.len() / 2).0.to_owned();
    let mut unknown = discovery.resource(&module(), &good);
    unknown["typed_config"]["@type"] =
        json!("type.googleapis.com/envoy.extensions.filters.http.router.v3.Router");
    unknown["typed_config"]
        .as_object_mut()
        .context("no object")?
        .remove("config");
    let mut tied = discovery.resource(&module(), &good);
    // Before 1.40, Envoy reuses a VM that it already has, even if that one may do more.
    tied["typed_config"]["config"]["vm_config"]["vm_id"] = json!("tied");
    tied["typed_config"]["config"]["capability_restriction_config"] =
        json!({"allowed_capabilities": all_but("proxy_http_call")});
    Ok(vec![
        (
            "an unknown field",
            of(&module(), r#"{"lookup":{"cluster":"auth"},"cash":{}}"#),
        ),
        ("no configuration", of(&module(), "")),
        (
            "half a configuration",
            of(&module(), r#"{"lookup":{"cluster""#),
        ),
        (
            "a module that is not there",
            of(&folder.join("nowhere.wasm"), &good),
        ),
        ("a module that is none", of(&text, &good)),
        ("half a file", half),
        ("an empty file", String::new()),
        ("no resource", r#"{"resources":[]}"#.to_owned()),
        (
            "another filter",
            json!({"resources": [unknown]}).to_string(),
        ),
        (
            "too few capabilities",
            json!({"resources": [tied]}).to_string(),
        ),
    ])
}

struct Stage {
    stack: Stack,
    discovery: Discovery,
}

impl Stage {
    fn realm(&self) -> Result<String> {
        let response = client::get(self.stack.envoy.listener("stage")?, "/nobody", [])?;
        ensure!(response.status == 401, "without a key: {response:?}");
        let challenge = response.header("www-authenticate")?.unwrap_or_default();
        Ok(challenge.to_owned())
    }
}

fn swapped_under_load() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let discovery = Discovery::new(NAME, folder.path().join("filter.json"));
    discovery.publish(&discovery.resource(&module(), &plugin("first").to_string()))?;
    let (good, bad) = (made_up_key(), made_up_key());
    let auth = ScriptedAuth::default();
    auth.script(&hash(&good)?, Script::Answer(answer("200 OK", GOOD)));
    auth.script(&hash(&bad)?, Script::Answer(answer("404 Not Found", "")));
    let stage = Stage {
        stack: start(auth, &discovery)?,
        discovery,
    };
    let to = stage.stack.envoy.listener("stage")?;

    let kinds = [
        ("a good key", "/good", good.as_str(), 200),
        ("no key", "/nobody", "", 401),
        ("a key that is not there", "/nobody", bad.as_str(), 401),
    ];
    let traffics: Vec<_> = kinds
        .iter()
        .map(|(_, path, key, _)| Traffic::start(&stage.stack.runtime, to, path, key, RATE))
        .collect::<Result<_>>()?;
    let some_more = || {
        for traffic in &traffics {
            let before = traffic.seen()?.len();
            wait_until(|| Ok(traffic.seen()?.len() >= before + BETWEEN))?;
        }
        anyhow::Ok(())
    };

    some_more()?;
    ensure!(stage.realm()?.contains("\"first\""), "the first");
    let resource = stage
        .discovery
        .resource(&module(), &plugin("second").to_string());
    stage.discovery.publish(&resource)?;
    wait_until(|| Ok(stage.realm()?.contains("\"second\""))).context("the second")?;
    some_more()?;
    for (name, text) in broken(&stage.discovery, folder.path())? {
        let before = stage.discovery.turned_down(&stage.stack.envoy)?;
        stage.discovery.publish_text(&text)?;
        wait_until(|| Ok(stage.discovery.turned_down(&stage.stack.envoy)? > before))
            .with_context(|| format!("Envoy does not reject: {name}"))?;
        some_more().context(name)?;
        let realm = stage.realm().context(name)?;
        ensure!(realm.contains("\"second\""), "{name}: {realm}");
    }
    let resource = stage
        .discovery
        .resource(&module(), &plugin("third").to_string());
    stage.discovery.publish(&resource)?;
    wait_until(|| Ok(stage.realm()?.contains("\"third\""))).context("the third")?;
    some_more()?;

    for ((name, _, _, status), traffic) in kinds.iter().zip(&traffics) {
        let mut outcomes = BTreeMap::<_, usize>::new();
        for seen in traffic.seen()? {
            *outcomes.entry(seen.status).or_default() += 1;
        }
        println!("{name}: {outcomes:?}");
        ensure!(
            outcomes.keys().eq([&Some(*status)]),
            "{name}: {outcomes:?}, expected only {status}"
        );
    }
    ensure!(
        !stage.stack.upstream.text().contains("/nobody"),
        "the upstream got a request without a good key"
    );
    stage.stack.envoy.no_vm_died()
}

/// If the first filter discovered is broken, no request passes until there is a valid one.
fn nothing_passes_before_the_first() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let discovery = Discovery::new(NAME, folder.path().join("filter.json"));
    let broken = broken(&discovery, folder.path())?;
    let (_, text) = &broken[0];
    discovery.publish_text(text)?;
    let key = made_up_key();
    let auth = ScriptedAuth::default();
    auth.script(&hash(&key)?, Script::Answer(answer("200 OK", GOOD)));
    let stack = start(auth, &discovery)?;
    let to = stack.envoy.listener("stage")?;
    let key = format!("x-api-key: {key}");
    for line in ["x-y: z", key.as_str()] {
        let response = client::get(to, "/v1/x", [line])?;
        ensure!(response.status == 500, "{response:?}");
    }
    let arrived = stack.upstream.text();
    ensure!(arrived.is_empty(), "{arrived}");
    discovery.publish(&discovery.resource(&module(), &plugin("first").to_string()))?;
    wait_until(|| match client::get(to, "/v1/x", [key.as_str()])?.status {
        500 => Ok(false),
        200 => Ok(true),
        other => bail!("{other} with a good key"),
    })
}

fn start(auth: ScriptedAuth, discovery: &Discovery) -> Result<Stack> {
    let discovery = discovery.clone();
    Stack::start(Setup {
        edit: Box::new(move |config| discovery.put_into(config)),
        launch: Launch::workers(2),
        auth,
        upstream: RecordingUpstream::echoing(),
        ..Setup::new(vec![Listener::new("stage", &Value::Null)])
    })
}
