//! Lookups by hash, many in one statement.
//!
//! The database is not the main cost of a single lookup: a pool tests a connection when it is taken
//! and when it is returned, and on SQLite a connection is a thread that must be woken. So a few
//! tasks keep their connections for a while, and each looks up everything that arrived while it was
//! waiting for the last answer. A lookup that finds a task idle does not wait.
//!
//! This is not a cache. No record is kept from one statement to the next, and each statement starts
//! after its lookups have arrived, so the answers include every change that was committed before.

use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Mutex, oneshot};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::warn;

use super::sql::{Found, Many};
use crate::database::{Database, PATIENCE, on};
use crate::record::Record;

/// How many statements run at once. Few, so that lookups gather while they run.
const WORKERS: usize = 2;

/// The most lookups in one statement.
pub(super) const MOST: usize = 64;

/// How long a connection is kept before the pool may test, renew or close it.
const KEPT: Duration = Duration::from_secs(1);

/// The queue of lookups. It holds at most as many as there may be requests at once, plus those
/// whose clients have left.
#[derive(Clone, Debug)]
pub(super) struct Queue(UnboundedSender<Lookup>);

pub(super) struct Lookup {
    pub(super) hash: [u8; 32],
    /// The only environment whose records may be found; `None` is any. Never empty.
    pub(super) environment: Option<String>,
    answer: oneshot::Sender<sqlx::Result<Option<Record>>>,
}

type Waiting = Arc<Mutex<UnboundedReceiver<Lookup>>>;

impl Queue {
    /// Starts the tasks. They end when the last clone is dropped.
    pub(super) fn start(database: &Database) -> Self {
        let (sender, receiver) = unbounded_channel();
        let queue = Arc::new(Mutex::new(receiver));
        for _ in 0..WORKERS {
            on!(database, Database, pool => {
                tokio::spawn(work(pool.clone(), Arc::clone(&queue)));
            });
        }
        Self(sender)
    }

    /// Returns the record of a hash, if there is one in this environment. Returns `None` if the
    /// statement failed, whichever of its lookups was the cause.
    pub(super) async fn find(
        &self,
        hash: &[u8; 32],
        environment: Option<&str>,
    ) -> Option<sqlx::Result<Option<Record>>> {
        let (answer, answered) = oneshot::channel();
        let lookup = Lookup {
            hash: *hash,
            environment: environment.map(str::to_owned),
            answer,
        };
        self.0.send(lookup).ok()?;
        answered.await.ok()
    }
}

async fn work<D: Many>(pool: sqlx::Pool<D>, queue: Waiting) {
    let mut lookups = Vec::with_capacity(MOST);
    while wait(&queue, &mut lookups).await {
        let mut connection = match pool.acquire().await {
            Ok(connection) => connection,
            Err(cause) => {
                warn!(%cause, "no database connection is available for lookups");
                refuse(&queue, &mut lookups);
                continue;
            }
        };
        let until = Instant::now() + KEPT;
        loop {
            // Lets requests that were woken together run first, so that they share a statement.
            yield_now().await;
            add_more(&queue, &mut lookups);
            if !answer(&mut connection, &mut lookups).await {
                connection.close_on_drop();
                break;
            }
            // Checked here, because a timeout does not end a wait that is ready at once.
            if Instant::now() >= until {
                break;
            }
            tokio::select! {
                _ = timeout_at(until, wait(&queue, &mut lookups)) => {}
                () = pool.close_event() => {}
            }
            if lookups.is_empty() {
                break;
            }
        }
    }
}

/// Waits for a lookup, and takes all that have arrived. Returns false if none can arrive any more.
async fn wait(queue: &Waiting, lookups: &mut Vec<Lookup>) -> bool {
    queue.lock().await.recv_many(lookups, MOST).await > 0
}

fn add_more(queue: &Waiting, lookups: &mut Vec<Lookup>) {
    // If another task holds the lock, it is waiting because the queue is empty.
    let Ok(mut queue) = queue.try_lock() else {
        return;
    };
    while lookups.len() < MOST
        && let Ok(lookup) = queue.try_recv()
    {
        lookups.push(lookup);
    }
}

/// Refuses everything in the queue. Trying each lookup again would only take as long again.
fn refuse(queue: &Waiting, lookups: &mut Vec<Lookup>) {
    while !lookups.is_empty() {
        for lookup in lookups.drain(..) {
            // The request may be gone.
            let _ = lookup.answer.send(Err(sqlx::Error::PoolTimedOut));
        }
        add_more(queue, lookups);
    }
}

/// Answers the lookups, and drops those that fail. Returns false if the connection may be broken.
async fn answer<D: Many>(connection: &mut PoolConnection<D>, lookups: &mut Vec<Lookup>) -> bool {
    let found = timeout(PATIENCE, D::find(connection, lookups)).await;
    let mut answers: Vec<_> = lookups
        .drain(..)
        .map(|lookup| Some(lookup.answer))
        .collect();
    let found = match found {
        Ok(Ok(found)) => found.unwrap_or_else(|| "[]".to_owned()),
        Ok(Err(cause)) => {
            warn!(%cause, "a batch of lookups failed; retrying them one by one");
            return false;
        }
        Err(_) => {
            warn!("a batch of lookups timed out; retrying them one by one");
            return false;
        }
    };
    let Ok(found) = serde_json::from_str::<Vec<Found>>(&found) else {
        warn!("the answer to a batch of lookups is unreadable; retrying them one by one");
        return true;
    };
    for found in found {
        let answer = answers.get_mut(found.key).and_then(Option::take);
        // A record that cannot be read is dropped, and fails again when it is looked up alone.
        if let (Some(answer), Ok(record)) = (answer, found.record()) {
            // The request may be gone.
            let _ = answer.send(Ok(Some(record)));
        }
    }
    for answer in answers.into_iter().flatten() {
        let _ = answer.send(Ok(None));
    }
    true
}
