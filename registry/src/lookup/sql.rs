//! Lookups by hash, many in one statement.
//!
//! What a single lookup costs is mostly not the database: a pool tests a connection when it is
//! taken and when it is returned, and on SQLite a connection is a thread to be woken. So a few tasks
//! keep connections for a while, and each asks at once for all that has arrived while it was waiting
//! for the last answer. A lookup that finds a task free waits for nobody.
//!
//! This is no cache. No record is kept from one statement to the next, and each statement begins
//! after the lookups in it were asked for: a change that was committed before is in the answer.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use sqlx::pool::PoolConnection;
use sqlx::{Database, Postgres, Sqlite};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Mutex, oneshot};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::warn;

use crate::database::connect::PATIENCE;
use crate::database::{Pool, on};
use crate::keys::secret::Preview;
use crate::record::Record;
use crate::timestamp::Timestamp;

/// How many statements at once. Few, so that there is something to gather meanwhile.
const WORKERS: usize = 2;

/// The most lookups in one statement.
pub(crate) const MOST: usize = 64;

/// How long a connection is kept before the pool may test, renew or close it.
const KEPT: Duration = Duration::from_secs(1);

/// The fields of [`Found`] but for the first.
macro_rules! fields {
    () => {
        "key_id, key_head, key_tail, account_id, name, environment, expires_at, endpoints, \
         created_at, revoked_at"
    };
}

// CROSS JOIN is SQLite's word for a join in this order and no other.
pub(crate) const SQLITE: &str = concat!(
    "SELECT json_group_array(json_array(asked.key, ",
    fields!(),
    ")) FROM json_each($1) AS asked CROSS JOIN api_keys INDEXED BY lookups \
     ON key_hash = unhex(substr(asked.value, 1, 64)) \
     AND substr(asked.value, 65) IN ('', environment)"
);

pub(crate) const POSTGRES: &str = concat!(
    "SELECT json_agg(json_build_array(number - 1, ",
    fields!(),
    "))::text FROM unnest($1::bytea[], $2::text[]) WITH ORDINALITY AS asked (hash, here, number) \
     JOIN api_keys ON key_hash = hash AND (here IS NULL OR environment = here)"
);

/// Where lookups wait: as many at most as requests are answered at once, but for those whose client
/// has left meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct Lookups(UnboundedSender<Lookup>);

struct Lookup {
    hash: [u8; 32],
    /// The only one whose records are to be found; any without it. Not empty.
    environment: Option<String>,
    answer: oneshot::Sender<sqlx::Result<Option<Record>>>,
}

type Queue = Arc<Mutex<UnboundedReceiver<Lookup>>>;

impl Lookups {
    /// They end with the last of its clones.
    pub(crate) fn start(pool: &Pool) -> Self {
        let (sender, receiver) = unbounded_channel();
        let queue = Arc::new(Mutex::new(receiver));
        for _ in 0..WORKERS {
            on!(pool, Pool, pool => {
                tokio::spawn(work(pool.clone(), Arc::clone(&queue)));
            });
        }
        Self(sender)
    }

