//! Logging to standard error, as text or JSON.
//!
//! No log line contains anything that a client makes up: no path, header or body. So the log has no
//! key that was sent in the wrong place, and no hash that was looked up.

use std::io;

use anyhow::Context;
use clap::ValueEnum;
use tracing::Level;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The target of the line that is logged for each request at level debug.
pub(crate) const ACCESS: &str = "access";

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Time, level, target, message, and the fields as `name=value`.
    Text,
    /// A JSON object with `timestamp`, `level`, `target`, `message` and the fields.
    Json,
}

/// Starts logging the lines that `RUST_LOG` selects.
pub(crate) fn start(format: LogFormat) -> anyhow::Result<()> {
    let wanted = match std::env::var("RUST_LOG") {
        Ok(directives) if !directives.is_empty() => directives
            .parse::<Targets>()
            .context("RUST_LOG must be a list like `info,access=debug`")?,
        _ => Targets::new().with_default(LevelFilter::INFO),
    };
    // Below level info, h2 quotes paths that it cannot parse.
    let unquoted =
        filter_fn(|line| *line.level() <= Level::INFO || !line.target().starts_with("h2"));
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(false).boxed(),
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true);
            let lines = lines.with_current_span(false).with_span_list(false);
            lines.boxed()
        }
    };
    tracing_subscriber::registry()
        .with(lines)
        .with(wanted)
        .with(unquoted)
        .init();
    Ok(())
}
