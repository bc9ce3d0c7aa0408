//! The command line. Each value is checked once, when it is parsed into its type.

mod secrets;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use keystile::request::key_hash::KeyHasher;
use keystile::request::key_tag::KeyTagger;

use self::secrets::{TagSecret, peppered};
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
    /// The database: postgres://USER:PASSWORD@HOST/DATABASE, or sqlite://FILE, which is created if it
    /// is missing.
    // A string, because clap repeats values that it cannot parse, and database URLs contain passwords.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "KEYSTILE_DATABASE_URL",
        hide_env_values = true,
        default_value = "sqlite://keystile.db"
    )]
    pub(crate) database_url: String,

    /// Print one JSON value on standard output instead of text.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// The pepper that the filter is configured with. Prefer the environment variable: other users
    /// of this machine can read command lines.
    #[arg(
        long,
        global = true,
        value_name = "PEPPER",
        env = "KEYSTILE_PEPPER",
        hide_env_values = true,
        value_parser = peppered
    )]
    pub(crate) pepper: Option<KeyHasher>,

    /// The first of the filter's tag secrets: new keys end with a tag under it, so that the filter
    /// recognises made-up keys without a lookup. Prefer the environment variable, as for the pepper.
    #[arg(
        long,
        global = true,
        value_name = "SECRET",
        env = "KEYSTILE_TAG_SECRET",
        hide_env_values = true,
        value_parser = TagSecret
    )]
    pub(crate) tag_secret: Option<KeyTagger>,

    /// The format of log lines. RUST_LOG selects which lines are logged, such as `info,access=debug`.
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

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Answer lookups over HTTP.
    Serve(ServeArgs),
    /// Create a key, or import an existing one. The key itself is shown only this once.
    Create(CreateArgs),
    /// List the registered keys, with the first and last characters of each.
    List(ListArgs),
    /// Show one key.
    Get(KeyArgs),
    /// Change a key's name, expiry or endpoints.
    Update(UpdateArgs),
    /// Replace a key with a new one, which is shown only this once. The old key keeps working for a
    /// while.
    Rotate(RotateArgs),
    /// Revoke a key, but keep its record.
    Revoke(KeyArgs),
    /// Delete a key's record, as if the key had never existed.
    Delete(KeyArgs),
}

/// Options of `serve`.
#[derive(Args, Debug)]
pub(crate) struct ServeArgs {
    /// The address to listen on. Port 0 picks a free port.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8081", value_parser = address)]
    pub(crate) listen: SocketAddr,

    /// A separate address for the admin API, which is then not served on --listen.
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    pub(crate) admin_listen: Option<SocketAddr>,

    /// A separate address for /metrics, which is then not served on --listen. Always plain HTTP.
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    pub(crate) metrics_listen: Option<SocketAddr>,

    /// The certificate for --listen and --admin-listen, followed by its intermediate certificates,
    /// in PEM. All three TLS files are read again when they change.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// The certificate's private key, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,

    /// The authorities that issue client certificates, in PEM. Clients without a certificate from
    /// one of them are refused.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_client_ca: Option<PathBuf>,

    /// Listen on an address that other machines can reach, without a token in
    /// KEYSTILE_SERVICE_TOKEN. Use it only if nothing but the proxies can reach the port.
    #[arg(long)]
    pub(crate) insecure_no_token: bool,

    /// How long the change feed keeps a change.
    #[arg(long, value_name = "SPAN", default_value = KEEP_CHANGES)]
    pub(crate) keep_changes: Seconds,

    /// How long proxies may cache the answer for an active key. Without it, the proxies decide.
    #[arg(long, value_name = "SPAN")]
    pub(crate) max_age_active: Option<Seconds>,

    /// The same for a revoked key.
    #[arg(long, value_name = "SPAN")]
    pub(crate) max_age_revoked: Option<Seconds>,

    /// The same for a hash without a key.
    #[arg(long, value_name = "SPAN")]
    pub(crate) max_age_not_found: Option<Seconds>,

