//! Three plugins in one VM, with the same `vm_id` and the same root, but with different credential
//! headers, auth clusters, identity headers, peppers, feeds and replies. They share nothing, neither
//! while lookups of all of them are in flight, nor when one of them is reconfigured or removed.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use keystile::request::key_hash::KeyHasher;
use keystile_e2e::client::{self, Response, Sent};
use keystile_e2e::counters::{Counters, End};
use keystile_e2e::discovery::listeners_apart;
use keystile_e2e::envoy::{self, Launch, Listener, cluster};
use keystile_e2e::keys::{GOOD, hash};
use keystile_e2e::process::wait_until;
use keystile_e2e::recording_upstream::ENTITLED;
use keystile_e2e::recording_upstream::RecordingUpstream;
use keystile_e2e::rule_auth;
use keystile_e2e::scripted_auth::{Fallback, Script, ScriptedAuth, answer};
use keystile_e2e::stack::Setup;
use keystile_e2e::trials::trial;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

use crate::range::{self, PATH, Range, Steady, end_of, key_id, known_key, plugin};

const PEPPER: &str = "blue's pepper";
const FEED: &str = "/v1/changes";

/// Requests to red that are sent while another of its requests waits.
const AROUND: usize = 20;

keystile_e2e::suite!(Together, trials);

fn trials() -> Vec<Trial> {
    [1, 2]
        .map(|workers| {
            let name = format!("neighbours: three plugins of one VM, {workers} worker(s)");
            trial(&name.clone(), move || share_nothing(&name, workers))
        })
        .into()
}

/// Returns the plugins, each on a separate listener. `green` is the realm of the plugin green, or
/// `None` to leave it out.
fn listeners(green: Option<&str>) -> Vec<Listener> {
    let red = plugin(&json!({
        "replies": {"realm": "red"},
    }));
    let blue = json!({
        "lookup": {"cluster": "blue", "timeout": "10s"},
        "credential": {"sources": [{"header": "x-blue-key"}]},
        "hash": {"pepper": PEPPER},
        "identity_headers": {"x-blue-id": "key_id"},
        "replies": {"realm": "blue"},
    });
    let mut all = vec![Listener::new("red", &red), Listener::new("blue", &blue)];
    all.extend(green.map(|realm| {
        let green = json!({
            "lookup": {"cluster": "green", "timeout": "10s"},
            "cache": {"allow_ttl": "1h", "not_found_ttl": "1h"},
            "feed": {"path": format!("{FEED}?after={{cursor}}"), "interval": "100ms"},
            "replies": {"realm": realm},
        });
        Listener::new("green", &green)
    }));
    all
}

/// Puts the plugins of a configuration into one VM, and routes blue's requests to an upstream that
/// records their headers.
fn in_one_vm(config: &mut Value) -> Result<()> {
    for (name, http) in envoy::each_http_settings(config) {
        let wasm = &mut http["http_filters"][0]["typed_config"]["config"];
        wasm["name"] = json!("keystile");
        wasm["root_id"] = json!("keystile");
        wasm["vm_config"]["vm_id"] = json!("shared");
        if name == "blue" {
            http["route_config"]["virtual_hosts"][0]["routes"][0]["route"]["cluster"] =
                json!("echo");
        }
    }
    Ok(())
}

/// The range, and the auth clusters of green and blue.
struct Neighbours<'a> {
    range: &'a Range,
    counters: &'a Counters,
    green: &'a ScriptedAuth,
    blue: &'a ScriptedAuth,
    received: &'a RecordingUpstream,
    /// The number of workers. With one, each plugin has one cache, so its lookups can be counted.
    workers: u32,
}

