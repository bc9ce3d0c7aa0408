//! The command line. Each value is checked here, once, by the type it is parsed into.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use keystile::request::key_hash::KeyHasher;

use crate::defaults::{CONCURRENCY, GRACE, KEEP_CHANGES};
use crate::duration::Seconds;
use crate::keys::NewKey;
use crate::keys::values::{Endpoint, Name};
use crate::logs::LogFormat;
use crate::timestamp::Timestamp;

/// Keystile's reference auth cluster: registers API keys and answers lookups of their hashes.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Cli {
    /// The database: sqlite://FILE, which is created when it is missing, or
    /// postgres://USER:PASSWORD@HOST/DATABASE.
    // A string, because clap would repeat a refused URL, and URLs of databases hold passwords.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "KEYSTILE_DATABASE_URL",
        hide_env_values = true,
        default_value = "sqlite://keystile.db"
    )]
    pub(crate) database_url: String,

    /// Print JSON: one value on stdout.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// The pepper that the filter is configured with; better set in the environment, where other
    /// users of the host cannot see it.
    #[arg(
        long,
        global = true,
        value_name = "PEPPER",
        env = "KEYSTILE_PEPPER",
        hide_env_values = true,
        value_parser = peppered
    )]
    pub(crate) pepper: Option<KeyHasher>,

    /// How log lines are written; RUST_LOG says which, like `info,access=debug`.
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        env = "KEYSTILE_LOG_FORMAT",
        value_enum,
        default_value_t = LogFormat::Text
    )]
    pub(crate) log_format: LogFormat,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Answer lookups over HTTP.
    Serve(ServeArgs),
    /// Make a key, or register one that was made elsewhere, and show it this once.
    Create(CreateArgs),
    /// Show the registered keys, each with its first and last characters.
    List(ListArgs),
    /// Show one key.
    Get(KeyArgs),
    /// Change a key's name, expiry or endpoints.
    Update(UpdateArgs),
    /// Make a key that replaces another, which goes on working for a while; show it this once.
    Rotate(RotateArgs),
    /// Refuse a key from now on, and keep its record.
    Revoke(KeyArgs),
    /// Remove a key's record, as though the key had never existed.
    Delete(KeyArgs),
}

/// Options of `serve`.
#[derive(Args, Debug)]
pub(crate) struct ServeArgs {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8081", value_parser = address)]
    pub(crate) listen: SocketAddr,

    /// Where the admin API is served instead of on --listen.
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    pub(crate) admin_listen: Option<SocketAddr>,

    /// Where /metrics is served instead of on --listen, always in plain HTTP.
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    pub(crate) metrics_listen: Option<SocketAddr>,

    /// The certificate for --listen and --admin-listen, with those that lead to its authority, in
    /// PEM. The three files of TLS are read again when they change.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// The certificate's private key, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,

    /// The authorities of clients' certificates, in PEM: clients without such a certificate are
    /// refused.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_client_ca: Option<PathBuf>,

    /// Listen beyond this machine without a token in KEYSTILE_SERVICE_TOKEN, where nothing but the
    /// proxies can reach the port.
    #[arg(long)]
    pub(crate) insecure_no_token: bool,

    /// How long the change feed remembers a change.
    #[arg(long, value_name = "SPAN", default_value = KEEP_CHANGES)]
    pub(crate) keep_changes: Seconds,

    /// How long proxies may keep the answer about an active key; without it, as they see fit.
    #[arg(long, value_name = "SPAN")]
    pub(crate) max_age_active: Option<Seconds>,

    /// The same for a revoked key.
    #[arg(long, value_name = "SPAN")]
    pub(crate) max_age_revoked: Option<Seconds>,

    /// The same for a hash without a key.
    #[arg(long, value_name = "SPAN")]
    pub(crate) max_age_not_found: Option<Seconds>,

    /// The most requests at once; those beyond get a 503.
    #[arg(long, value_name = "N", default_value_t = CONCURRENCY, value_parser = concurrency)]
    pub(crate) concurrency: usize,

    /// The most open connections on --listen; beyond them, idle ones are closed for new ones. By
    /// default 4096, or fewer where the limit of open files is lower.
    #[arg(long, value_name = "N", value_parser = max_connections)]
    pub(crate) max_connections: Option<usize>,
}

