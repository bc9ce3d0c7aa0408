//! Configurations swapped under load, a hundred times: by discovery of the filter (ECDS), and with the
//! whole listener (LDS). A good key gets in throughout and nobody else does, and Envoy does not grow
//! with each swap.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use keystile_e2e::counters::{Counters, End};
use keystile_e2e::discovery::{Discovery, listeners_apart};
use keystile_e2e::envoy::{self, Launch, Listener};
use keystile_e2e::process::wait_until;
use keystile_e2e::shipped;
use keystile_e2e::stack::Setup;
use keystile_e2e::trials::trial;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::dying::{self, DIE, Policy};
use crate::range::{self, Range, Steady, plugin};

const SWAPS: usize = 100;
/// The swap after which Envoy's memory is first measured. Until then it grows for other reasons.
const SETTLED: usize = 10;
/// How much Envoy may grow by the last swap, in MB: in total, and in its VMs.
const GROWTH: [f64; 2] = [25.0, 4.0];

keystile_e2e::suite!(Together, trials);

fn trials() -> Vec<Trial> {
    vec![
        trial("swapped: the filter, 100 times", || {
            discovered("swapped: the filter, 100 times")
        }),
        trial(
            "swapped: the VM dies during configuration, FAIL_RELOAD",
            || {
                dies_of_it(
                    "swapped: the VM dies during configuration, FAIL_RELOAD",
                    Policy::FailReload,
                )
            },
        ),
        trial(
            "swapped: the VM dies during configuration, FAIL_CLOSED",
            || {
                dies_of_it(
                    "swapped: the VM dies during configuration, FAIL_CLOSED",
                    Policy::FailClosed,
                )
            },
        ),
        trial("swapped: the listener, 100 times", || {
            handed_over("swapped: the listener, 100 times")
        }),
    ]
}

/// Returns one of many kinds of configuration, with a realm that identifies it in replies.
fn swap(number: usize) -> Value {
    let mut more = json!({
        "replies": {"realm": realm(number)},
        "cache": {"max_allow_entries": 10 + number, "max_deny_entries": 100},
        "exempt": {"paths": [format!("/exempt/{number}")]},
    });
    if number.is_multiple_of(2) {
        more["feed"] = json!({"path": "/v1/changes?after={cursor}", "interval": "100ms"});
    }
    if number.is_multiple_of(3) {
        more["introspection"] = json!({});
    }
    if number.is_multiple_of(5) {
        more["credential"] = json!({"forward": true});
    }
    plugin(&more)
}

fn realm(number: usize) -> String {
    format!("swap {number}")
}

