//! The report, in Markdown.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};

use crate::bounds::Bound;
use crate::figures::Figures;
use crate::footprint::Footprint;
use crate::machine::Machine;
use crate::options::Options;
use crate::variants::Variant;

/// Returns the whole report.
pub(crate) fn markdown(
    options: &Options,
    machine: &Machine,
    figures: &Figures,
    footprint: &Footprint,
    bounds: &[Bound],
) -> String {
    format!(
        "# Benchmarks\n\nWritten by `make bench`, which measures all of this again.\n\n\
         ![CPU time of Envoy's worker per request](benchmarks.svg)\n\n\
         {}\n{}\n\n{}\n{}\n## Bounds\n\n{}",
        table(figures),
        notes(options, figures),
        footprint_table(options, footprint),
        machine_table(options, machine),
        list(bounds),
    )
}

/// Writes the report and its plot into a folder.
pub(crate) fn write(folder: &Path, report: &str, plot: &str) -> Result<()> {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    write("benchmarks.md", report)?;
    write("benchmarks.svg", plot)
}

fn table(figures: &Figures) -> String {
    let mut table =
        "| variant | CPU µs | ratio to no filter | added µs | added, ratio to `ext_authz` HTTP | \
                     requests/s | p50 µs | p99 µs | worker busy |\n\
                     |---|--:|--:|--:|--:|--:|--:|--:|--:|\n"
            .to_owned();
    for variant in Variant::ALL {
        let figure = figures.get(variant);
        let line = format!(
            "| {} | {:.1} | {:.2} | {:.1} | {:.2} | {:.0} | {:.0} | {:.0} | {:.0} % |\n",
            variant.title(),
            figure.cpu,
            figure.ratio,
            figure.added,
            figure.share,
            figure.requests_per_second,
            figure.p50,
            figure.p99,
            figure.busy * 100.0,
        );
        // The variant without a filter is not compared with itself.
        let line = match variant {
            Variant::NoFilter => line.replacen("| 0.0 | 0.00 |", "| | |", 1),
            _ => line,
        };
        table.push_str(&line);
    }
    table
}

/// The lowest fraction of busy time for figures that mean something. Below it, the worker shared
/// its core, or the load could not fill it.
const BUSY: f64 = 0.8;

fn notes(options: &Options, figures: &Figures) -> String {
    let rest = Variant::ALL.map(|variant| figures.get(variant).rest);
    let rest = rest.into_iter().fold(0.0, f64::max);
    let busy = Variant::ALL.map(|variant| figures.get(variant).busy);
    let quiet = busy.into_iter().all(|busy| busy >= BUSY);
    let warning = if quiet {
        ""
    } else {
        "\n- **In some variants the worker was not busy enough: it shared its core, or the load was \
         too low, so the figures are unreliable.**"
    };
    format!(
        "- CPU: time of Envoy's worker thread per request, as counted by the kernel \
         (`/proc/PID/task/TID/schedstat`). Envoy's other threads took at most {rest:.2} µs per request.\n\
         - Figures are medians; rounds: {}. In each round, every variant gets a burst of {} s in \
         turn. Ratios and differences are computed within each round.\n\
         - Load: {} connections over HTTP/1.1 that each send one request after the other, so \
         latency is that of a saturated Envoy. Requests have the headers of an SDK and the key in \
         `authorization`.\n\
         - Every response had the expected status. Variants with a callout ask the same auth \
         server over HTTP/2, exactly once per request, for {} keys in turn; cached variants never ask it.\n\
         - Every variant that checks the credential removes it and sets identity headers for the \
         upstream.\n\
         - \"Host calls alone\" is a module that makes the same host calls as Keystile and does \
         nothing else: a Wasm filter that makes these calls cannot cost less.{warning}",
        options.rounds, options.burst, options.connections, options.keys,
    )
}

/// Returns the comparison with the `--against` module; empty without one. It is not part of the
/// report, because that module is not part of the project.
pub(crate) fn against(options: &Options, figures: &Figures) -> String {
    let Some(against) = &options.against else {
        return String::new();
    };
    let mut table = format!(
        "\n## Against {}\n\n\
         | variant | CPU µs (against) | CPU µs | ratio | ratio of added cost |\n\
         |---|--:|--:|--:|--:|\n",
        against.display()
    );
    for old in &figures.against {
        // Writing to a string does not fail.
        let _ = writeln!(
            table,
            "| {} | {:.1} | {:.1} | {:.2} | {:.2} |",
            old.variant.title(),
            old.cpu,
            figures.get(old.variant).cpu,
            old.ratio,
            old.added_ratio
        );
    }
    table
}

fn footprint_table(options: &Options, footprint: &Footprint) -> String {
    const MB: f64 = 1e6;
    format!(
        "| other costs | |\n|---|--:|\n\
         | module | {:.1} KB |\n\
         | private memory that the module adds to an Envoy with one worker | {:.1} MB |\n\
         | resident memory that the module adds | {:.1} MB |\n\
         | private memory that each further worker's VM adds | {:.1} MB |\n\
         | private memory of {} cached verdicts, per worker | {:.1} MB |\n\
         | time that the module adds to Envoy's start | {:.0} ms |\n\n\
         Medians of {} starts, with the `memory_allocator_manager` of `envoy/envoy.yaml`. Private memory is \
         `Private_Dirty` in `/proc/PID/smaps_rollup`, which no other process can share; the rest of the resident \
         memory is pages of Envoy's executable, including V8's code.\n",
        footprint.module as f64 / 1000.0,
        footprint.first / MB,
        footprint.resident / MB,
        footprint.worker / MB,
        options.keys,
        footprint.verdicts / MB,
        footprint.load_time,
        options.starts,
    )
}

fn machine_table(options: &Options, machine: &Machine) -> String {
    format!(
        "| measured on | |\n|---|---|\n\
         | CPU | {} |\n| cores | {} |\n| kernel | {} |\n| Envoy | {} |\n| load | {} |\n\
         | rounds | {} |\n| commit | {} |\n",
        machine.cpu,
        machine.cores,
        machine.kernel,
        machine.envoy,
        machine.load,
        options.rounds,
        machine.commit,
    )
}

fn list(bounds: &[Bound]) -> String {
    bounds.iter().fold(String::new(), |mut list, bound| {
        // Writing to a string does not fail.
        let _ = writeln!(list, "- {bound}");
        list
    })
}
