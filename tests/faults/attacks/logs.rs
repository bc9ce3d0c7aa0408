//! Requests that are meant to fill the disk with access log lines.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use keystile_e2e::client;
use keystile_e2e::load::{self, Request};
use keystile_e2e::process::wait_until;
use keystile_e2e::recording_upstream::RecordingUpstream;
use keystile_e2e::trials::trial;
use libtest_mimic::Trial;
use tokio::runtime::Runtime;

use super::Attacked;

/// How long the flood lasts.
const LASTS: Duration = Duration::from_secs(2);

/// The length of the paths, in bytes. Envoy accepts 60 KiB of headers.
const PATH: usize = 50_000;

/// How many bytes may be logged for each request.
const LINE: u64 = 1_024;

keystile_e2e::suite!(Alone, trials);

fn trials() -> Vec<Trial> {
    vec![trial("attack: flooding the access log", flood)]
}

fn flood() -> Result<()> {
    let runtime = Runtime::new()?;
    let upstream = runtime.block_on(RecordingUpstream::default().serve())?;
    let attacked = Attacked::start(upstream.address)?;
    let to = attacked.stack.listener;
    let log = attacked.stack.folder.path().join("envoy.log");
    let written = || anyhow::Ok(std::fs::metadata(&log)?.len());

    // Everything else that is logged of a request is cut off, too.
    let long = "x".repeat(8_000);
    let lines = [
        format!("x-request-id: {long}"),
        format!("x-keystile-key-id: {long}"),
        format!("x-keystile-account-id: {long}"),
        format!("user-agent: {long}"),
        format!("x-api-key: {}", attacked.own.key),
    ];
    let lines = lines.each_ref().map(String::as_str);
    let before = written()?;
    // Answered by the upstream (200), or by Envoy itself: a redirect and a refusal.
    let odd = [
        ("GET", format!("/v1/{long}"), 200),
        ("GET", format!("/v1/%2F{long}"), 307),
        ("GET", format!("/v1/x?{long}"), 200),
        ("GET", format!("/v1/%00{long}"), 400),
        ("PUT", format!("/v1/{long}"), 200),
    ];
    for (method, target, status) in &odd {
        let head = client::head(method, target, lines);
        let answer = client::send(to, head.as_bytes())?.response()?;
        ensure!(answer.status == *status, "{method}: {}", answer.status);
    }
    wait_until(|| Ok(written()? > before))?;
    ensure!(
        !attacked.stack.envoy.written().contains(&"x".repeat(300)),
        "a part of a request is in the log without truncation"
    );

    let before = written()?;
    let path = format!("/{}", "p".repeat(PATH));
    let started = Instant::now();
    let requests = std::iter::from_fn(|| {
        let request = || Request::new(&path, "aw_short".to_owned());
        (started.elapsed() < LASTS).then(request)
    });
    let outcomes = runtime.block_on(load::run(to, 16, 4, requests))?;
    let refused = outcomes.by_status.get(&401).copied().unwrap_or_default() as u64;
    ensure!(
        outcomes.by_status.len() == 1 && outcomes.failed == 0 && refused > 0,
        "{outcomes:?}"
    );
    let lines = || {
        let log = attacked.stack.envoy.written();
        log.matches("outcome=api_key_invalid").count() as u64
    };
    wait_until(|| Ok(lines() >= refused))?;
    let bytes = written()? - before;
    println!(
        "attack: flooding the access log: {refused} requests with paths of {PATH} bytes in \
         {LASTS:?}, {} KB of access log, {} bytes a request",
        bytes / 1_000,
        bytes / refused
    );
    ensure!(
        bytes <= refused * LINE,
        "{bytes} bytes of log for {refused} requests"
    );
    Ok(())
}
