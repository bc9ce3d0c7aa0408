//! Statistics after VMs have died. Whoever waits for an alert to end must not wait for a dead VM.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use keystile_e2e::client;
use keystile_e2e::process::wait_until;
use keystile_e2e::scripted_auth::{Script, answer};
use keystile_e2e::trials::trial;
use serde_json::json;

use super::Policy::FailReload;
use super::{IDLE, KILLER_KIND, die, is_back, setup, steady};
use crate::range::Range;

const NAME: &str = "dying: statistics of a stale feed";

/// The time for which feeds were stale, in ms.
const STALE: &str = "wasmcustom.keystile.feed.stale.milliseconds.total";

/// How many VMs die while the feed is stale.
const DEATHS: usize = 2;

keystile_e2e::suite!(Together, || vec![trial(NAME, a_stale_feed)]);

/// The time grows for as long as the feed is stale, with each new VM, and no longer.
fn a_stale_feed() -> Result<()> {
    let range = Range::start(setup(FailReload, 2, IDLE)?)?;
    let feed = |status, page: &str| {
        let page = Script::Answer(answer(status, page));
        range.auth.script("/v1/changes", page);
    };
    range.case_where_vms_die(NAME, steady()?, |counters| {
        feed("503 Service Unavailable", "");
        let mut grown = Vec::new();
        for _ in 0..DEATHS {
            let before = range.envoy.counter(STALE)?;
            wait_until(|| Ok(range.envoy.counter(STALE)? > before))?;
            let died = Instant::now();
            let killer = die(&range, "keystile_on_request_headers")?;
            let killer = killer.context("nothing was sent")?.response()?;
            ensure!(killer.status == 503, "{KILLER_KIND}: {killer:?}");
            is_back(&range, counters, NAME, died)?;
            grown.push(range.envoy.counter(STALE)?);
        }
        let page = json!({"cursor": "c1", "changes": [], "reset": false});
        feed("200 OK", &page.to_string());
        range.envoy.wait_until_constant(STALE)?;
        let last = range.envoy.counter(STALE)?;
        println!(
            "{NAME}: {grown:?} ms after each death, {last} ms and no more once the feed is read again"
        );
        let gauges = "/stats?type=Gauges&filter=^wasmcustom.keystile";
        let gauges = client::get(range.envoy.admin(), gauges, [])?.text();
        ensure!(gauges.is_empty(), "gauges, which VMs leave behind: {gauges}");
        Ok(())
    })
}