fn share_nothing(name: &str, workers: u32) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("listeners.json");
    let runtime = Runtime::new()?;
    let (green, blue, received) = (
        ScriptedAuth::default(),
        ScriptedAuth::default(),
        RecordingUpstream::echoing(),
    );
    let (green_at, blue_at, echo) = runtime.block_on(async {
        let green = green.serve(Fallback::None, false).await?;
        let blue = blue.serve(Fallback::None, false).await?;
        anyhow::Ok((green, blue, received.serve().await?))
    })?;
    let clusters = vec![
        cluster("green", Some(green_at.address)),
        cluster("blue", Some(blue_at.address)),
        cluster("echo", Some(echo.address)),
    ];
    green.script(FEED, Script::Answer(answer("200 OK", &page("c1", &[]))));
    let first = file.clone();
    let range = Range::start(Setup {
        clusters,
        launch: Launch::workers(workers).with(&["--drain-time-s", "3"]),
        edit: Box::new(move |config| {
            in_one_vm(config)?;
            listeners_apart(config, &first)
        }),
        servers: vec![green_at, blue_at, echo],
        ..range::setup(listeners(Some("green")))
    })?;
    let publish = |green: Option<&str>| {
        let mut config = envoy::config(&listeners(green), &[]);
        in_one_vm(&mut config)?;
        listeners_apart(&mut config, &file)
    };
    range.case(name, Steady::on("red")?, |counters| {
        let neighbours = Neighbours {
            range: &range,
            counters,
            green: &green,
            blue: &blue,
            received: &received,
            workers,
        };
        neighbours.in_one_vm()?;
        let key = neighbours.each_has_its_own_verdict()?;
        neighbours.the_feed_of_one_is_not_that_of_others(&key)?;
        neighbours.while_lookups_are_under_way("green", || Ok(()), || Ok(()))?;
        neighbours.while_lookups_are_under_way(
            "green",
            || publish(Some("lime")),
            || {
                let lime = || Ok(neighbours.challenge("green", &[])?.contains("\"lime\""));
                wait_until(lime).context("not reconfigured")
            },
        )?;
        ensure!(neighbours.challenge("red", &[])?.contains("\"red\""));
        ensure!(neighbours.challenge("blue", &[])?.contains("\"blue\""));
        neighbours.while_lookups_are_under_way(
            "lime",
            || publish(None),
            || {
                range
                    .envoy
                    .wait_for_counter("listener_manager.total_listeners_active", 2)
            },
        )?;
        range
            .envoy
            .wait_for_counter("listener_manager.total_listeners_draining", 0)?;
        ensure!(neighbours.challenge("red", &[])?.contains("\"red\""));
        ensure!(neighbours.challenge("blue", &[])?.contains("\"blue\""));
        neighbours.red_still_knows(&key)?;
        Ok(())
    })
}

fn page(cursor: &str, changed: &[&str]) -> String {
    let changes: Vec<_> = changed
        .iter()
        .map(|hash| json!({"key_hash": hash, "kind": "updated"}))
        .collect();
    json!({"cursor": cursor, "changes": changes, "reset": false}).to_string()
}

