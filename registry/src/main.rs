//! The registry: Keystile's reference auth cluster, over a real database.
//!
//! 1. A key is shown once, when it is created. Only its hash is stored, computed by the filter's
//!    own [`keystile`] code, and the first and last characters, which tell keys apart in a list.
//! 2. A lookup is answered with 404 only for a well-formed hash without a record, because the
//!    filter treats 404 as a verdict. Other mistakes of the client are 400 or 405.
//! 3. If the database fails, the answer is 503. The cause is logged, never returned.
//! 4. The filter decides expiry: a key past `expires_at` is still `active` here.
//!
//! Modules depend only on those further down, and form no cycle:
//!
//! | module | contents |
//! |---|---|
//! | `commands`, `cli` | what each command does and prints; its options |
//! | `routes` | the routes of each listener |
//! | `keys` | operations on keys, with their SQL, admin API and views |
//! | `lookup`, `feed` | the requests of proxies, and their SQL |
//! | `record` | the stored data of a key: the list of its columns |
//! | `http` | what all routes share: errors, tokens, limits, metrics, the OpenAPI document |
//! | `database`, `server` | connections, schema and transactions; sockets and TLS |
//! | `logs`, `defaults`, `duration`, `timestamp` | what all others may use |
//!
//! Caveat: without a service token, anyone who can reach the port can look up hashes and read the
//! feed. `serve` then refuses to listen on an address that other machines can reach, unless
//! `--insecure-no-token` says that only the proxies can reach the port.

mod cli;
mod commands;
mod database;
mod defaults;
mod duration;
mod feed;
mod http;
mod keys;
mod logs;
mod lookup;
mod record;
mod routes;
mod server;
mod timestamp;

#[cfg(test)]
#[path = "../tests/support/database.rs"]
mod test_database;
#[cfg(test)]
#[path = "../tests/support/sql.rs"]
mod test_sql;
#[cfg(test)]
mod test_store;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use time::OffsetDateTime;
use tracing::{Level, enabled, error, info, warn};

use crate::cli::{Cli, Command, ServeArgs};
use crate::commands::listen;
use crate::commands::output::Output;
use crate::database::{Exposed, Opened};
use crate::http::auth::Tokens;
use crate::http::metrics::Metrics;
use crate::keys::Keys;
use crate::logs::LogFormat;
use crate::lookup::Lookups;
use crate::lookup::handler::MaxAge;
use crate::routes::App;

/// mimalloc, because a lookup makes many small allocations that another thread frees.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let format = cli.log_format;
    let Err(error) = run(cli).await else {
        return ExitCode::SUCCESS;
    };
    let error = describe(&error);
    if format == LogFormat::Json && enabled!(Level::ERROR) {
        error!("{error}");
    } else {
        eprintln!("error: {error}");
    }
    ExitCode::FAILURE
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    logs::start(cli.log_format)?;
    if let Command::Serve(args) = &cli.command {
        // Before a database is created.
        listen::check(args, Tokens::from_env()?.service.is_some())?;
    }
    let opened = database::open(&cli.database_url).await?;
    let database = opened.database.clone();
    let lookups = Lookups::start(database.clone());
    let hasher = cli.pepper.unwrap_or_default();
    let keys = Keys::new(database.clone(), lookups.clone(), hasher, cli.tag_secret);
    let now = OffsetDateTime::now_utc();
    let mut out = Output::new(io::stdout().lock(), cli.json);
    let result = match cli.command {
        Command::Serve(args) => serve(opened, keys, lookups, &args, &mut out).await,
        Command::Create(args) => commands::create(&keys, args, now, &mut out).await,
        Command::List(args) => commands::list(&keys, args, &mut out).await,
        Command::Get(args) => commands::get(&keys, &args.key_id, &mut out).await,
        Command::Update(args) => commands::update(&keys, args, now, &mut out).await,
        Command::Rotate(args) => commands::rotate(&keys, args, now, &mut out).await,
        Command::Revoke(args) => commands::revoke(&keys, &args.key_id, now, &mut out).await,
        Command::Delete(args) => commands::delete(&keys, &args.key_id, now, &mut out).await,
    };
    database.close().await;
    result
}

/// Returns an error and its causes, except causes that the previous error already quotes.
fn describe(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

async fn serve(
    opened: Opened,
    keys: Keys,
    lookups: Lookups,
    args: &ServeArgs,
    out: &mut Output<impl Write>,
) -> anyhow::Result<()> {
    let tokens = Tokens::from_env()?;
    let app = App {
        database: opened.database.clone(),
        keys,
        lookups,
        admin_token: tokens.admin,
        service_token: tokens.service,
        max_age: MaxAge {
            active: args.max_age_active,
            revoked: args.max_age_revoked,
            not_found: args.max_age_not_found,
        },
        concurrency: args.concurrency,
        metrics: Metrics::new(),
    };
    let (listeners, addresses, tls) = listen::bind(args, &app)?;
    // Before the address is announced: whoever waits for that line may send the signal right after it.
    let shutdown = server::shutdown_signal()?;
    out.listening(&addresses)?;
    for listener in &listeners {
        let (listener, address) = (listener.port.as_str(), listener.socket.local_addr()?);
        info!(%address, listener, "listening");
    }
    if opened.is_new {
        // A volume that was not mounted looks the same, and then every key is denied.
        warn!("there was no database; this one is new and has no keys");
    }
    for Exposed { path, mode } in &opened.exposed {
        warn!(
            file = %path.display(),
            mode = %format_args!("{mode:04o}"),
            "other users may read or write the database; `chmod 600` makes it private"
        );
    }
    let keep = args.keep_changes;
    let pruning = tokio::spawn(feed::pruning::prune(
        opened.database,
        keep,
        feed::pruning::pause(keep),
    ));
    let reloading = tls.map(|tls| tokio::spawn(tls.follow(server::TLS_INTERVAL)));
    server::serve(
        listeners,
        app.metrics.connections(),
        shutdown,
        server::GRACE,
    )
    .await;
    pruning.abort();
    if let Some(reloading) = reloading {
        reloading.abort();
    }
    info!("stopped");
    Ok(())
}