/// Options of `create`.
#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    pub(crate) new: NewKey,

    /// Register the key that is the first line of standard input, rather than a new one. Arguments
    /// would show it to whoever lists processes.
    #[arg(long)]
    pub(crate) key_stdin: bool,
}

/// Options of `list`.
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Show only this many, the oldest first.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u32>,

    /// Show only those made after the key of this ID, which may be the last of a page.
    #[arg(long, value_name = "KEY_ID")]
    pub(crate) after: Option<String>,
}

/// Options of `update`. What is not named stays.
#[derive(Args, Debug)]
pub(crate) struct UpdateArgs {
    /// The key's ID, as `create` and `list` show it.
    pub(crate) key_id: String,

    /// What people call the key.
    #[arg(long, conflicts_with = "no_name")]
    pub(crate) name: Option<Name>,

    /// The key has no name any more.
    #[arg(long)]
    pub(crate) no_name: bool,

    /// When the key stops working (RFC 3339).
    #[arg(long, value_name = "TIME", conflicts_with = "no_expiry")]
    pub(crate) expires_at: Option<Timestamp>,

    /// The key never stops working by itself.
    #[arg(long)]
    pub(crate) no_expiry: bool,

    /// A path that the key may call, with all below it, in place of those before; may be repeated.
    #[arg(
        long = "endpoint",
        value_name = "PATH",
        conflicts_with = "every_endpoint"
    )]
    pub(crate) endpoints: Vec<Endpoint>,

    /// The key may call every path.
    #[arg(long)]
    pub(crate) every_endpoint: bool,
}

/// Options of `rotate`.
#[derive(Args, Debug)]
pub(crate) struct RotateArgs {
    /// The old key's ID, as `create` and `list` show it.
    pub(crate) key_id: String,

    /// How long the old key goes on working, unless it ends before.
    #[arg(long, value_name = "SPAN", default_value = GRACE)]
    pub(crate) grace: Seconds,

    /// When the new key stops working (RFC 3339); without it, it lasts as long as the old one was
    /// to last from its creation.
    #[arg(long, value_name = "TIME")]
    pub(crate) expires_at: Option<Timestamp>,
}

/// Options of `get`, `revoke` and `delete`.
#[derive(Args, Debug)]
pub(crate) struct KeyArgs {
    /// The key's ID, as `create` and `list` show it.
    pub(crate) key_id: String,
}

fn peppered(pepper: &str) -> Result<KeyHasher, String> {
    // An unset variable and an empty one look alike in many deployments, and an HMAC under an
    // empty key would only pretend to be peppered.
    if pepper.is_empty() {
        return Err(
            "the pepper is empty; give the one that the filter has, or leave --pepper and \
             KEYSTILE_PEPPER unset for plain SHA-256"
                .to_owned(),
        );
    }
    KeyHasher::new(Some(pepper)).map_err(|error| error.to_string())
}

fn concurrency(text: &str) -> Result<usize, String> {
    let number = text.parse().ok();
    number
        .filter(|number| (1..=1_000_000).contains(number))
        .ok_or_else(|| "expected a number from 1 to 1000000".to_owned())
}

fn max_connections(text: &str) -> Result<usize, String> {
    let number = text.parse().ok();
    number
        .filter(|number| (1..=1_000_000).contains(number))
        .ok_or_else(|| "expected a number from 1 to 1000000".to_owned())
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "expected an IP address and a port, like `127.0.0.1:8081` or `[::1]:8081`".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_stand_before_or_after_the_subcommand() {
        for line in [
            "registry --json --database-url sqlite://x.db --pepper p list",
            "registry list --json --database-url sqlite://x.db --pepper p",
            "registry --json list --pepper p --database-url sqlite://x.db",
        ] {
            let cli = Cli::try_parse_from(line.split(' ')).expect(line);
            assert!(cli.json, "{line}");
            assert_eq!(cli.database_url, "sqlite://x.db", "{line}");
            assert!(cli.pepper.is_some(), "{line}");
        }
    }

    #[test]
    fn the_pepper_is_not_in_the_debug_output() {
        let line = "registry list --pepper Sauerkraut";
        let cli = Cli::try_parse_from(line.split(' ')).expect(line);
        assert!(!format!("{cli:?}").contains("Sauerkraut"));
    }
}