    /// The most requests at once. Further ones get a 503.
    #[arg(long, value_name = "N", default_value_t = CONCURRENCY, value_parser = concurrency)]
    pub(crate) concurrency: usize,

    /// The most open connections on --listen. Beyond that, idle ones are closed to make room for
    /// new ones. The default is 4096, or fewer if the limit of open files is lower.
    #[arg(long, value_name = "N", value_parser = max_connections)]
    pub(crate) max_connections: Option<usize>,
}

/// Options of `create`.
#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    pub(crate) new: NewKey,

    /// Import the key on the first line of standard input instead of creating one. A command-line
    /// argument would be visible to everyone who can list processes.
    #[arg(long)]
    pub(crate) key_stdin: bool,
}

/// Options of `list`.
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Show at most this many keys, oldest first.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u32>,

    /// Show only the keys created after the one with this ID, such as the last key of the previous page.
    #[arg(long, value_name = "KEY_ID")]
    pub(crate) after: Option<String>,
}

/// Options of `update`. Whatever is not given stays unchanged.
#[derive(Args, Debug)]
pub(crate) struct UpdateArgs {
    /// The key's ID, as `create` and `list` show it.
    pub(crate) key_id: String,

    /// The key's new name.
    #[arg(long, conflicts_with = "no_name")]
    pub(crate) name: Option<Name>,

    /// Remove the key's name.
    #[arg(long)]
    pub(crate) no_name: bool,

    /// When the key expires (RFC 3339).
    #[arg(long, value_name = "TIME", conflicts_with = "no_expiry")]
    pub(crate) expires_at: Option<Timestamp>,

    /// Remove the key's expiry.
    #[arg(long)]
    pub(crate) no_expiry: bool,

    /// A path that the key may call, including everything below it. May be repeated; replaces the
    /// previous endpoints.
    #[arg(
        long = "endpoint",
        value_name = "PATH",
        conflicts_with = "every_endpoint"
    )]
    pub(crate) endpoints: Vec<Endpoint>,

    /// Let the key call every path.
    #[arg(long)]
    pub(crate) every_endpoint: bool,
}

/// Options of `rotate`.
#[derive(Args, Debug)]
pub(crate) struct RotateArgs {
    /// The old key's ID, as `create` and `list` show it.
    pub(crate) key_id: String,

    /// How long the old key keeps working, unless it expires earlier.
    #[arg(long, value_name = "SPAN", default_value = GRACE)]
    pub(crate) grace: Seconds,

    /// When the new key expires (RFC 3339). By default, it lasts as long as the old key was meant
    /// to last when it was created.
    #[arg(long, value_name = "TIME")]
    pub(crate) expires_at: Option<Timestamp>,
}

/// Options of `get`, `revoke` and `delete`.
#[derive(Args, Debug)]
pub(crate) struct KeyArgs {
    /// The key's ID, as `create` and `list` show it.
    pub(crate) key_id: String,
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
        let options = [
            "--json",
            "--database-url=sqlite://x.db",
            "--pepper=p",
            "--tag-secret=0123456789abcdef",
        ];
        for before in 0..=options.len() {
            let (first, last) = options.split_at(before);
            let line = [&["registry"], first, &["list"], last].concat();
            let cli = Cli::try_parse_from(&line).expect("options");
            assert!(cli.json, "{line:?}");
            assert_eq!(cli.database_url, "sqlite://x.db", "{line:?}");
            assert!(cli.pepper.is_some() && cli.tag_secret.is_some(), "{line:?}");
        }
    }

    #[test]
    fn no_secret_is_in_the_debug_output() {
        let line = "registry list --pepper Sauerkraut --tag-secret Sauerkraut-with-a-tag";
        let cli = Cli::try_parse_from(line.split(' ')).expect(line);
        assert!(!format!("{cli:?}").contains("Sauerkraut"));
    }
}
