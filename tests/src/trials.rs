//! Tests that register themselves: a module of a test program lists its trials with
//! [`suite!`](crate::suite), and the main function only calls [`run`].

use std::process::ExitCode;

use anyhow::Result;
pub use inventory;
use libtest_mimic::{Arguments, Failed, Trial};

/// How many trials run at the same time, unless `--test-threads` says otherwise. Most of them wait for
/// timeouts most of the time.
const AT_A_TIME: usize = 4;

/// When the trials of a suite run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// First, several at a time.
    Together,
    /// After these, one at a time: for trials that measure times or count what all others do.
    Alone,
    /// After all others, and only if all of them run: for what must hold at the end.
    Last,
}

/// The trials of a module.
pub struct Suite {
    /// The module's path, which decides the order of suites.
    pub module: &'static str,
    /// When they run.
    pub when: When,
    /// Creates them, in their order. This must not start anything, because it also happens for
    /// `--list`.
    pub trials: fn() -> Vec<Trial>,
}

inventory::collect!(Suite);

/// Registers a function without arguments that returns a module's trials, to run at a time of [`When`].
#[macro_export]
macro_rules! suite {
    ($when:ident, $trials:expr) => {
        $crate::trials::inventory::submit! {
            $crate::trials::Suite {
                module: module_path!(),
                when: $crate::trials::When::$when,
                trials: $trials,
            }
        }
    };
}

/// Creates a trial. Its failure is shown with all its causes.
pub fn trial(name: &str, run: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    Trial::test(name, move || {
        run().map_err(|problem| Failed::from(format!("{problem:#}")))
    })
}

/// Returns all suites, in their order.
pub fn suites() -> Vec<&'static Suite> {
    let mut suites: Vec<_> = inventory::iter::<Suite>.into_iter().collect();
    suites.sort_by_key(|suite| suite.module);
    suites
}

/// Runs the registered trials that the command line asks for.
pub fn run() -> ExitCode {
    let arguments = Arguments::from_args();
    let is_filtered = arguments.filter.is_some() || !arguments.skip.is_empty();
    let mut failed = false;
    for when in [When::Together, When::Alone, When::Last] {
        if when == When::Last && is_filtered {
            continue;
        }
        let suites = suites().into_iter().filter(|suite| suite.when == when);
        let trials = suites.map(|suite| (suite.trials)()).collect();
        let trials = match when {
            When::Together => spread(trials),
            When::Alone | When::Last => trials.into_iter().flatten().collect(),
        };
        if trials.is_empty() {
            continue;
        }
        let test_threads = match when {
            When::Together => arguments.test_threads.or(Some(AT_A_TIME)),
            When::Alone | When::Last => Some(1),
        };
        let arguments = Arguments {
            test_threads,
            ..arguments.clone()
        };
        failed |= libtest_mimic::run(&arguments, trials).has_failed();
    }
    ExitCode::from(u8::from(failed))
}

/// Spreads the trials of each suite evenly. Those of one suite often share a stack, on which they run
/// one at a time.
fn spread(suites: Vec<Vec<Trial>>) -> Vec<Trial> {
    let mut placed = Vec::new();
    for suite in suites {
        let length = suite.len();
        for (place, trial) in suite.into_iter().enumerate() {
            // In thousandths of the suite.
            placed.push((place * 1000 / length, trial));
        }
    }
    placed.sort_by_key(|(place, _)| *place);
    placed.into_iter().map(|(_, trial)| trial).collect()
}