impl Neighbours<'_> {
    /// Checks that there is one VM for each worker, plus two that are Envoy's own, whatever the number
    /// of plugins.
    fn in_one_vm(&self) -> Result<()> {
        let vms = self
            .range
            .envoy
            .counter("wasm.envoy.wasm.runtime.v8.active")?;
        ensure!(vms == u64::from(self.workers) + 2, "{vms} VMs");
        Ok(())
    }

    fn get(&self, listener: &str, lines: &[&str]) -> Result<Response> {
        self.range.get(self.counters, listener, listener, lines)
    }

    fn challenge(&self, listener: &str, lines: &[&str]) -> Result<String> {
        let response = self.get(listener, lines)?;
        ensure!(response.status == 401, "{listener}: {response:?}");
        let challenge = response.header("www-authenticate")?.unwrap_or_default();
        Ok(challenge.to_owned())
    }

    fn refused(&self, listener: &str, lines: &[&str], error: &str) -> Result<()> {
        let response = self.get(listener, lines)?;
        ensure!(
            response.status == 401
                && response.text().contains(error)
                && response
                    .header("www-authenticate")?
                    .is_some_and(|challenge| challenge.contains(&format!("\"{listener}\""))),
            "{listener} {lines:?}, not {error}: {response:?}"
        );
        Ok(())
    }

    /// Checks how many lookups about a hash an auth cluster got: `of_each` for each worker that saw
    /// the key, as each worker has its own cache.
    fn lookups(&self, auth: &ScriptedAuth, hash: &str, of_each: usize) -> Result<()> {
        let made = auth.lookups_about(hash);
        let most = of_each * usize::try_from(self.workers)?;
        ensure!(
            (of_each..=most).contains(&made),
            "{made} lookups, not {of_each} to {most}"
        );
        Ok(())
    }

    /// Red's auth cluster knows the key, green's does not, and blue's knows it by another hash.
    /// Returns the key.
    fn each_has_its_own_verdict(&self) -> Result<String> {
        let key = known_key()?;
        let (plain, peppered) = (
            hash(&key)?,
            KeyHasher::new(Some(PEPPER))?
                .hash(key.as_bytes())
                .to_string(),
        );
        let not_found = Script::Answer(answer("404 Not Found", ""));
        self.green.script(&plain, not_found);
        self.blue
            .script(&peppered, Script::Answer(answer("200 OK", GOOD)));
        let api_key = format!("x-api-key: {key}");
        let blue_key = format!("x-blue-key: {key}");
        let entitled = format!("{ENTITLED}: {}", key_id(&key)?);
        // First by a lookup, then from the cache.
        for _ in 0..2 * self.workers {
            let response = self.get("red", &[&api_key, &entitled])?;
            ensure!(response.status == 200, "red: {response:?}");
            self.refused("green", &[&api_key], "api_key_not_found")?;
            // Blue does not set this header, so it keeps the client's value.
            let response = self.get("blue", &[&blue_key, "x-keystile-key-id: its own"])?;
            ensure!(response.status == 200, "blue: {response:?}");
            // Keys in the headers of other plugins do not count.
            self.refused("red", &[&blue_key], "api_key_missing")?;
            self.refused("green", &[&blue_key], "api_key_missing")?;
            self.refused("blue", &[&api_key], "api_key_missing")?;
        }
        self.lookups(&self.range.auth, &plain, 1)?;
        self.lookups(self.green, &plain, 1)?;
        self.lookups(self.blue, &peppered, 1)?;
        for (auth, hash) in [
            (&self.range.auth, &peppered),
            (self.green, &peppered),
            (self.blue, &plain),
        ] {
            ensure!(
                auth.lookups_about(hash) == 0,
                "a lookup with another plugin's hash"
            );
        }
        let at_echo = self.received.with("x-blue-id", "key_1");
        ensure!(!at_echo.is_empty(), "blue's identity is not there");
        for request in &at_echo {
            let values = request.values("x-keystile-key-id");
            ensure!(values == ["its own"], "{request:?}");
            ensure!(
                !format!("{request:?}").contains(&key),
                "blue's key is there"
            );
        }
        Ok(key)
    }

    /// Green's feed says that the key has changed: green looks it up again, and red does not.
    fn the_feed_of_one_is_not_that_of_others(&self, key: &str) -> Result<()> {
        let hash = hash(key)?;
        let before = self.green.lookups_about(&hash);
        let record = answer("200 OK", &rule_auth::record(&hash));
        self.green.script(&hash, Script::Answer(record));
        let changed = page("c2", &[&hash]);
        self.green
            .script(FEED, Script::Answer(answer("200 OK", &changed)));
        let (line, entitled) = (
            format!("x-api-key: {key}"),
            format!("{ENTITLED}: {}", key_id(key)?),
        );
        wait_until(|| Ok(self.get("green", &[&line, &entitled])?.status == 200))
            .context("green does not repeat the lookup")?;
        ensure!(self.green.lookups_about(&hash) > before);
        self.green
            .script(FEED, Script::Answer(answer("200 OK", &page("c3", &[]))));
        self.red_still_knows(key)
    }

    /// Checks that red lets the key in without another lookup.
    fn red_still_knows(&self, key: &str) -> Result<()> {
        let (line, entitled) = (
            format!("x-api-key: {key}"),
            format!("{ENTITLED}: {}", key_id(key)?),
        );
        let response = self.get("red", &[&line, &entitled])?;
        ensure!(response.status == 200, "red: {response:?}");
        self.lookups(&self.range.auth, &hash(key)?, 1)
    }

    /// Sends the same new key to red and to green, runs `happens` while both lookups are in flight,
    /// and completes the lookups one after the other. Each request is resolved when its own answer
    /// arrives, by the configuration with which it started.
    fn while_lookups_are_under_way(
        &self,
        green_realm: &str,
        happens: impl FnOnce() -> Result<()>,
        has_happened: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let key = known_key()?;
        let hash = hash(&key)?;
        let when = |bytes| {
            let permits = Arc::new(Semaphore::new(0));
            (Arc::clone(&permits), Script::AnswerWhen(permits, bytes))
        };
        let (red_may, red_script) = when(answer("200 OK", &rule_auth::record(&hash)));
        let (green_may, green_script) = when(answer("404 Not Found", ""));
        self.range.auth.script(&hash, red_script);
        self.green.script(&hash, green_script);
        let (line, entitled) = (
            format!("x-api-key: {key}"),
            format!("{ENTITLED}: {}", key_id(&key)?),
        );
        let send = |listener: &str, lines: &[&str]| -> Result<Sent> {
            let head = client::head("GET", PATH, lines.iter().copied());
            client::send(self.range.envoy.listener(listener)?, head.as_bytes())
        };
        let at_red = send("red", &[&line, &entitled])?;
        let at_green = send("green", &[&line])?;
        wait_until(|| {
            let asked = |auth: &ScriptedAuth| auth.lookups_about(&hash) == 1;
            Ok(asked(&self.range.auth) && asked(self.green))
        })
        .context("not asked about")?;
        happens()?;
        has_happened()?;
        green_may.add_permits(1);
        let green = at_green.response();
        self.counters.count("green", end_of(&green));
        let green = green?;
        let challenge = green.header("www-authenticate")?.unwrap_or_default();
        ensure!(
            green.status == 401
                && green.text().contains("api_key_not_found")
                && challenge.contains(&format!("\"{green_realm}\"")),
            "green: {green:?}"
        );
        // Green's verdict does not resolve red's request. Red serves other requests meanwhile.
        let red = std::thread::spawn(move || at_red.response());
        for _ in 0..AROUND {
            self.challenge("red", &[])?;
        }
        ensure!(
            !red.is_finished(),
            "red answers before its auth cluster does"
        );
        red_may.add_permits(1);
        let red = red.join().ok().context("its thread")?;
        self.counters.count("red", end_of(&red));
        ensure!(end_of(&red) == End::Answered(200), "red: {red:?}");
        Ok(())
    }
}
