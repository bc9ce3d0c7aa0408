//! Measures how many lookups per second the registry answers, compared with its constant response
//! to `GET /healthz`: by the same process, over as many connections, in the same minute.
//!
//! 1. Each database has [`Plan::keys`] records. Lookups are for random hashes: those of all records,
//!    and a few without one.
//! 2. The server has the first processor that this process may use. The load generator and PostgreSQL,
//!    which would be on other machines, have the rest. If there is only one processor, all share it.
//! 3. Constant and lookups alternate in short bursts, and each ratio is of two bursts of the same
//!    round, so that other load on the machine affects both. A warm-up round is not counted.
//! 4. A burst fails if a response has the wrong status. If the column `busy` shows that the server had
//!    time to spare, the load generator was the limit, not the server.
//!
//! `cargo bench` measures. `cargo test` runs the same code with a small plan and judges no figures;
//! it is ignored if wrk is missing.

mod fill;
mod load;
mod report;
mod server;
#[path = "../../tests/support/database.rs"]
#[expect(
    unused_imports,
    unused_macros,
    reason = "`on_both` is for tests of one thing on both"
)]
mod test_database;

use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use libtest_mimic::{Arguments, Trial};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use tempfile::NamedTempFile;
use tokio::process::Command;
use tokio::runtime::Runtime;
use tokio::signal::ctrl_c;

use crate::load::{Burst, Load};
use crate::report::{Report, Variant};
use crate::server::Server;
use crate::test_database::TestDatabase;

/// How much to measure.
#[derive(Clone, Copy, Debug)]
struct Plan {
    keys: u32,
    /// Rounds before those that count.
    warm_up: usize,
    rounds: usize,
    burst: Duration,
    connections: u32,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            keys: 1_000_000,
            warm_up: 1,
            rounds: 7,
            burst: Duration::from_secs(3),
            connections: 64,
        }
    }
}

impl Plan {
    /// Returns the default plan with the changes that the environment makes.
    fn from_env() -> anyhow::Result<Self> {
        let mut plan = Self::default();
        set(&mut plan.keys, "KEYS")?;
        set(&mut plan.rounds, "ROUNDS")?;
        set(&mut plan.connections, "CONNECTIONS")?;
        let mut seconds = plan.burst.as_secs();
        set(&mut seconds, "BURST")?;
        plan.burst = Duration::from_secs(seconds);
        if plan.keys < 100 || plan.rounds < 1 || plan.connections < 1 || seconds < 1 {
            bail!("KEYS must be at least 100; ROUNDS, BURST (seconds) and CONNECTIONS at least 1");
        }
        Ok(plan)
    }

    /// Returns a plan just large enough to notice that the benchmark does not work.
    fn smoke() -> Self {
        Self {
            keys: 1000,
            warm_up: 0,
            rounds: 1,
            burst: Duration::from_secs(1),
            connections: 8,
        }
    }
}

fn set<T: FromStr>(value: &mut T, variable: &str) -> anyhow::Result<()> {
    match std::env::var(variable) {
        Ok(text) if !text.is_empty() => {
            *value = text
                .parse()
                .map_err(|_| anyhow!("{variable} must be a whole number, not {text:?}"))?;
        }
        _ => {}
    }
    Ok(())
}

/// The processors of the server, and of everything else.
#[derive(Clone, Debug)]
struct Processors {
    server: String,
    others: String,
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    if !arguments.bench {
        let smoke = Trial::test("lookups_are_measured", || {
            measure(Plan::smoke()).map(|_| ()).map_err(Into::into)
        });
        let smoke = smoke.with_ignored_flag(!is_there("wrk"));
        return libtest_mimic::run(&arguments, vec![smoke]).exit_code();
    }
    let met = Plan::from_env().and_then(|plan| Ok(measure(plan)?.is_met()));
    match met {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).exists())
}

