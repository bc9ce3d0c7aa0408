//! Where verdicts come from, over time: a worker with its requests, clients that leave, answers
//! and outages of the auth cluster, changes in the feed, and the clocks.
//!
//! A script says what happens. Each event is a letter and what it is about, a letter or digit each;
//! anything else between events is passed over, and so is what stands behind `#` on a line.
//!
//! | event | means |
//! |---|---|
//! | `2`, as the very first | by which of the [configurations](Rules::ALL) |
//! | `a1` | a request with key 1 comes, and makes the callout where it is to |
//! | `x1` | the same, but its callout cannot be made, for whatever reason |
//! | `y1` | the same, as the circuit breaker is full |
//! | `l0A` | callout 0 of those under way is answered with [`A`](answers::Kind) |
//! | `o0` | callout 0 is forgotten by the proxy, which does not even answer that it timed out |
//! | `v0` | the client of request 0 of those that wait is gone |
//! | `t3` | time passes, by the third of [`STEPS`] |
//! | `p5` | the poll under way is answered: keys 0 and 2 have changed (as bits) |
//! | `pc`, `pr`, `pl`, `pf` | the same: nothing has, any may have, a long page with key 0, broken |
//! | `q` | from now on, or no longer, polls are answered at once, with no changes |
//! | `r` | from now on, or no longer, the root context cannot make callouts |
//! | `i1R` | a live lookup of key 1 came to this, and taught the cache |
//! | `w2` | the wall clock is set, to the second of [`WALLS`] |

mod answers;
mod model;
mod requests;
mod root;

use model::Rules;
use requests::Worker;

const KEYS: usize = 3;

/// The time, in ms, that a lookup may take.
const TIMEOUT: u64 = 250;
/// How much longer, in ms, a request waits for an answer of its own, which the proxy owes it.
const FORGOTTEN: u64 = 2_000;
/// The longest time, in ms, between two ticks of the root context.
const TICK: u64 = 500;
/// For how long, in ms, a failed lookup lets a record in grace count without another.
const RETRY: u64 = 1_000;
/// For how long, in ms, an answer shows that a lookup which is not sent finds no place, rather than no
/// host.
const RECENTLY: u64 = 5_000;
/// The timeout of a poll, in ms: no interval here is longer.
const POLL_TIMEOUT: u64 = 1_000;

/// In ms.
const STEPS: [u64; 16] = [
    1, 9, 40, 100, 200, 249, 250, 251, 399, 500, 999, 1_000, 1_999, 2_001, 5_000, 20_000,
];

/// By how many ms the wall clock is off.
const WALLS: [i64; 4] = [0, 1, 3_600_000, -3_600_000];

/// The longest script, in events, and in ms: others only cost time.
const LONGEST: (u64, u64) = (600, 120_000);

/// A moment: the steady clock's ms, and what came before what in the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct At {
    ms: u64,
    order: u64,
}

/// How a request came to its verdict.
#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    /// At once.
    Asking,
    /// An answer to its lookup: a verdict, by its number.
    Answer(usize),
    /// A lookup that came to nothing, or was not made.
    Failure,
    /// A lookup that was not made, as the circuit breaker was full.
    Overflow,
}

/// Takes a script. Every request gets one verdict, in time, and one that counts (`model.rs`).
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
        if worker.now.ms > ms {
            break;
        }
        worker.happens(event, || said.next().unwrap_or(b'0'));
    }
    worker.ends();
}

/// A digit, or a letter behind them.
fn number(byte: u8) -> usize {
    usize::from(match byte {
        b'a'..=b'z' => byte - b'a' + 10,
        _ => byte.wrapping_sub(b'0'),
    })
}
