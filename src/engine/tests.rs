//! Tables of events over time, with the expected result of each.
//!
//! Requests are letters. All have the same key, unless a row names another. Once a request has ended,
//! its letter can be used again.
//!
//! | event | means |
//! |---|---|
//! | `A asks`, `A asks about k2` | a request arrives |
//! | `A asks in vain` | the same, but no callout is accepted, for an unknown reason |
//! | `A asks in overflow` | the same, because the circuit breaker is full |
//! | `A gets active, cache-control: max-age=7` | the answer to the lookup that A started |
//! | `refresh gets nothing` | the answer to the oldest refresh |
//! | `A leaves` | its client disconnects |
//! | `tick` | requests that have waited too long are answered |
//! | `feed polls` | the feed is polled, if it is time |
//! | `feed gets k1 k2, cursor 7` | changes of these keys; `any`: a reset; `current`: 204 |
//! | `feed fails` | the poll gets no answer |
//! | `uncached active` | an introspection request, whose lookup returns this verdict |

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a test that overflows fails, as it should"
)]

mod backoff;
mod callouts;
mod ends;
mod feed;
mod grace;
mod notices;
mod outdated;
mod overflow;
mod polls;
mod refresh;
mod scene;
mod sharing;
mod stale_feed;
mod ttl;

use super::*;
use crate::engine::cache::PoolName;
use crate::engine::fake_host::{End, FakeHost};
use crate::engine::stats::Counter;
use scene::{Scene, at, hash};

/// Exact times: no jitter and no refreshes.
const EXACT: &str = r#"{"jitter":0,"refresh_ahead":1}"#;

/// The allow TTL is an hour. The feed is stale after 10 s; active records are then fresh for 60 s.
const FEED: &str = r#"{"jitter":0,"refresh_ahead":1,"allow_ttl":"1h"},"feed":{}"#;

/// A page of 100 changes.
const LONG_PAGE: &str = "feed gets \
    x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x \
    x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x, \
    cursor 101";

/// Rows: ms, event, expected result.
type Rows<'a> = &'a [(u64, &'a str, &'a str)];

fn play(name: &str, cache: &str, rows: Rows<'_>) -> Scene {
    let mut scene = Scene::new(cache);
    for (ms, event, expected) in rows {
        let came = scene.happens(*ms, event);
        assert_eq!(came, *expected, "{name}: {event} at {ms} ms");
    }
    scene
}

fn all(tables: &[(&str, &str, Rows<'_>)]) {
    for (name, cache, rows) in tables {
        play(name, cache, rows);
    }
}