    /// The record of a hash, if there is one in this environment. `None` where the statement
    /// failed, whichever lookup in it was the reason.
    pub(crate) async fn find(
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

/// A record, and the position of its hash among those asked for.
#[derive(Deserialize)]
struct Found {
    number: usize,
    key_id: String,
    key_head: String,
    key_tail: String,
    account_id: String,
    name: Option<String>,
    environment: Option<String>,
    expires_at: Option<i64>,
    endpoints: Option<String>,
    created_at: i64,
    revoked_at: Option<i64>,
}

/// A database that can be asked for many hashes.
trait Many: Database {
    /// An array of [`Found`], in JSON: on its way here, one long value costs a fraction of many
    /// short ones.
    async fn find(
        connection: &mut Self::Connection,
        lookups: &[Lookup],
    ) -> sqlx::Result<Option<String>>;
}

impl Many for Sqlite {
    async fn find(
        connection: &mut Self::Connection,
        lookups: &[Lookup],
    ) -> sqlx::Result<Option<String>> {
        let mut hashes = String::with_capacity(lookups.len() * 67 + 1);
        for lookup in lookups {
            hashes.push_str(if hashes.is_empty() { "[\"" } else { ",\"" });
            hashes.push_str(const_hex::Buffer::<32>::new().format(&lookup.hash));
            if let Some(environment) = &lookup.environment {
                hashes.push_str(&in_json(environment));
            }
            hashes.push('"');
        }
        hashes.push(']');
        let find = sqlx::query_scalar(SQLITE).bind(hashes);
        find.fetch_one(connection).await
    }
}

impl Many for Postgres {
    async fn find(
        connection: &mut Self::Connection,
        lookups: &[Lookup],
    ) -> sqlx::Result<Option<String>> {
        let hashes: Vec<&[u8]> = lookups.iter().map(|lookup| &lookup.hash[..]).collect();
        let environments: Vec<_> = lookups.iter().map(|l| l.environment.as_deref()).collect();
        let find = sqlx::query_scalar(POSTGRES).bind(hashes).bind(environments);
        find.fetch_one(connection).await
    }
}

/// A text as it is between the quotes of a JSON text.
fn in_json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

async fn work<D: Many>(pool: sqlx::Pool<D>, queue: Queue) {
    let mut lookups = Vec::with_capacity(MOST);
    while wait(&queue, &mut lookups).await {
        let mut connection = match pool.acquire().await {
            Ok(connection) => connection,
            Err(cause) => {
                warn!(%cause, "there is no connection for lookups");
                refuse(&queue, &mut lookups);
                continue;
            }
        };
        let until = Instant::now() + KEPT;
        loop {
            // A turn for those who were woken together, so that they are answered together.
            yield_now().await;
            add_more(&queue, &mut lookups);
            if !answer(&mut connection, &mut lookups).await {
                connection.close_on_drop();
                break;
            }
            // Asked beforehand: a timeout alone never ends a wait that is over at once.
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

/// Waits until there is a lookup, and takes what there is. False: there will be none.
async fn wait(queue: &Queue, lookups: &mut Vec<Lookup>) -> bool {
    queue.lock().await.recv_many(lookups, MOST).await > 0
}

fn add_more(queue: &Queue, lookups: &mut Vec<Lookup>) {
    // Whoever else has it waits for more, as there is none.
    let Ok(mut queue) = queue.try_lock() else {
        return;
    };
    while lookups.len() < MOST
        && let Ok(lookup) = queue.try_recv()
    {
        lookups.push(lookup);
    }
}

/// To try again for each would only take as long again.
fn refuse(queue: &Queue, lookups: &mut Vec<Lookup>) {
    while !lookups.is_empty() {
        for lookup in lookups.drain(..) {
            // Nobody may be waiting for it any more.
            let _ = lookup.answer.send(Err(sqlx::Error::PoolTimedOut));
        }
        add_more(queue, lookups);
    }
}

/// Answers the lookups; those that are dropped instead have failed. False where the connection may
/// be of no more use.
async fn answer<D: Many>(connection: &mut PoolConnection<D>, lookups: &mut Vec<Lookup>) -> bool {
    let found = timeout(PATIENCE, D::find(connection, lookups)).await;
    let mut answers: Vec<_> = lookups
        .drain(..)
        .map(|lookup| Some(lookup.answer))
        .collect();
    let found = match found {
        Ok(Ok(found)) => found.unwrap_or_else(|| "[]".to_owned()),
        Ok(Err(cause)) => {
            warn!(%cause, "lookups failed, and are made one by one");
            return false;
        }
        Err(_) => {
            warn!("lookups took too long, and are made one by one");
            return false;
        }
    };
    let Ok(found) = serde_json::from_str::<Vec<Found>>(&found) else {
        warn!("lookups are unreadable, and are made one by one");
        return true;
    };
    for found in found {
        let answer = answers.get_mut(found.number).and_then(Option::take);
        // What cannot be read is dropped, and fails once more by itself.
        if let (Some(answer), Some(record)) = (answer, found.record()) {
            // Nobody may be waiting for it any more.
            let _ = answer.send(Ok(Some(record)));
        }
    }
    for answer in answers.into_iter().flatten() {
        let _ = answer.send(Ok(None));
    }
    true
}

impl Found {
    /// `None` where the database holds what no record has.
    fn record(self) -> Option<Record> {
        let time = |seconds: Option<i64>| match seconds {
            None => Some(None),
            Some(seconds) => Timestamp::from_unix(seconds).map(Some),
        };
        let endpoints = match self.endpoints {
            None => None,
            Some(json) => Some(serde_json::from_str(&json).ok()?),
        };
        Some(Record {
            key_id: self.key_id,
            preview: Preview {
                head: self.key_head,
                tail: self.key_tail,
            },
            account_id: self.account_id,
            name: self.name,
            environment: self.environment,
            expires_at: time(self.expires_at)?,
            endpoints,
            created_at: Timestamp::from_unix(self.created_at)?,
            revoked_at: time(self.revoked_at)?,
        })
    }
}
