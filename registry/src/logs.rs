//! What is logged, and how: to standard error, text or JSON.
//!
//! Nothing that a client makes up is in a log line: no path, no header, no body. So there is no key
//! in the log that was sent in the wrong place, and no hash that was asked for.

use std::io;

use anyhow::Context;
use clap::ValueEnum;
use tracing::Level;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The target of the line that each request leaves at level debug.
pub(crate) const ACCESS: &str = "access";

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Time, level, target, message, and the fields as `name=value`.
    Text,
    /// A JSON object, with the fields beside `timestamp`, `level`, `target` and `message`.
    Json,
}

/// Logs from here on, as much as `RUST_LOG` says.
pub(crate) fn start(format: LogFormat) -> anyhow::Result<()> {
    let wanted = match std::env::var("RUST_LOG") {
        Ok(directives) if !directives.is_empty() => directives
            .parse::<Targets>()
            .context("RUST_LOG must be a list like `info,access=debug`")?,
        _ => Targets::new().with_default(LevelFilter::INFO),
    };
    // Below info, it quotes a path that it cannot read.
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