/// Returns plugin configurations that Envoy must reject, each with a name.
fn broken() -> Vec<(&'static str, String)> {
    let whole = swap(0).to_string();
    let half = whole.split_at(whole.len() / 2).0.to_owned();
    let in_field =
        |value: &str| format!(r#"{{"lookup":{{"cluster":"auth"}},"environment":{value}}}"#);
    vec![
        ("half a configuration", half),
        ("arrays in each other", in_field(&"[".repeat(100_000))),
        (
            "objects in each other",
            in_field(&r#"{"a":"#.repeat(100_000)),
        ),
        ("1 MB of digits", in_field(&"9".repeat(1 << 20))),
        (
            "1 MB of text",
            in_field(&format!("\"{}\"", "x".repeat(1 << 20))),
        ),
        (
            "a name of 1 MB",
            format!(r#"{{"{}":1}}"#, "x".repeat(1 << 20)),
        ),
        ("a field twice", in_field(r#""a","environment":"b""#)),
        ("another type", in_field("7")),
        (
            "a conflict",
            r#"{"lookup":{"cluster":"auth"},"introspection":{},"exempt":{"path_prefixes":["/"]}}"#
                .to_owned(),
        ),
        ("a byte order mark", format!("\u{feff}{whole}")),
    ]
}

/// Waits until a worker enforces this configuration.
fn wait_for(range: &Range, counters: &Counters, number: usize) -> Result<()> {
    wait_until(|| {
        Ok(range
            .challenge(counters, "swapped")?
            .contains(&format!("\"{}\"", realm(number))))
    })
    .with_context(|| realm(number))
}

/// Envoy's memory after some swaps, in bytes: in total, and in its VMs.
struct Memory {
    resident: u64,
    wasm: u64,
}

impl Memory {
    fn of(range: &Range) -> Result<Self> {
        Ok(Self {
            resident: range.envoy.resident_bytes()?,
            wasm: range.envoy.wasm_memory_bytes()?,
        })
    }

    fn has_not_grown(&self, name: &str, since: &Self) -> Result<()> {
        const MB: f64 = 1_000_000.0;
        #[allow(clippy::cast_precision_loss, reason = "far from it")]
        let all = [since.resident, self.resident, since.wasm, self.wasm].map(|bytes| bytes as f64);
        let [first, last, first_wasm, last_wasm] = all;
        println!(
            "{name}: Envoy has {:.1} MB after {SETTLED} swaps and {:.1} MB after {SWAPS}, of which \
             its VMs have {:.1} MB and {:.1} MB",
            first / MB,
            last / MB,
            first_wasm / MB,
            last_wasm / MB
        );
        ensure!(
            last - first < GROWTH[0] * MB && last_wasm - first_wasm < GROWTH[1] * MB,
            "Envoy's memory grew over the swaps"
        );
        Ok(())
    }
}

/// Checks that the old configurations are gone.
fn nothing_is_left(range: &Range) -> Result<()> {
    let draining = "listener_manager.total_filter_chains_draining";
    range.envoy.wait_for_counter(draining, 0)
}

fn discovered(name: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let discovery = Discovery::new("keystile.wasm", folder.path().join("filter.json"));
    let publish = |plugin: &str| discovery.publish(&discovery.resource(&envoy::module(), plugin));
    publish(&swap(0).to_string())?;
    let first = discovery.clone();
    let range = Range::start(Setup {
        edit: Box::new(move |config| first.put_into(config)),
        ..range::setup(vec![Listener::new("swapped", &Value::Null)])
    })?;
    // All of them are tried before memory is first measured, as some are large.
    let broken = broken();
    ensure!(broken.len() <= SETTLED, "too many");
    range.case(name, Steady::on("swapped")?, |counters| {
        let mut settled = None;
        for number in 1..=SWAPS {
            publish(&swap(number).to_string())?;
            wait_for(&range, counters, number)?;
            if let Some((what, text)) = broken.get(number - 1) {
                let before = discovery.turned_down(&range.envoy)?;
                publish(text)?;
                wait_until(|| Ok(discovery.turned_down(&range.envoy)? > before))
                    .with_context(|| format!("Envoy does not reject {what}"))?;
                let still = range.challenge(counters, "swapped")?;
                ensure!(still.contains(&realm(number)), "after {what}: {still}");
            }
            if number == SETTLED {
                settled = Some(Memory::of(&range)?);
            }
        }
        nothing_is_left(&range)?;
        Memory::of(&range)?.has_not_grown(name, &settled.context("too few swaps")?)
    })
}

fn handed_over(name: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file: PathBuf = folder.path().join("listeners.json");
    let config = |number: usize| {
        let mut config = envoy::config(&[Listener::new("swapped", &swap(number))], &[]);
        drains_soon(&mut config)?;
        anyhow::Ok(config)
    };
    let first = file.clone();
    let range = Range::start(Setup {
        // Old connections end soon, and the old configuration with them.
        launch: Launch::workers(2).with(&["--drain-time-s", "10", "--drain-strategy", "immediate"]),
        edit: Box::new(move |config| {
            drains_soon(config)?;
            listeners_apart(config, &first)
        }),
        ..range::setup(vec![Listener::new("swapped", &swap(0))])
    })?;
    range.case(name, Steady::on("swapped")?, |counters| {
        let mut settled = None;
        for number in 1..=SWAPS {
            listeners_apart(&mut config(number)?, &file)?;
            wait_for(&range, counters, number)?;
            if number == SETTLED {
                settled = Some(Memory::of(&range)?);
            }
        }
        nothing_is_left(&range)?;
        Memory::of(&range)?.has_not_grown(name, &settled.context("too few swaps")?)
    })
}

/// A worker's VM dies of a new configuration that the main thread's VM has accepted. Envoy then runs
/// that worker without the filter, whatever `failure_policy` says, and only the second lock keeps
/// requests out.
fn dies_of_it(name: &str, policy: Policy) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let discovery = Discovery::new("keystile.wasm", folder.path().join("filter.json"));
    let publish = |number: usize, vm: &str| {
        let mut resource = discovery.resource(&dying::module(), &swap(number).to_string());
        resource["typed_config"]["config"]["vm_config"]["vm_id"] = json!(vm);
        resource["typed_config"]["config"]["failure_policy"] = json!(policy.name());
        discovery.publish(&resource)
    };
    publish(0, "first")?;
    let first = discovery.clone();
    let range = Range::start(Setup {
        launch: Launch::workers(1),
        edit: Box::new(move |config| {
            first.put_into(config)?;
            let http = envoy::http_settings(config)?;
            http["stream_idle_timeout"] = json!(dying::seconds(dying::IDLE));
            shipped::lock(http)
        }),
        ..range::setup(vec![Listener::new("dying", &Value::Null)])
    })?;
    let refused = [401, 503].map(End::Answered);
    let steady = Steady::on("dying")?
        .but("a known key", &[200, 503].map(End::Answered))
        .but("no key, but an identity", &refused)
        // Some of these wait for their lookups when the VM dies.
        .but("an unknown key", &[401, 503, 504].map(End::Answered))
        .but("a malformed key", &refused);
    range.case_where_vms_die(name, steady, |counters| {
        let line = format!("{DIE}: keystile_on_configure");
        let response = range.get(counters, "dying", "the one that kills", &[&line])?;
        ensure!(response.status == 401, "{response:?}");
        publish(1, "first")?;
        wait_until(|| {
            let written = range.envoy.written();
            Ok(written.contains("Function: proxy_on_configure failed"))
        })
        .context("the VM does not die of the new configuration")?;
        dying::stays_closed(&range, counters)?;
        // While the VM is in use, Envoy accepts no other configuration for a VM of this name.
        publish(2, "first")?;
        wait_until(|| Ok(discovery.turned_down(&range.envoy)? > 0)).context("not turned down")?;
        dying::stays_closed(&range, counters)?;
        publish(2, "second")?;
        dying::is_back(&range, counters, name, Instant::now())?;
        let response = range.get(counters, "dying", "no key, for its realm", &[])?;
        let challenge = response.header("www-authenticate")?.unwrap_or_default();
        ensure!(
            challenge.contains(&realm(2)),
            "the challenge has another realm: {challenge}"
        );
        Ok(())
    })
}

/// Sets a short drain timeout: a connection is told to end, and ends when its requests have.
fn drains_soon(config: &mut Value) -> Result<()> {
    envoy::http_settings(config)?["drain_timeout"] = json!("0.2s");
    Ok(())
}
