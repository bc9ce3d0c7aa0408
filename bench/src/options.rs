//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, ValueEnum};

/// Measures what Keystile costs in Envoy.
#[derive(Parser)]
pub(crate) enum Command {
    /// Measure, print the report, and write it with its plot.
    Run(Options),
    /// Run one of the servers around Envoy, for `run`.
    #[command(hide = true)]
    Serve {
        /// Which server.
        server: Server,
    },
}

/// How much to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// Bursts of load for each variant; the report has their medians.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// Warm-up rounds before them, which do not count.
    #[arg(long, default_value_t = 1)]
    pub(crate) warm_up: u32,
    /// How long each burst is, in seconds.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) burst: u32,
    /// Connections that each send one request after the other.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) connections: u32,
    /// Keys in rotation; the cache must hold them all.
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub(crate) keys: u32,
    /// Starts of Envoy with and without the module, for memory and load time.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) starts: u32,
    /// Another build of Keystile's module, to be measured in the same rounds.
    #[arg(long)]
    pub(crate) against: Option<PathBuf>,
    /// The folder for benchmarks.md and benchmarks.svg.
    #[arg(long, default_value = "docs")]
    pub(crate) out: PathBuf,
}

/// A server around Envoy.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Server {
    /// The API behind Envoy.
    Upstream,
    /// The auth server that all variants with callouts ask.
    Auth,
}