fn measure(plan: Plan) -> anyhow::Result<Report> {
    // Before any thread starts, because threads and child processes inherit the affinity.
    let processors = share_processors()?;
    Runtime::new()?.block_on(async {
        tokio::select! {
            report = run(plan, &processors) => report,
            // Dropping the run ends its processes and removes its files.
            _ = ctrl_c() => Err(anyhow!("interrupted")),
        }
    })
}

/// Reserves the first processor for the server, and moves this process to the others.
fn share_processors() -> anyhow::Result<Processors> {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this)?;
    let all = (0..CpuSet::count()).filter(|&one| allowed.is_set(one).unwrap_or(false));
    let all: Vec<usize> = all.collect();
    let (server, mut others) = all.split_first().context("there is no processor")?;
    if others.is_empty() {
        others = &all;
    }
    let mut set = CpuSet::new();
    for &one in others {
        set.set(one)?;
    }
    sched_setaffinity(this, &set)?;
    let others: Vec<_> = others.iter().map(ToString::to_string).collect();
    Ok(Processors {
        server: server.to_string(),
        others: others.join(","),
    })
}

/// A database with its registry, and the bursts so far.
struct Candidate {
    /// The database's name and version.
    version: String,
    server: Server,
    constant: Vec<Burst>,
    lookups: Vec<Burst>,
    _database: TestDatabase,
}

impl Candidate {
    async fn start(
        database: TestDatabase,
        plan: Plan,
        processors: &Processors,
    ) -> anyhow::Result<Self> {
        server::migrate(&database.url).await?;
        let version = fill::fill(&database.url, plan.keys).await?;
        Ok(Self {
            version,
            server: Server::start(&database.url, &processors.server).await?,
            constant: Vec::new(),
            lookups: Vec::new(),
            _database: database,
        })
    }
}

async fn run(plan: Plan, processors: &Processors) -> anyhow::Result<Report> {
    let wrk = wrk_version().await?;
    let hashes = NamedTempFile::new()?;
    let unknown = fill::write_hashes(hashes.path(), plan.keys)?;
    eprintln!(
        "{} keys for each database, which may take a minute",
        plan.keys
    );
    let mut sqlite = Candidate::start(TestDatabase::sqlite(), plan, processors).await?;
    let mut postgres = Candidate::start(TestDatabase::postgres(), plan, processors).await?;
    let load = Load {
        burst: plan.burst,
        connections: plan.connections,
        hashes: hashes.path(),
        known: plan.keys,
    };
    for round in 0..plan.warm_up + plan.rounds {
        for candidate in [&mut sqlite, &mut postgres] {
            let constant = load.constant(&candidate.server).await?;
            let lookups = load.lookups(&candidate.server, round).await?;
            if round >= plan.warm_up {
                candidate.constant.push(constant);
                candidate.lookups.push(lookups);
            }
        }
    }
    let about = format!(
        "{} keys, 1 in {} of them revoked; {unknown} of the {} hashes asked for have none. {} rounds \
         of bursts of {} s over {} connections. The server has processor {}, all else {}. {}, {}, {}.",
        plan.keys,
        fill::REVOKED_EVERY,
        plan.keys + unknown,
        plan.rounds,
        plan.burst.as_secs(),
        plan.connections,
        processors.server,
        processors.others,
        sqlite.version,
        postgres.version,
        wrk,
    );
    let report = Report {
        about,
        variants: vec![
            Variant::new("SQLite", 0.5, sqlite.constant, sqlite.lookups),
            Variant::new("PostgreSQL", 0.2, postgres.constant, postgres.lookups),
        ],
    };
    println!("{report}");
    Ok(report)
}

/// Returns wrk's name and version, the first two words that `wrk -v` prints.
async fn wrk_version() -> anyhow::Result<String> {
    let output = Command::new("wrk").arg("-v").output().await;
    let output = output.context("wrk is missing; `make setup` installs it")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.split(' ').take(2).collect::<Vec<_>>().join(" "))
}
