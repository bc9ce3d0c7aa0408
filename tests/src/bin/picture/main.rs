//! `make dashboard-picture`: runs the stack through a calm phase, a flood of made-up keys and an
//! outage, and draws the dashboard's main panels from what a real Prometheus recorded.

mod axis;
mod draw;
mod scenario;

use std::process::ExitCode;

use anyhow::{Context, Result};
use keystile_e2e::dashboard::Dashboard;
use keystile_e2e::root;
use keystile_e2e::watched::Watched;
use tokio::signal::unix::{SignalKind, signal};

use crate::draw::Panel;

/// The panels to draw, three in a row.
const PANELS: [&str; 9] = [
    "Requests by outcome",
    "Where verdicts come from",
    "Lookups by result",
    "Share refused, by error",
    "Grace in use",
    "How long lookups take",
    "503s to clients",
    "Cache hit ratio",
    "Polls of the feed",
];

/// Long enough for three histograms, which Envoy publishes every 5 s.
const RATE_INTERVAL: &str = "15s";

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("keystile-dashboard-picture: {problem:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut stack = Watched::start(&scenario::SETUP).await?;
    let span = tokio::select! {
        span = scenario::play(&mut stack) => span?,
        _ = interrupt.recv() => anyhow::bail!("interrupted"),
        _ = terminate.recv() => anyhow::bail!("interrupted"),
    };
    let dashboard = Dashboard::shipped()?;
    let variables = dashboard.variables(&stack.prometheus, RATE_INTERVAL)?;
    let admin = stack.envoy.admin().to_string();
    let mut panels = Vec::new();
    for title in PANELS {
        let panel = dashboard.panel(title)?;
        let mut lines = Vec::new();
        for query in Dashboard::of_panel(panel)? {
            for series in query.series(&stack.prometheus, &variables, span)? {
                // The shipped target, not a port of this run.
                let name = query.name(&series).replace(&admin, "envoy:9902");
                lines.push((name, series.points));
            }
        }
        panels.push(Panel::new(panel, lines, span).with_context(|| title.to_owned())?);
    }
    let file = root().join("docs/dashboard.svg");
    std::fs::write(&file, draw::svg(&panels)).with_context(|| format!("{file:?}"))?;
    println!("wrote docs/dashboard.svg");
    Ok(())
}
