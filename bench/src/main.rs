//! `make bench`: measures what Keystile costs in Envoy, compared with the alternatives.
//!
//! One Envoy has a listener for each variant, all with the same upstream. Each gets a short burst
//! of load in turn, round after round, so that other load on the machine affects all alike. The
//! main figure is the CPU time of Envoy's worker, as the kernel counts it.

mod bounds;
mod cpu;
mod envoy;
mod figures;
mod floor;
mod footprint;
mod load;
mod machine;
mod options;
mod plot;
mod report;
mod rounds;
mod servers;
mod variants;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::options::{Command, Options};

fn main() -> ExitCode {
    let outcome = match Command::parse() {
        Command::Run(options) => run(options),
        Command::Serve { server } => servers::serve(server),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("keystile-bench: {problem:#}");
            ExitCode::FAILURE
        }
    }
}

/// Set by a signal that ends the program. It is checked between steps of a second or so, so that
/// everything that was started is ended by its owner.
#[derive(Clone, Default)]
pub(crate) struct Interrupted(Arc<AtomicBool>);

impl Interrupted {
    /// Returns an error if there was a signal.
    pub(crate) fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        Ok(())
    }
}

fn run(options: Options) -> Result<()> {
    let cores = cpu::Cores::split()?;
    // Before any thread starts, because threads and child processes inherit the affinity.
    cores.move_to_load()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let interrupted = Interrupted::default();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        let handle = interrupted.clone();
        let mut work = tokio::task::spawn_blocking(move || measure(&options, &cores, &handle));
        tokio::select! {
            done = &mut work => return done.context("the measurement panicked")?,
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
        interrupted.0.store(true, Ordering::Relaxed);
        // Its error does not matter: the signal may have reached Envoy and wrk too.
        let _ = work.await;
        bail!("interrupted")
    })
}

fn measure(options: &Options, cores: &cpu::Cores, interrupted: &Interrupted) -> Result<()> {
    let servers = servers::Servers::start()?;
    let machine = machine::Machine::inspect(cores)?;
    let footprint = footprint::measure(options, cores, &servers, interrupted)?;
    let samples = rounds::run(options, cores, &servers, interrupted)?;
    let figures = figures::Figures::of(&samples)?;
    let bounds = bounds::all(&figures, &footprint);
    let report = report::markdown(options, &machine, &figures, &footprint, &bounds);
    print!("{report}{}", report::against(options, &figures));
    report::write(&options.out, &report, &plot::svg(&figures))
}
