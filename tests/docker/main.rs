//! The shipped containers, `envoy/docker-compose.yaml` and `registry/Dockerfile`, and what happens
//! to requests when containers stop, hang, or lose their network. `make test-docker` provides the
//! base images, and runs this.
//!
//! Each row of a table is a separate test. They share one stack, and so run one after the other.

mod compose;
mod containers;
mod decisions;
mod image;
mod outages;
mod postgres;

use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use keystile_e2e::trials;
use libtest_mimic::Trial;

use crate::compose::{Database, Project};
use crate::decisions::Keys;

/// Enough for a container's start on a busy machine, or for four scrapes of Prometheus.
const PATIENCE: Duration = Duration::from_secs(90);

/// Calls `is_so` until it returns true. `what` describes the condition.
fn wait_until(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so()? {
        ensure!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::park_timeout(Duration::from_millis(100));
    }
    Ok(())
}

/// The containers with one of the databases, and keys to try.
struct World {
    database: Database,
    project: Project,
    keys: Keys,
}

/// The world that the last test used. There is one at a time, so that the machine need not run the
/// containers of both databases at once.
static WORLD: Mutex<Option<World>> = Mutex::new(None);

fn main() -> ExitCode {
    let code = trials::run();
    // Removes the containers.
    drop(world().take());
    code
}

keystile_e2e::suite!(Alone, || {
    let databases = [Database::Sqlite, Database::Postgres];
    databases.into_iter().flat_map(trials_with).collect()
});

fn world() -> MutexGuard<'static, Option<World>> {
    WORLD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a test in the world with this database, which is started if it is not there.
fn in_world(database: Database, test: Test) -> Result<()> {
    let mut current = world();
    if current.as_ref().is_some_and(|it| it.database != database) {
        *current = None;
    }
    let world = match &mut *current {
        Some(world) => world,
        none => {
            let project = Project::start(database)?;
            let keys = Keys::create(&project)?;
            none.insert(World {
                database,
                project,
                keys,
            })
        }
    };
    let outcome = test(&world.project, &world.keys);
    if outcome.is_err() {
        eprintln!("{}", world.project.logs());
    }
    outcome
}

fn trials_with(database: Database) -> Vec<Trial> {
    let trial = |name: &str, test: Test| {
        trials::trial(&format!("{database:?}: {name}"), move || {
            in_world(database, test)
        })
    };
    let mut trials: Vec<Trial> = decisions::ROWS
        .iter()
        .map(|row| {
            let test = |project: &Project, keys: &Keys| decisions::check(project, keys, row);
            trial(&format!("decisions: {}", row.0), Box::new(test))
        })
        .collect();
    trials.push(trial(
        "decisions: a deleted key looks like an unknown one",
        Box::new(decisions::a_deleted_key_looks_unknown),
    ));
    for service in services(database) {
        let test = |project: &Project, _: &Keys| containers::hardened(project, service);
        trials.push(trial(&format!("containers: {service}"), Box::new(test)));
        let test = |project: &Project, _: &Keys| containers::limited(project, service);
        trials.push(trial(&format!("limits: {service}"), Box::new(test)));
    }
    if database == Database::Postgres {
        trials.extend([
            trial(
                "postgres: the registry is not a superuser",
                Box::new(|project, _| postgres::the_registry_is_not_a_superuser(project)),
            ),
            trial(
                "postgres: missing passwords",
                Box::new(|project, _| postgres::missing_passwords_are_named(project)),
            ),
        ]);
    }
    if database == Database::Sqlite {
        trials.extend([
            trial(
                "containers: the registry's image",
                Box::new(|project, _| containers::registry_image(project)),
            ),
            trial(
                "containers: who reaches whom",
                Box::new(|project, _| containers::reach(project)),
            ),
            trial(
                "containers: Prometheus",
                Box::new(|project, _| containers::prometheus(project)),
            ),
        ]);
        for engine in image::ENGINES {
            let test = |_: &Project, _: &Keys| image::made_by(engine);
            trials.push(trial(&format!("image: {engine}"), Box::new(test)));
        }
        for outage in outages::OUTAGES {
            let test = |project: &Project, keys: &Keys| outage.test(project, keys);
            trials.push(trial(&format!("outages: {}", outage.name), Box::new(test)));
        }
        trials.push(trial(
            "outages: Envoy restarts",
            Box::new(outages::envoy_restarts),
        ));
    }
    trials
}

type Test = Box<dyn FnOnce(&Project, &Keys) -> Result<()> + Send>;

fn services(database: Database) -> [&'static str; 4] {
    match database {
        Database::Sqlite => ["envoy", "registry", "upstream", "prometheus"],
        Database::Postgres => ["envoy", "registry", "upstream", "postgres"],
    }
}
