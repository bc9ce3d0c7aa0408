//! Where verdicts come from, over time: one worker with its requests, clients that leave, answers and
//! outages of the auth cluster, changes in the feed, and the clocks.
//!
//! The engine runs on an in-memory proxy, and a naive model says which ends of a request are right. A
//! script says what happens. Each event is a letter and its arguments, a letter or digit each;
//! anything else between events is skipped, and so is the rest of a line after `#`.
//!
//! | event | means |
//! |---|---|
//! | `2`, as the very first | the number of the [configuration](Rules::ALL) |
//! | `a1` | a request with key 1 arrives |
//! | `m1` | [`MANY`] of them arrive |
//! | `x1` | one arrives while callouts cannot be sent, for an unknown reason |
//! | `y1` | the same, because the circuit breaker is full |
//! | `i1R` | an introspection request with key 1 arrives, and its lookup is answered `R` at once |
//! | `j1` | the same, but its lookup stays in flight |
//! | `l0A` | callout 0 of those without an answer is answered [`A`](answers::Kind) |
//! | `o0` | the proxy forgets callout 0: it does not report the timeout, but may answer late |
//! | `v0` | the client of paused request 0 leaves |
//! | `g0` | the proxy answers paused request 0 by itself |
//! | `b0` | the trailers of paused request 0 arrive |
//! | `t3` | time passes, by number 3 of [`STEPS`] |
//! | `p5` | the poll is answered: keys 0 and 2 have changed (as bits) |
//! | `pc`, `pr`, `pl`, `pf` | the same: no changes, a reset, a long page with key 0, a broken page |
//! | `po` | the proxy forgets the poll |
//! | `q` | toggles whether polls are answered at once, with no changes |
//! | `r` | toggles whether callouts can be sent |
//! | `w2` | the wall clock is set, to number 2 of [`WALLS`] |
//! | `z` | the filter is removed, which ends the script |

mod answers;
mod counts;
mod ends;
mod limit;
mod lookups;
mod model;
mod requests;
mod resolution;
mod rules;
mod time;
mod view;
mod worker;

use rules::Rules;
use worker::Worker;

const KEYS: usize = 3;

/// How many requests `m1` stands for: more than are resolved in one callback.
const MANY: usize = 100;

/// The timeout of a lookup, in ms.
const TIMEOUT: u64 = 250;
/// How much longer, in ms, the worker waits for the proxy to report an answer or the timeout.
const TIMEOUT_MARGIN: u64 = 2_000;
/// The longest time, in ms, between two ticks.
const MAX_TICK: u64 = 500;
/// The shortest time, in ms, between two ticks.
const MIN_TICK: u64 = 1;
/// The most paused requests that are resolved in one callback.
const MAX_RESOLVED_PER_CALLBACK: usize = 64;
/// The most requests that wait for one lookup.
const MAX_WAITING: usize = 2_048;
/// How long, in ms, after a failed lookup a record in grace is used without another lookup.
const RETRY: u64 = 1_000;
/// How long, in ms, a failed lookup counts as a sign of an outage.
const OUTAGE: u64 = 2_000;
/// How long, in ms, an answer shows that a lookup that is not sent found the circuit breaker full
/// rather than no host.
const RECENTLY: u64 = 5_000;

/// The steps in time, in ms.
const STEPS: [u64; 16] = [
    1, 9, 40, 100, 200, 249, 250, 251, 399, 500, 999, 1_000, 1_999, 2_001, 5_000, 20_000,
];

/// By how many ms the wall clock is off.
const WALLS: [i64; 4] = [0, 1, 3_600_000, -3_600_000];

/// The longest script, in events and in ms: longer ones only cost time.
const LONGEST: (u64, u64) = (600, 120_000);

/// A moment on the monotonic clock: ms, and the order of events within the same ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct At {
    ms: u64,
    order: u64,
}

/// How a request got its verdict.
#[derive(Clone, Copy, Debug, PartialEq)]
enum DecidedBy {
    /// At once; `lookup_in_flight` says whether a lookup of its key was in flight.
    AtOnce { lookup_in_flight: bool },
    /// By an answer to its lookup: a verdict, with this number.
    Answer(usize),
    /// Its lookup failed, or was not sent.
    Failure,
    /// Its lookup was not sent, because the circuit breaker was full.
    Overflow,
    /// By nothing: it got no verdict, whatever is known of its key.
    NoVerdict,
}

/// Plays a script. Every request must end exactly once, in time, and by a verdict that may be used
/// (`model.rs`).
pub fn verdicts(script: &[u8]) {
    let (rules, events) = match script.split_first() {
        Some((first, rest)) => (number(*first), rest),
        None => (0, script),
    };
    let mut worker = Worker::new(&Rules::ALL[rules % Rules::ALL.len()]);
    let lines = events.split(|byte| *byte == b'\n');
    let said = lines.flat_map(|line| line.split(|byte| *byte == b'#').next().unwrap_or_default());
    let mut said = said.copied();
    let (events, ms) = LONGEST;
    for _ in 0..events {
        let Some(event) = said.next() else {
            break;
        };
        if event == b'z' {
            return worker.close();
        }
        if worker.now.ms > ms {
            break;
        }
        worker.play(event, || said.next().unwrap_or(b'0'));
    }
    worker.finish();
}

/// Returns the value of a digit, or of a letter after the digits.
fn number(byte: u8) -> usize {
    usize::from(match byte {
        b'a'..=b'z' => byte - b'a' + 10,
        _ => byte.wrapping_sub(b'0'),
    })
}
